"""Series descriptions of every spelling become typed columns."""

from pathlib import Path

from lcsd.cohort.index import Wanted, connect, load_series
from lcsd.settings.cohort import CohortSettings
from tests.unit.cohort.made_up import series, write_index

FIELDS = (
    "time",
    "kind",
    "maker",
    "model",
    "kernel",
    "view_mm",
    "thickness_mm",
    "voltage_kv",
    "load",
    "current",
    "pitch",
)
DESCRIPTIONS: list[tuple[str | None, tuple[object, ...]]] = [
    (
        "0,OPA,GE,LSQX,STANDARD,390,2.5,120,80,53.3,1.5",
        (0, "OPA", "GE", "LSQX", "STANDARD", 390, 2.5, 120, 80, 53.3, 1.5),
    ),
    ("2,OPA,TO,AQUL4,FC51,340.6,2,120,40,na,na", (2, "OPA", "TO", "AQUL4", "FC51", 340.6, 2, 120, 40, None, None)),
    (
        "1,DPL,GE,LS16,EXPERIMENTAL7,null,na,120,0,0,na",
        (1, "DPL", "GE", "LS16", "EXPERIMENTAL7", None, None, 120, 0, 0, None),
    ),
    # The comma inside a field of view above 999 mm.
    (
        "2,OPL,SE,VZOOM,T20s,1,024,na,120,171.6,171,na",
        (2, "OPL", "SE", "VZOOM", "T20s", 1024, None, 120, 171.6, 171, None),
    ),
    # Placeholders for thickness.
    ("2,DSA,SE,LS16,UNK,null,999,140,na,na,na", (2, "DSA", "SE", "LS16", None, None, None, 140, None, None, None)),
    (
        "0,OPL,GE,DSCQX,EXPERIMENTAL7,null,400.2,120,0,na,na",
        (0, "OPL", "GE", "DSCQX", "EXPERIMENTAL7", None, None, 120, 0, None, None),
    ),
    ("2,DS,PH,MX8000,unkn,0,0,na,na,na,na", (2, "DS", "PH", "MX8000", None, None, None, None, None, None, None)),
    # Odd spelling, units, blanks, a comma too many, fields too few, none at all.
    (
        " t1 , opa , ge , LSQX , Body  Filter ,390 mm, 2.5mm ,120 kV,,, ",
        (1, "OPA", "GE", "LSQX", "Body Filter", 390, 2.5, 120, None, None, None),
    ),
    ("0,OPA,SIEMENS,SEN16,B30f,300,2,120,60,40,1.5,", (0, "OPA", "SE", "SEN16", "B30f", 300, 2, 120, 60, 40, 1.5)),
    ("0,OPA,unkn,MX8000,C,360,2,120,75,50,1.5", (0, "OPA", "PH", "MX8000", "C", 360, 2, 120, 75, 50, 1.5)),
    ("9,OPA,GE,LSQX,BONE,nan,inf,1e3,-5,1.5.2,x", (0, "OPA", "GE", "LSQX", "BONE", None, None, None, None, None, None)),
    ("1,OPA,GE", (1, "OPA", "GE", *[None] * 8)),
    ("chest 2.5", (0, None, "PH", *[None] * 8)),
    (",,,,,,,,,,", (0, None, "PH", *[None] * 8)),
    ("", (0, None, "PH", *[None] * 8)),
    (None, (0, None, "PH", *[None] * 8)),
]


def test_descriptions_become_typed_columns(tmp_path: Path) -> None:
    rows = [series(f"1.{i}", "1", text) for i, (text, _) in enumerate(DESCRIPTIONS)]
    connection = connect(1)
    index = write_index(tmp_path / "i.parquet", rows)
    load_series(connection, index, CohortSettings(), Wanted())
    columns = connection.table("series").columns
    for i, (text, expected) in enumerate(DESCRIPTIONS):
        (row,) = connection.execute("SELECT * FROM series WHERE uid = $1", [f"1.{i}"]).fetchall()
        named = dict(zip(columns, row, strict=True))
        assert tuple(named[field] for field in FIELDS) == expected, text
