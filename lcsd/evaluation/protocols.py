"""Evaluation protocols of published benchmarks, by name: what each needs, and what it changes."""

from dataclasses import dataclass

from lcsd.errors import BadInputError
from lcsd.evaluation.learn2reg_figures import LabelMaps
from lcsd.evaluation.lung250m import Lung250mGrids
from lcsd.evaluation.result import Source
from lcsd.names import ProtocolName

SCORED: dict[ProtocolName, Source] = {"lung250m": "correspondences", "learn2reg": "disp"}
"""The only form of a result that a protocol scores; the others score every form."""


@dataclass(frozen=True)
class Protocol:
    """A protocol with what it needs beside the result and the landmarks."""

    name: ProtocolName
    grids: Lung250mGrids | None = None  # lung250m: both images, whose sizes normalise the axes
    labels: LabelMaps | None = None  # learn2reg: label maps, if Dice and HD95 are wanted

    def check(self, source: Source, *, snapped: bool) -> None:
        """Raise ``BadInputError`` (``protocol_input``) unless the protocol scores this result, with all it needs."""
        scored = SCORED.get(self.name, source)
        if source != scored:
            raise self._refused(f"--{scored}", f"--{source}", "give the result in this form, or leave --protocol out")
        if self.name == "lung250m" and self.grids is None:
            raise self._refused("--grid FIXED_IMAGE", "no grid", "the size of the fixed image normalises the axes")
        if (self.name == "dirlab") != snapped:
            expected, found = ("--snap MOVING_IMAGE", "no --snap") if self.name == "dirlab" else ("no --snap", "--snap")
            raise self._refused(expected, found, "only dirlab rounds to the voxels of the moving image")
        if self.labels is not None and self.name != "learn2reg":
            raise self._refused("no label maps", "label maps", "only learn2reg scores labels")

    def _refused(self, expected: str, found: str, remedy: str) -> BadInputError:
        return BadInputError(
            f"the protocol {self.name} does not score this",
            code="protocol_input",
            field="--protocol",
            expected=expected,
            found=found,
            remedy=remedy,
        )
