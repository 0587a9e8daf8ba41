"""Texts of a release: dataset card, licence notice and citations, with figures from the build."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import jinja2.nodes

from lcsd.build.inventory import Case
from lcsd.build.verdicts import REGISTRATION_GATES, gate_description
from lcsd.evaluation.accuracy import method_summaries
from lcsd.release.case import Written
from lcsd.release.croissant import FILE_SETS, licence_url
from lcsd.release.layout import CLOUDS, SCAN_NUMBER, TABLES
from lcsd.settings.gates import LCSD500
from lcsd.settings.release import ReleaseSettings

NLST_CITATIONS = (
    (
        "National Lung Screening Trial Research Team. Data from the National Lung Screening Trial "
        "(NLST). The Cancer Imaging Archive, 2013. https://doi.org/10.7937/TCIA.HMQ8-J677"
    ),
    (
        "National Lung Screening Trial Research Team. Reduced lung-cancer mortality with low-dose "
        "computed tomographic screening. New England Journal of Medicine 365(5):395-409, 2011. "
        "https://doi.org/10.1056/NEJMoa1102873"
    ),
    (
        "K. Clark et al. The Cancer Imaging Archive (TCIA): maintaining and operating a public "
        "information repository. Journal of Digital Imaging 26(6):1045-1057, 2013. "
        "https://doi.org/10.1007/s10278-013-9622-7"
    ),
    (
        "A. Fedorov et al. National Cancer Institute Imaging Data Commons: toward transparency, "
        "reproducibility, and scalability in imaging artificial intelligence. RadioGraphics "
        "43(12):e230180, 2023. https://doi.org/10.1148/rg.230180"
    ),
)
METHOD_CITATIONS = (
    (
        "M. P. Heinrich, A. Bigalke, C. Großbröhmer, L. Hansen. Chasing clouds: Differentiable "
        "volumetric rasterisation of point clouds as a highly efficient and accurate loss for "
        "large-scale deformable 3D registration. ICCV 2023."
    ),
    (
        "M. P. Heinrich, H. Handels, I. J. A. Simpson. Estimating large lung motion in COPD "
        "patients by symmetric regularised correspondence fields. MICCAI 2015."
    ),
)
TOTALSEGMENTATOR_CITATION = (
    "J. Wasserthal et al. TotalSegmentator: robust segmentation of 104 anatomic structures in CT "
    "images. Radiology: Artificial Intelligence 5(5):e230024, 2023."
)

NUMBER = re.compile("[0-9]{3}")
"""Texts without three digits in a row cannot be mistaken for a patient's number."""

UNKNOWN = {"unknown"}
"""Origins of landmarks if no file names them."""

SOURCES = {
    "nlst": "low-dose lung CT of the National Lung Screening Trial, from the Imaging Data Commons",
    "phantom": "synthetic chest CT with known motion; no person was scanned",
    "own": "lung CT of the publisher",
}


@dataclass(frozen=True)
class Facts:
    """Content of the texts of a release."""

    cases: Sequence[Written]  # published cases
    tested: Sequence[Case]  # cases of the test split, as in the report of the build
    left_out: Mapping[str, int]  # number of cases by reason
    methods: Mapping[str, Any]  # content of ``methods.json``


def own_texts() -> list[str]:
    """Return constant texts of a release with a number: citations, lines of templates."""
    environment = _environment()
    found = [*NLST_CITATIONS, *METHOD_CITATIONS, TOTALSEGMENTATOR_CITATION]
    for template in environment.list_templates(["j2"]):
        source, _, _ = environment.loader.get_source(environment, template)  # type: ignore[union-attr]
        for node in environment.parse(source).find_all(jinja2.nodes.TemplateData):
            found += [line.strip() for line in node.data.splitlines()]
    return sorted({text for text in found if NUMBER.search(text)})


def citations(settings: ReleaseSettings, facts: Facts) -> list[str]:
    """Return the references that users of the release must cite."""
    found = list(NLST_CITATIONS) if settings.source == "nlst" else []
    stages = facts.methods["settings"]
    backends = (stages.get("vessels", {}).get("backend"), stages.get("lungs", {}).get("method"))
    if any("totalsegmentator" in repr(backend) for backend in backends):
        found.append(TOTALSEGMENTATOR_CITATION)
    return [*found, *METHOD_CITATIONS]


def count_of(facts: Facts, split: str) -> int:
    """Return the number of cases in a split."""
    return sum(case.split == split for case in facts.cases)


def description(settings: ReleaseSettings, facts: Facts) -> str:
    """Return a short description of the dataset."""
    return (
        f"Vessel point clouds of {len(facts.cases)} longitudinal pairs of lung CT "
        f"({count_of(facts, 'train')} training, {count_of(facts, 'test')} test), with vessel maps, "
        f"automatic correspondences and rigid transforms. Scans: {SOURCES[settings.source]}. "
        "An independent rebuild in the manner of LCSD500, not that dataset."
    )


def _table1(facts: Facts) -> list[dict[str, Any]]:
    """Return the points per cloud of all published cases and of LCSD500."""
    columns = {
        kind: [int(case.row[f"{scan}_{kind}"]) for case in facts.cases for scan in SCAN_NUMBER] for kind in CLOUDS
    }
    columns["corrfield"] = [int(case.row["correspondences"]) for case in facts.cases]
    return [
        {
            "cloud": kind,
            "clouds": len(counts),
            "min": min(counts),
            "max": max(counts),
            "mean": round(sum(counts) / len(counts)),
            "lcsd500": LCSD500[kind],
        }
        for kind, counts in columns.items()
    ]


def _gates(facts: Facts) -> list[dict[str, str]]:
    """Return the limits of the gates, and the figure of each."""
    used = dict(facts.methods["settings"].get("gates", {}))
    registered = facts.methods["settings"].get("register", {})
    used |= {key: limits for key, limits in registered.items() if key in REGISTRATION_GATES}
    rows = []
    for name, limits in sorted((name, limits) for name, limits in used.items() if name != "keep_flagged"):
        given = limits if isinstance(limits, dict) else {}
        differing = given.get("differs")
        text = "differs: " + "; ".join(map(_limits, differing)) if differing else _limits(given)
        rows.append({"name": name, "limits": text, "of": gate_description(name)})
    return rows


def _limits(limits: Mapping[str, float]) -> str:
    return ", ".join(f"{key} {value:g}" for key, value in limits.items()) or "off"


def _method(facts: Facts, stage: str, key: str, *, unknown: str) -> str:
    """Return the method of a stage, or all methods if cases differ."""
    found = facts.methods["settings"].get(stage, {}).get(key, unknown)
    return " or ".join(map(str, found["differs"])) if isinstance(found, dict) else str(found)


def _origins(facts: Facts) -> str:
    """Return the number of landmarks by origin, or nothing if no file names origins."""
    counts: Counter[str] = Counter()
    for case in facts.cases:
        counts.update(case.origins)
    return ", ".join(f"{counts[name]} {name}" for name in sorted(counts) if set(counts) != UNKNOWN)


def _mean(cases: Sequence[Written], column: str) -> float | None:
    found = [float(case.row[column]) for case in cases if column in case.row]
    return sum(found) / len(found) if found else None


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("lcsd.release"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown and plain text, no HTML
    )


def render(settings: ReleaseSettings, facts: Facts, *, template: str) -> str:
    """Return a text of the release from one of its templates."""
    test = [case for case in facts.cases if case.split == "test"]
    return (
        _environment()
        .get_template(template)
        .render(
            settings=settings,
            description=description(settings, facts),
            source=SOURCES[settings.source],
            licence_url=licence_url(settings.licence),
            citations=citations(settings, facts),
            train=count_of(facts, "train"),
            test=len(test),
            landmarks=sum(int(case.row["landmarks"]) for case in test),
            landmark_cases=sum(case.has_landmarks for case in test),
            borderline=sum(bool(case.row["borderline"]) for case in facts.cases),
            grid=facts.cases[0].grid,
            displacement_mm=_mean(facts.cases, "displacement_mean_mm"),
            dice=_mean(facts.cases, "dice_aligned"),
            table1=_table1(facts),
            gates=_gates(facts),
            tre=method_summaries(facts.tested),
            left_out=facts.left_out,
            origins=_origins(facts),
            lungs=_method(facts, "lungs", "method", unknown="given"),
            rigid=_method(facts, "prealign", "method", unknown="unknown"),
            vessels=_method(facts, "vessels", "backend", unknown="given"),
            versions=facts.methods["versions"],
            tables=[table for table in TABLES if table != "landmarks" or any(case.has_landmarks for case in test)],
            splits=sorted({case.split for case in facts.cases}, reverse=True),
            kinds={kind: text for kind, (_, text) in FILE_SETS.items()},
        )
    )
