"""Other programs of registration, on what made them fail in public: the right field."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lcsd.cli.register_images import command as register_images
from lcsd.io.fields import read_field
from lcsd.io.images import Image, write_image, write_mask
from tests.unit.methods.pairs import Made, make_pair

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("elastix")]


def shell() -> Made:
    """A mask of three voxels' thickness, which an erosion at coarse resolutions removes."""
    made = make_pair("lps")
    inner = np.zeros_like(made.inside)
    inner[9:-9, 9:-9, 9:-9] = True
    thin = Image(made.inside & ~inner, made.pair.fixed.grid)
    return replace(made, pair=replace(made.pair, fixed_mask=thin, moving_mask=None), inside=thin.array)


@dataclass(frozen=True)
class Row:
    """A pair, and where a program was reported to fail on such."""

    kind: str
    source: str
    name: str
    make: Callable[[], Made]
    threads: int


ROWS = [
    Row(
        "several threads end the process",
        "InsightSoftwareConsortium/ITKElastix, issues 160 and 295",
        "two_threads",
        lambda: make_pair("lps", (64, 60, 56)),
        2,
    ),
    Row(
        "a thin mask vanishes at coarse resolutions",
        "SuperElastix/SimpleElastix, issue 448, and SuperElastix/elastix, issue 115",
        "thin_mask",
        shell,
        1,
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_elastix_gives_the_right_field(row: Row, tmp_path: Path) -> None:
    made = row.make()
    words = []
    for name in ("fixed", "moving"):
        write_image(tmp_path / f"{name}.nii.gz", getattr(made.pair, name), dtype=np.float32)
        words.append(str(tmp_path / f"{name}.nii.gz"))
    write_mask(tmp_path / "mask.nii.gz", made.pair.fixed_mask)
    words += ["--method", "elastix", "--fixed-mask", str(tmp_path / "mask.nii.gz"), "--threads", str(row.threads)]
    words += ["--option", "MaximumNumberOfIterations=60", "--out-dir", str(tmp_path / "out")]
    if row.threads > 1:
        # A process that several threads end must not be that of the tests.
        command = [sys.executable, "-c", "from lcsd.cli.main import main; main()", "register-images", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    else:
        result = CliRunner().invoke(register_images, words)
        assert result.exit_code == 0, result.output
    before, after = made.errors(read_field(tmp_path / "out" / "field.nii.gz"))
    assert after < 0.4 * before
