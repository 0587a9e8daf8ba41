"""Parquet tables, Croissant records and citation files of a release."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lcsd.io.files import read_json
from lcsd.io.points import PointPairs, read_cloud, read_point_pairs
from lcsd.release.identifiers import Identifiers
from lcsd.release.parquet import write_pairs
from lcsd.release.release import write_release
from lcsd.settings.release import ReleaseSettings
from tests.unit.release.made_up import LANDMARKS, read_rows


@pytest.mark.slow
def test_croissant_reads_the_clouds_of_the_parquet_tables(release: Path) -> None:
    import mlcroissant as mlc

    dataset = mlc.Dataset(release / "croissant.json")
    assert {"cases", "clouds", "correspondences", "landmarks"} <= {found.id for found in dataset.metadata.record_sets}
    records = list(dataset.records("clouds"))
    assert len(records) == 3 * 2 * 2
    record = next(r for r in records if (r["clouds/scan"], r["clouds/cloud"]) == (b"moving", b"sparse"))
    case = record["clouds/case"].decode()
    path = next(release.glob(f"clouds*/{case}_0001_sparse.npz"))
    np.testing.assert_array_equal(np.stack(record["clouds/points"]), read_cloud(path).points.astype(np.float32))


def test_parquet_tables_are_read_by_datasets_and_equal_the_files(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import load_dataset

    def table(name: str, split: str) -> list[dict[str, Any]]:
        """Read a table as its card describes it."""
        return list(load_dataset(str(release), name, split=split, cache_dir=str(tmp_path)))

    for split, end in (("train", "Tr"), ("test", "Ts")):
        for row in table("clouds", split):
            number = {"fixed": "0000", "moving": "0001"}[row["scan"]]
            cloud = read_cloud(release / f"clouds{end}" / f"{row['case']}_{number}_{row['cloud']}.npz")
            np.testing.assert_array_equal(np.float32(row["points"]), cloud.points.astype(np.float32))
            np.testing.assert_array_equal(np.float32(row["radius"]), cloud.radius)
            assert (row["index"] is None) == (row["cloud"] == "dense")
            assert row["index"] is None or row["index"] == cloud.index.tolist()
        for row in table("correspondences", split):
            pairs = read_point_pairs(release / f"correspondences{end}" / f"{row['case']}.csv")
            np.testing.assert_allclose(row["fixed"], pairs.fixed, atol=1e-4)
            np.testing.assert_allclose(row["moving"], pairs.moving, atol=1e-4)
    (row,) = table("landmarks", "test")
    assert len(row["fixed"]) == len(row["moving"]) == LANDMARKS
    found = [row for split in ("train", "test") for row in table("cases", split)]
    listed = {row["case"]: row for row in read_rows(release / "cases.tsv")}
    assert [{key: "" if v is None else str(v) for key, v in row.items()} for row in found] == [
        dict(listed[row["case"]]) for row in found
    ]
    plain = load_dataset(
        "parquet", data_files=str(release / "parquet/clouds/test/*.parquet"), cache_dir=str(tmp_path / "plain")
    )
    assert plain["train"].num_rows == 4


def test_without_parquet_the_release_has_no_tables(build: tuple[Path, Path], tmp_path: Path) -> None:
    results, manifest = build
    settings = ReleaseSettings(source="phantom", parquet=False, viewer=False, archive=False)
    release = write_release(results, manifest, tmp_path / "out", settings).folder
    assert not (release / "parquet").exists()
    assert (release / "README.md").read_text().startswith("# ")
    assert [entry["name"] for entry in read_json(release / "croissant.json")["recordSet"]] == ["cases"]


def test_an_identifier_in_a_parquet_table_is_found(tmp_path: Path) -> None:
    points = np.zeros((2, 3))
    write_pairs(tmp_path / "a.parquet", "lcsd_0001", PointPairs(points, points, origin=("manual", "corrected:P731502")))
    content = (tmp_path / "a.parquet").read_bytes()
    found = Identifiers({("P731502", "patient_id")}).find("parquet/a.parquet", content)
    assert [finding.kind for finding in found] == ["patient_id"]


def test_the_release_says_how_to_cite_it(release: Path) -> None:
    cff = yaml.safe_load((release / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "type"} <= set(cff)
    assert cff["type"] == "dataset"
    content = read_json(release / "datacite.json")
    assert content["types"]["resourceTypeGeneral"] == "Dataset"
    assert {"creators", "titles", "publisher"} <= set(content)
    assert "10.7937/TCIA.HMQ8-J677" in {entry["relatedIdentifier"] for entry in content["relatedIdentifiers"]}
