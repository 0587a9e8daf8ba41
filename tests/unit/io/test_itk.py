"""Transform files: one transform, and what SimpleITK would only print."""

import json
import os
from pathlib import Path

import pytest
import SimpleITK as sitk

from lcsd.errors import BadInputError
from lcsd.geometry import RigidTransform
from lcsd.io.images import write_rigid
from lcsd.io.itk import read_one_transform
from lcsd.scans.convert import read_scan
from tests.series import write_series

TWO = (
    "#Insight Transform File V1.0\n"
    "#Transform 0\nTransform: TranslationTransform_double_3_3\nParameters: 3 0 0\n"
    "FixedParameters:\n"
    "#Transform 1\nTransform: TranslationTransform_double_3_3\nParameters: 0 3 3\n"
    "FixedParameters:\n"
)


def test_paths_that_end_the_process_in_itk_are_refused(tmp_path: Path) -> None:
    """Bytes that are not UTF-8: of a transform, of the folder of an output, of a slice."""
    strange = tmp_path / os.fsdecode(b"\xe9tude")
    strange.mkdir()
    (strange / "a.tfm").write_text(TWO)
    for use in (
        lambda: read_one_transform(strange / "a.tfm"),
        lambda: write_rigid(strange / "b.tfm", RigidTransform.identity()),
        lambda: read_scan(write_series(strange / "ct")),
    ):
        with pytest.raises(BadInputError, match="not UTF-8") as caught:
            use()
        assert caught.value.code == "bad_file_name"
        json.dumps(caught.value.to_dict(), ensure_ascii=False).encode()


@pytest.mark.parametrize("suffix", ["tfm", "txt", "mat"])
def test_several_transforms_are_refused_without_a_word_of_itk(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"two.{suffix}"
    if suffix == "mat":
        sitk.WriteTransform(sitk.TranslationTransform(3, (3.0, 0.0, 0.0)), str(path))
        path.write_bytes(path.read_bytes() * 2)
    else:
        path.write_text(TWO)
    with pytest.raises(BadInputError, match=r"several transforms.*CompositeTransform") as caught:
        read_one_transform(path)
    assert caught.value.code == "several_transforms"
    assert capfd.readouterr() == ("", "")


def test_several_transforms_are_refused_where_warnings_were_turned_off(tmp_path: Path) -> None:
    path = tmp_path / "two.tfm"
    path.write_text(TWO)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with pytest.raises(BadInputError, match="several transforms"):
            read_one_transform(path)
        assert not sitk.ProcessObject.GetGlobalWarningDisplay()
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(True)


def test_linear_transforms_of_a_minc_file_are_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "two.xfm"
    shift = sitk.AffineTransform(3)
    shift.SetTranslation((3.0, 0.0, 0.0))
    sitk.WriteTransform(shift, str(path))
    once = path.read_text()
    path.write_text(once + once[once.index("Transform_Type") :])
    assert read_one_transform(path).TransformPoint((0.0, 0.0, 0.0)) == (6.0, 0.0, 0.0)


def test_foreign_and_missing_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "TransformParameters.0.txt"
    with pytest.raises(BadInputError) as caught:
        read_one_transform(path)
    assert caught.value.code == "missing_file"
    path.write_text('(Transform "EulerTransform")\n(NumberOfParameters 6)\n')
    with pytest.raises(BadInputError, match="ITKTransformOutputFileNameExtension") as caught:
        read_one_transform(path)
    assert caught.value.code == "bad_transform"
