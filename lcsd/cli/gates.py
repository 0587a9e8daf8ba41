"""``lcsd gates``: plausibility of a pair's lungs, alignment, vessel masks, registrations and result."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lcsd.cli.common import Run, stage
from lcsd.cli.options import FILE
from lcsd.names import SCANS
from lcsd.settings.gates import GatesSettings

if TYPE_CHECKING:
    from lcsd.io.fields import DisplacementField
    from lcsd.io.images import Image

NEEDED = (("scans", "masks"), ("masks", "scans"), ("fields", "matches"), ("matches", "fields"), ("images", "fields"))
"""Options, and another one without which each is refused."""

Masks = Mapping[str, "Image"]
"""Masks by scan."""

Found = tuple[dict[str, Any], list[dict[str, Any]]]
"""Figures and their verdicts."""


@click.command(
    epilog="Example: lcsd gates vessels/fixed.nii.gz vessels/moving.nii.gz "
    "--fixed-lungs fixed_mask.nii.gz --moving-lungs moving_mask.nii.gz --out gates.json"
)
@click.argument("fixed", type=FILE)
@click.argument("moving", type=FILE)
@click.option("--fixed-lungs", type=FILE, required=True, help="Lung mask of the baseline, on the grid of FIXED.")
@click.option("--moving-lungs", type=FILE, required=True, help="Lung mask of the follow-up, on the grid of MOVING.")
@click.option("--scans", type=FILE, nargs=2, help="Baseline and follow-up as converted; with --masks judges the lungs.")
@click.option("--masks", type=FILE, nargs=2, help="Lung masks of both --scans, on their grids.")
@click.option("--prealign", type=FILE, help="prealign.json; judges the alignment.")
@click.option("--fields", type=FILE, nargs=2, help="Fields of corrfield and of the clouds; judges the registration.")
@click.option("--images", type=FILE, nargs=2, help="Both CT scans on the common grid; with --fields compares them.")
@click.option("--matches", type=FILE, help="correspondences.json of corrfield; needed with --fields.")
@click.option("--evaluation", "evaluations", type=FILE, multiple=True, help="An evaluation; judges it. Repeatable.")
@click.option("--out", type=FILE, required=True, help="Write the verdicts to this file (.json).")
@stage("gates", GatesSettings)
def command(run: Run[GatesSettings], *, out: Path, **given: Any) -> None:
    """Judge the vessel masks FIXED and MOVING of a pair (.nii.gz), and what else is given of it.

    A failed gate is a verdict, not an error: the exit code is 0, and statistics and releases leave
    the pair out. So they do with a flagged one, unless gates.keep_flagged is true.
    """
    from lcsd.io.files import write_json
    from lcsd.io.images import read_mask

    _check_pairs(given)
    lungs = {name: read_mask(given[f"{name}_lungs"]) for name in SCANS}
    vessels = {name: read_mask(given[name], kind="vessels") for name in SCANS}
    parts = {
        "scans": _scans(given, run.settings),
        "lungs": _lungs(given, run.settings),
        "alignment": _alignment(given, run.settings),
        "vessels": _vessels(vessels, lungs, given["images"], run.settings),
        "registration": _registration(given, lungs, vessels, run.settings),
        "result": _result(given, run.settings),
    }
    figures = {name: part[0] for name, part in parts.items() if part is not None}
    gates = [gate for part in parts.values() if part is not None for gate in part[1]]
    write_json(out, {"stage": "gates", "keep_flagged": run.settings.keep_flagged, "figures": figures, "gates": gates})
    result: dict[str, object] = {"judged": ", ".join(figures)}
    result["failed"] = _named(gate for gate in gates if not gate["passed"])
    result["flagged"] = _named(gate for gate in gates if gate["flagged"])
    run.done(out, inputs=_inputs(given), result=result)


def _check_pairs(given: Mapping[str, Any]) -> None:
    """Refuse an option without the one that it needs."""
    from lcsd.errors import BadInputError

    for option, other in NEEDED:
        if given[option] and not given[other]:
            raise BadInputError(
                "the option does not fit", code="bad_option", field=f"--{option}", expected=f"also --{other}"
            )


def _inputs(given: Mapping[str, Any]) -> dict[str, Path]:
    """Return all given files by a name of their own."""
    found: dict[str, Path] = {}
    for name, value in given.items():
        if isinstance(value, tuple):
            labels = (
                SCANS
                if name in ("scans", "masks", "images")
                else tuple(str(number) for number in range(1, len(value) + 1))
            )
            found |= {f"{name}_{label}": path for label, path in zip(labels, value, strict=True)}
        elif value is not None:
            found[name] = value
    return found


def _scans(given: Mapping[str, Any], settings: GatesSettings) -> Found | None:
    """Judge the scans by what their conversions recorded, if they did."""
    from lcsd.prealign.gates import judge_scans

    facts = _facts(given["scans"])
    return (facts, judge_scans(facts, settings)) if facts else None


def _facts(files: Sequence[Path] | None) -> dict[str, Any]:
    """Return what the command that wrote each scan's file recorded, by scan; empty unless both have a record."""
    from lcsd.build.provenance import provenance_path
    from lcsd.io.files import read_json

    records = {name: provenance_path(path) for name, path in zip(SCANS, files or (), strict=False)}
    if not all(record.exists() for record in records.values()):
        return {}
    return {name: read_json(record).get("facts", {}) for name, record in records.items()}


def _lungs(given: Mapping[str, Any], settings: GatesSettings) -> Found | None:
    from lcsd.io.images import read_image, read_mask
    from lcsd.lungs.gates import judge, judge_fit, scan_figures

    if not given["scans"]:
        return None
    figures = {}
    for name, scan, mask in zip(SCANS, given["scans"], given["masks"], strict=True):
        image = read_image(scan)
        figures[name] = scan_figures(image, read_mask(mask, like=image.grid))
    facts = _facts(given["masks"])
    fits = [gate for name, values in facts.items() for gate in judge_fit(name, values, settings)]
    return figures, judge(figures, settings) + fits


def _alignment(given: Mapping[str, Any], settings: GatesSettings) -> Found | None:
    from lcsd.io.files import read_json
    from lcsd.prealign.gates import judge

    if given["prealign"] is None:
        return None
    report = read_json(given["prealign"])
    return report, judge(report, settings)


def _vessels(vessels: Masks, lungs: Masks, images: tuple[Path, Path] | None, settings: GatesSettings) -> Found:
    from lcsd.io.images import read_image
    from lcsd.vessels.gates import judge, scan_figures

    scans = dict(zip(SCANS, images or (), strict=False))
    figures = {}
    for name in SCANS:
        image = read_image(scans[name]) if name in scans else None
        figures[name] = scan_figures(vessels[name], lungs[name], image)
    return figures, judge(figures, settings)


def _registration(given: Mapping[str, Any], lungs: Masks, vessels: Masks, settings: GatesSettings) -> Found | None:
    from lcsd.evaluation.gates import field_figures, judge_registration, match_figures
    from lcsd.io.fields import read_field
    from lcsd.io.files import read_json

    if not given["fields"]:
        return None
    methods = ("corrfield", "clouds")
    fields = {method: read_field(path) for method, path in zip(methods, given["fields"], strict=True)}
    figures, matches = field_figures(fields, lungs["fixed"]), match_figures(read_json(given["matches"]))
    quality = _quality(given["images"], {"lungs": lungs, "vessels": vessels}, [*fields.values()])
    return {**figures, **matches, "quality": quality}, judge_registration(figures, matches, settings)


def _quality(
    scans: tuple[Path, Path] | None, masks: Mapping[str, Masks], fields: Sequence["DisplacementField"]
) -> dict[str, dict[str, float | None]]:
    """Return what is known of both registrations without landmarks, and of none (``before``)."""
    from lcsd.build.jobs import METHODS
    from lcsd.evaluation.unlabelled import measured
    from lcsd.io.images import read_image
    from lcsd.transforms.chain import part_of

    structures = {name: (part["fixed"], part["moving"]) for name, part in masks.items()}
    images = None if not scans else (read_image(scans[0]), read_image(scans[1]))
    chains = {"before": [], **{method: [part_of(field)] for method, field in zip(METHODS, fields, strict=True)}}
    return {name: measured(structures, chain, images=images) for name, chain in chains.items()}


def _result(given: Mapping[str, Any], settings: GatesSettings) -> Found | None:
    from lcsd.evaluation.gates import judge_result
    from lcsd.io.files import read_json

    if not given["evaluations"]:
        return None
    evaluations = {path.name.removesuffix(".json"): read_json(path) for path in given["evaluations"]}
    keys = ("tre_before_mean_mm", "tre_mean_mm")
    shown = {method: {key: figures.get(key) for key in keys} for method, figures in evaluations.items()}
    return shown, judge_result(evaluations, settings)


def _named(gates: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(f"{gate['name']} of {gate['of']}" for gate in gates) or "none"
