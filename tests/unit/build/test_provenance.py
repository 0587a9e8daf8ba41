"""Names of provenance files."""

import pytest

from lcsd.build.provenance import provenance_name


@pytest.mark.parametrize(
    ("output", "stem"),
    [
        ("fixed.nii.gz", "fixed"),
        ("registration.json", "registration"),
        ("rigid.tfm", "rigid"),
        # Two outputs in one folder must not share one.
        ("cloud.v1.npz", "cloud.v1"),
        ("cloud.v2.npz", "cloud.v2"),
        ("1.5mm.nii.gz", "1.5mm"),
        ("1.2.840.99.1", "1.2.840.99.1"),
        ("release", "release"),
    ],
)
def test_suffixes_are_replaced_and_nothing_else(output: str, stem: str) -> None:
    assert provenance_name(output) == f"{stem}.provenance.json"
