"""A test asserts every reason code, and the table of docs/convert.md has exactly those of conversion."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lcsd.io.images import FORM_TOLERANCE_MM, MOST_EXTENT_MM, SPACING_MM
from lcsd.scans.headers import FIELDS
from lcsd.scans.hounsfield import DENSE_HU, TISSUE_HU
from lcsd.scans.pixels import AIR_HU
from lcsd.scans.slices import SHARED
from lcsd.scans.stack import AXES_TOLERANCE, COSINE_TOLERANCE, PIXEL_TOLERANCE_MM
from lcsd.settings.convert import ConvertSettings

ROOT = Path(__file__).resolve().parents[2]
SOURCES: dict[str, set[str] | None] = {
    "scans/dicom.py": None,
    "scans/slices.py": None,
    "scans/convert.py": None,
    "scans/stack.py": None,
    "scans/pixels.py": None,
    "scans/hounsfield.py": None,
    "scans/acquisitions.py": None,
    "scans/neighbours.py": None,
    "lungs/dicom_seg.py": None,
    "scans/headers.py": None,
    "cli/convert.py": None,
    "cli/lungs.py": None,
    "lungs/given.py": None,
    "lungs/fit.py": None,
    "readings/mask.py": None,
    "io/images.py": {"read_image", "_read_nifti", "_plain", "check_forms", "_check_pixdim", "check_spacing"},
    "io/volumes.py": None,
    "io/masks.py": None,
    "geometry.py": {"__post_init__", "_check_spacing"},
    "io/itk.py": {"itk_path"},
    "io/files.py": {"require_file", "detached_data"},
    "io/sizes.py": {"check_voxels"},
}
"""Modules, and the functions of them that conversion goes through; None: all."""

DEFAULTS = ConvertSettings()


def codes_of(module: str, functions: set[str] | None = None) -> Iterator[str]:
    tree = ast.parse((ROOT / "lcsd" / module).read_text())
    parts: list[ast.AST] = [tree]
    if functions is not None:
        parts = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in functions]
    for part in parts:
        for node in ast.walk(part):
            if isinstance(node, ast.keyword) and node.arg == "code":
                values = (node.value.body, node.value.orelse) if isinstance(node.value, ast.IfExp) else (node.value,)
                # Codes that are built or passed on have no text here.
                yield from (str(value.value) for value in values if isinstance(value, ast.Constant))


def table() -> dict[str, str]:
    text = (ROOT / "docs" / "convert.md").read_text()
    part = text.split("## Reason codes")[1].split("\n## ")[0]
    return {m[1]: m[0] for m in re.finditer(r"^\| `(\w+)` \|.*$", part, re.MULTILINE)}


def test_table_has_the_codes_of_the_source() -> None:
    found = {code for module, parts in SOURCES.items() for code in codes_of(module, parts)}
    found |= {code for _, code, _ in SHARED}
    assert sorted(table()) == sorted(found)


def test_a_test_asserts_every_code() -> None:
    codes = {code for path in (ROOT / "lcsd").rglob("*.py") for code in codes_of(str(path.relative_to(ROOT / "lcsd")))}
    words = {
        word
        for path in [*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "tests" / "world").glob("*.py")]
        if path != Path(__file__)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for word in re.findall(r"\w+", node.value)
    }
    assert sorted(codes - words) == []


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("uneven_slices", f"{DEFAULTS.spacing_tolerance_mm:g} mm"),
        ("duplicate_slices", f"{DEFAULTS.spacing_tolerance_mm:g} mm"),
        ("shifted_slices", f"{DEFAULTS.spacing_tolerance_mm:g} mm"),
        ("gantry_tilt", f"{DEFAULTS.tilt_tolerance_deg:g} degrees"),
        ("too_few_slices", f"fewer than {DEFAULTS.min_slices} "),
        ("not_hu", f"{DEFAULTS.min_air_fraction * 100:g} %"),
        ("not_hu", f"{AIR_HU[0]:g} and {AIR_HU[1]:g} HU"),
        ("not_hu", f"{TISSUE_HU[0]} to {TISSUE_HU[1]} HU"),
        ("not_hu", f"{DEFAULTS.max_dense_fraction * 100:g} % "),
        ("not_hu", f"above {DENSE_HU} HU"),
        ("not_hu", f"{DEFAULTS.max_below_fraction * 100:g} % "),
        ("mixed_spacing", f"{PIXEL_TOLERANCE_MM:.4f} mm"),
        ("mixed_orientation", f"{COSINE_TOLERANCE:.4f} "),
        ("bad_geometry", f"{AXES_TOLERANCE:.4f}"),
        ("sform_qform_disagree", f"{FORM_TOLERANCE_MM:g} mm"),
        ("implausible_spacing", f"{SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm"),
        ("implausible_spacing", f"{MOST_EXTENT_MM:g} mm"),
    ],
)
def test_tolerances_are_those_of_the_source(code: str, text: str) -> None:
    assert text in table()[code]


def test_allow_list_is_that_of_the_source() -> None:
    text = (ROOT / "docs" / "convert.md").read_text().split("## What of the header leaves")[1]
    for field in FIELDS:
        assert f"`{field.key}`" in text
        assert field.attribute in text
