"""What the workflow needs to know of a build: its cases, files, and the options of each rule.

Imported while the Snakefile is read, so it loads nothing heavy.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcsd.config import Config, validate
from lcsd.errors import BadInputError
from lcsd.pairs import Pair, read_pairs

METHODS = {"corrfield": "correspondences", "divroc": "registration"}
"""Methods that are scored at landmarks, and the folder of each one's displacement field."""


@dataclass(frozen=True)
class Build:
    """A build: its configuration and its cases.

    Parameters
    ----------
    config
        Validated configuration.
    pairs
        Cases by name, in the manifest's order.
    """

    config: Config
    pairs: dict[str, Pair]

    @classmethod
    def from_config(cls, content: Mapping[str, Any]) -> "Build":
        """Return the build of a configuration mapping.

        Raises
        ------
        BadInputError
            If the configuration or the manifest is not valid.
        """
        config = validate(Config, content)
        return cls(config, {pair.case: pair for pair in read_pairs(config.manifest)})

    @property
    def results(self) -> str:
        """Folder of the build."""
        return str(self.config.results)

    @property
    def manifest(self) -> str:
        """Path of the manifest."""
        return str(self.config.manifest)

    @property
    def methods(self) -> dict[str, str]:
        """Scored methods and the folder of each one's displacement field."""
        return METHODS

    def pair(self, case: str) -> Pair:
        """Return a case by name; raise ``BadInputError`` if the manifest does not have it."""
        if case not in self.pairs:
            raise BadInputError(
                "no such case", code="unknown_case", file=self.manifest, field=case,
                expected="a case of the manifest",
            )  # fmt: skip
        return self.pairs[case]

    def settings(self, section: str, *also: str) -> list[str]:
        """Return the ``--set`` options that give a command its whole section, and those ``also``.

        All keys are spelled out, so that Snakemake sees exactly which settings a rule depends
        on, and a log shows what was run.
        """
        return [
            part
            for name in (section, *also)
            for key, value in getattr(self.config, name).model_dump(mode="json").items()
            for part in (
                "--set",
                f"{f'{name}.' if name in also else ''}{key}={json.dumps(value, sort_keys=True)}",
            )
        ]

    def present(self, path: Path | None, made: str) -> list[str]:
        """Return ``[path]`` if it exists or what is made of it does, else nothing.

        A source that is missing must not stop the other cases, so it is no input of its rule:
        the command finds it missing and quarantines the case. But once ``made`` (a path below the
        results) exists, a source that is away for a while must not make it again.
        """
        if path is None:
            return []
        return [str(path)] if path.exists() or (self.config.results / made).exists() else []

    def landmarks(self, case: str) -> Path:
        """Return a case's landmarks; raise ``BadInputError`` if the manifest names none."""
        path = self.pair(case).landmarks
        if path is None:
            raise BadInputError(
                "the case has no landmarks to evaluate", code="no_landmarks", file=self.manifest,
                field=f"{case}, column landmarks", remedy="name a landmark file",
            )  # fmt: skip
        return path

    @staticmethod
    def option(name: str, value: object) -> list[str]:
        """Return ``[name, value]``, or nothing if there is no value."""
        return [name, str(value)] if value else []

    def given_vessels_rigid(self, case: str, scan: str) -> list[str]:
        """Return the rigid transform if the user gave a vessel map of the follow-up."""
        if scan == "moving" and self.pair(case).moving_vessels is not None:
            return [f"{self.results}/cases/{case}/images/rigid.tfm"]
        return []

    def targets(self) -> list[str]:
        """Return the last files of every case, which the report is made of."""
        wanted = []
        for case, pair in self.pairs.items():
            root = f"{self.results}/cases/{case}"
            wanted += [f"{root}/clouds/{scan}_keypoints.npz" for scan in ("fixed", "moving")]
            wanted += [f"{root}/{folder}/field.nii.gz" for folder in METHODS.values()]
            if pair.landmarks is not None:
                wanted += [f"{root}/evaluation/{method}.json" for method in METHODS]
        return wanted
