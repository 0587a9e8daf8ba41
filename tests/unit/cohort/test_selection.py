"""Selection and sample equal plain Python; order of rows and new rules change nothing else."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lcsd.cohort.rules import kernel_rows, rules
from lcsd.cohort.sample import side
from lcsd.settings.cohort import CohortSettings
from tests.unit.cohort.made_up import TABLES, Row, made, read, sampled, series, write_index


def random_index(seed: int, patients: int) -> list[Row]:
    rng = np.random.default_rng(seed)
    kernels = {
        "GE": ["STANDARD", "BONE", "SOFT", "ODD"],
        "SE": ["B30f", "B31F", "B50f", "null"],
        "PH": ["C", "D"],
        "TO": ["FC10", "FC51", "FC02"],
    }
    rows = []
    for patient in range(patients):
        home = str(rng.choice(list(kernels)))
        for _ in range(int(rng.integers(1, 17))):
            maker = home if rng.random() < 0.8 else str(rng.choice(list(kernels)))
            time = int(rng.integers(3))
            kind = str(rng.choice(["OPA", "OPA", "OPA", "OPL", "null"]))
            thickness = str(rng.choice(["1.2", "2", "2.5", "2.5", "5", "na"]))
            kernel = str(rng.choice(kernels[maker]))
            text = f"{time},{kind},{maker},X,{kernel},300,{thickness},120,60,40,1"
            rows.append(
                series(
                    f"1.2.{rng.integers(10**9)}",
                    f"p{patient:03d}",
                    text,
                    StudyDate=f"{1999 + time}-01-02",
                    instanceCount=int(rng.choice([99, 100, 100, 150, 300])),
                )
            )
    return rows


def oracle(rows: list[Row], settings: CohortSettings) -> tuple[dict[str, Any], dict[str, str]]:
    """Pairs and reasons, patient by patient, in plain Python."""
    table = {(m, k.upper()): (family, rank) for m, k, family, rank in kernel_rows(settings)}

    def look(row: Row) -> Row:
        time, kind, maker, _, kernel, _, thickness, *_ = row["SeriesDescription"].split(",")
        family, rank = table.get((maker, kernel.upper()), ("other", 2000))
        broken = PASS
        for code, bad in (
            ("unreadable_description", kind == "null"),
            ("not_original_axial", kind != "OPA"),
            ("no_soft_kernel", settings.other_kernels == "refuse" and family != "soft"),
            ("thickness_unknown", thickness == "na"),
            ("slice_too_thick", thickness != "na" and float(thickness) > 2.5),
            ("too_few_slices", row["instanceCount"] < 100),
        ):
            if bad:
                broken = order[code]
                break
        return {
            "uid": row["SeriesInstanceUID"],
            "time": time,
            "maker": maker,
            "family": family,
            "rank": rank,
            "kernel": "" if kernel == "null" else kernel.upper(),
            "mm": thickness,
            "slices": row["instanceCount"],
            "broken": broken,
        }

    order = {rule.code: rule.number for rule in rules(settings)}
    PASS = len(order) + 1
    pairs: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    for patient in sorted({row["PatientID"] for row in rows}):
        seen = [look(row) for row in rows if row["PatientID"] == patient]
        sides = [[s for s in seen if s["time"] == t] for t in "01"]
        reached = min(max((s["broken"] for s in scans), default=1) for scans in sides)
        if reached < PASS:
            reasons[patient] = next(c for c, number in order.items() if number == reached)
            continue
        good = [[s for s in scans if s["broken"] == PASS] for scans in sides]
        keys = {
            (
                f["maker"] != m["maker"],
                f["family"] != m["family"],
                f["rank"] // 1000 + m["rank"] // 1000,
                f["kernel"] != m["kernel"],
                f["rank"] + m["rank"],
                round(abs(float(f["mm"]) - float(m["mm"])), 3),
                round(float(f["mm"]) + float(m["mm"]), 3),
                -f["slices"] - m["slices"],
                f["uid"],
                m["uid"],
            )
            for f in good[0]
            for m in good[1]
        }
        pairs[patient] = min(keys)[-2:]
    return pairs, reasons


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["last", "refuse"])
@pytest.mark.parametrize("seed", [0, 1])
def test_selection_equals_plain_python(seed: int, kernels: str, tmp_path: Path) -> None:
    rows = random_index(seed, 250)
    index = write_index(tmp_path / "i.parquet", rows)
    settings = CohortSettings(other_kernels=kernels)  # type: ignore[arg-type]
    pairs, reasons = oracle(rows, settings)
    assert len(pairs) > 10
    assert len(set(reasons.values())) >= 5
    out = made(tmp_path / "o", "--set", f"index={index}", "--set", f"other_kernels={kernels}")
    found = read(out / "candidates.tsv")
    assert {r["patient_id"]: (r["fixed_series"], r["moving_series"]) for r in found} == pairs
    assert {r["patient_id"]: r["reason"] for r in read(out / "rejected.tsv")} == reasons
    steps = read(out / "funnel.tsv")
    for step in steps[1:-3]:
        removed = sum(reason == step["reason"] for reason in reasons.values())
        assert int(step["patients_removed"]) == removed, step
    assert int(steps[-3]["patients"]) == len(pairs)


@pytest.mark.slow
def test_order_of_rows_and_threads_do_not_matter(tmp_path: Path) -> None:
    rows = random_index(2, 120)
    # Twins that differ in nothing but their identifiers.
    rows += [{**row, "SeriesInstanceUID": row["SeriesInstanceUID"] + ".1"} for row in rows]
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    outs = []
    for name, content in (("a", rows), ("b", shuffled)):
        index = write_index(tmp_path / f"{name}.parquet", content)
        threads = 1 if name == "a" else 2
        outs.append(made(tmp_path / name, "--set", f"index={index}", "--threads", threads))
    for table in TABLES:
        assert (outs[0] / table).read_bytes() == (outs[1] / table).read_bytes(), table


@pytest.mark.slow
def test_sampling_is_by_seed_and_rules_do_not_reshuffle(tmp_path: Path) -> None:
    index = write_index(tmp_path / "i.parquet", random_index(3, 600))
    base = ("--set", f"index={index}", "--set", "train=20", "--set", "test_pool=4")
    first = sampled(made(tmp_path / "a", *base))
    assert sorted(first.values()) == ["test_pool"] * 4 + ["train"] * 20
    for patient, drawn in first.items():
        assert side(0, patient, 0.1) == drawn
    assert sampled(made(tmp_path / "b", *base)) == first
    assert sampled(made(tmp_path / "c", *base, "--seed", 1)) != first

    stricter = made(tmp_path / "d", *base, "--set", "min_slices=101")
    left = {row["patient_id"] for row in read(stricter / "candidates.tsv")}
    gone = set(first) - left
    assert gone
    second = sampled(stricter)
    # Whoever still is a candidate stays where it was; nobody else but the gone leaves.
    assert {p: r for p, r in second.items() if p in first} == {p: r for p, r in first.items() if p in left}
    more = sampled(made(tmp_path / "e", *base, "--set", "train=30"))
    assert first.items() <= more.items()


def test_queue_is_the_hash_of_seed_and_patient(tmp_path: Path) -> None:
    rows = random_index(4, 300)
    index = write_index(tmp_path / "i.parquet", rows)
    pairs, _ = oracle(rows, CohortSettings())
    queue = sorted(
        (p for p in pairs if side(5, p, 0.1) == "train"),
        key=lambda p: hashlib.sha256(f"place:5:{p}".encode()).hexdigest(),
    )
    out = made(tmp_path / "o", "--set", f"index={index}", "--set", "train=7", "--seed", 5)
    assert {p for p, r in sampled(out).items() if r == "train"} == set(queue[:7])
