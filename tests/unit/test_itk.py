"""Transform files: one transform, and what SimpleITK would only print."""

from pathlib import Path

import pytest
import SimpleITK as sitk

from lcsd.errors import BadInputError
from lcsd.itk import read_one_transform

TWO = (
    "#Insight Transform File V1.0\n"
    "#Transform 0\nTransform: TranslationTransform_double_3_3\nParameters: 3 0 0\n"
    "FixedParameters:\n"
    "#Transform 1\nTransform: TranslationTransform_double_3_3\nParameters: 0 3 3\n"
    "FixedParameters:\n"
)


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
