"""The plan of a build for the workflow: its cases, files and jobs, and the options of each rule.

The Snakefile imports this module, so it loads nothing heavy.
"""

import functools
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lcsd.build.candidates import Candidate, read_candidates
from lcsd.build.dates import dated_ahead
from lcsd.build.jobs import METHODS, WITHIN, BuildFiles, Job, case_jobs, case_targets
from lcsd.build.pairs import Pair, read_pairs
from lcsd.config import Config, read_yaml, validate
from lcsd.errors import BadInputError, suggestion
from lcsd.names import SCANS, is_series_uid


def _settings_option(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return ``--settings JSON``; the same values give the same text."""
    return ("--settings", json.dumps(values, sort_keys=True, separators=(",", ":")))


@functools.lru_cache(maxsize=1)
def _selected(path: Path, _stamp: tuple[int, int]) -> dict[str, Pair]:
    return {pair.case: pair for pair in read_pairs(path)}


@dataclass(frozen=True)
class Build:
    """A build: its configuration and its cases."""

    config: Config
    candidates: dict[str, Candidate]  # of the selection, by case; empty if the configuration names a manifest
    given: dict[str, Pair]  # cases of the manifest by name, in its order; empty if cases are selected

    @classmethod
    def from_config(cls, content: Mapping[str, Any]) -> "Build":
        """Return the build of a configuration mapping.

        Raises ``BadInputError`` if the configuration, the manifest or the table of candidates is not valid.
        """
        config = validate(Config, content)
        if config.candidates is not None:
            return cls(config, read_candidates(config.candidates), {})
        assert config.manifest is not None  # noqa: S101 - the configuration has one of the two
        return cls(config, {}, {pair.case: pair for pair in read_pairs(config.manifest)})

    @classmethod
    def from_file(cls, file: Path | None, *, manifest: Path | None = None, results: Path | None = None) -> "Build":
        """Return the build of a configuration file; ``manifest`` and ``results`` override its own.

        As ``snakemake --configfile FILE --config manifest=... results=...`` sees it. Raises ``BadInputError`` as
        :meth:`from_config`, and if the file is missing or is not YAML.
        """
        content = {} if file is None else read_yaml(file)
        named = {"manifest": manifest, "results": results}
        content |= {name: str(path) for name, path in named.items() if path is not None}
        validate(Config, content, file=file)  # its error names the file
        return cls.from_config(content)

    @property
    def results(self) -> str:
        """Folder of the build."""
        return str(self.config.results)

    @property
    def files(self) -> BuildFiles:
        """Paths of its files."""
        return BuildFiles(self.config.results)

    @property
    def manifest(self) -> str:
        """Path of the manifest, from the configuration or the selection."""
        return str(self.config.manifest or self.files.pairs)

    @property
    def manifest_present(self) -> list[str]:
        """Manifest, if it is an input of its rules: not if a user gave it and its date is ahead of the clock."""
        ahead = not self.candidates and dated_ahead(self.manifest)
        return [] if ahead else [self.manifest]

    @property
    def candidates_present(self) -> list[str]:
        """Table of candidates, if it is an input of the selection, as :attr:`manifest_present`."""
        path = str(self.config.candidates)
        return [] if dated_ahead(path) else [path]

    @property
    def pairs(self) -> dict[str, Pair]:
        """Cases by name; those of a selection exist only after it."""
        if not self.candidates:
            return self.given
        path = Path(self.manifest)
        status = path.stat()
        return _selected(path, (status.st_mtime_ns, status.st_size))

    @property
    def methods(self) -> dict[str, str]:
        """Scored methods and the folder of each one's displacement field."""
        return METHODS

    def expected_cases(self) -> int:
        """Return how many cases are built, not screened; before a selection, as many as the settings select."""
        pool = sum(candidate.sampled == "test_pool" for candidate in self.candidates.values())
        return len(self.given) or self.config.select.count + pool

    def pair(self, case: str) -> Pair:
        """Return a case by name; raise ``BadInputError`` if the build does not have it, or not yet."""
        if self.candidates and not Path(self.manifest).exists():
            raise BadInputError(
                "the cases are not selected yet",
                code="not_selected",
                file=self.manifest,
                field=case,
                remedy="build until the selection first",
            )
        pairs = self.pairs
        if case not in pairs:
            raise BadInputError(
                "unknown case",
                code="unknown_case",
                file=self.manifest,
                field=case,
                expected="a case of the manifest",
                remedy=suggestion(case, pairs),
            )
        return pairs[case]

    def screened(self) -> list[str]:
        """Return the screenings from which the cases are selected."""
        left_out = set(self.config.select.exclude)
        cases = (case for case in self.candidates if case not in left_out)
        return [f"{self.results}/{WITHIN.screening(case)}" for case in cases]

    def screen_settings(self) -> tuple[str, ...]:
        """Return the options on which a candidate's figures depend, without the limits.

        A changed limit must not fetch and screen all candidates again, so limits are options of the selection.
        """
        spacing = {"spacing_mm": self.config.screen.spacing_mm}
        return _settings_option(spacing | self._sections("convert", "lungs"))

    def screen_masks(self, case: str) -> list[str]:
        """Return the options with a candidate's published lung masks, if the settings use them."""
        candidate = self.candidates[case]
        if self.config.screen.masks == "made":
            return []
        masks = {"--fixed-mask": candidate.fixed_segmentation, "--moving-mask": candidate.moving_segmentation}
        if not all(masks.values()):
            raise BadInputError(
                "the candidate has no published segmentations of both scans",
                code="no_published_segmentation",
                file=self.config.candidates,
                field=case,
                remedy="run lcsd cohort with --set published_segmentation=require, or set screen.masks to made",
            )
        return [part for option in masks.items() for part in option]

    def has_test_pool(self) -> bool:
        """Return whether test cases will be chosen; False before the selection."""
        return Path(self.manifest).exists() and bool(self._pool())

    def test_pool(self) -> list[str]:
        """Return the files that decide which cases of the test pool are selected: motion and verdicts."""
        return [
            f"{self.results}/{path}"
            for case in self._pool()
            for path in (WITHIN.case(case).correspondences, WITHIN.case(case).gates)
        ]

    def _pool(self) -> list[str]:
        left_out = self.config.select.exclude
        return [case for case, pair in self.pairs.items() if pair.role == "test_pool" and case not in left_out]

    def rejected(self) -> list[str]:
        """Return the candidates, or else the cases of the manifest, that were rejected."""
        wanted = [case for case in self.candidates if case not in self.config.select.exclude]
        return [case for case in wanted or self.given if self.files.case(case).rejected.exists()]

    def summary(self) -> str:
        """Return one line on how many cases were rejected, and what to do."""
        count = len(self.rejected())
        of = f"{len(self.candidates)} candidates" if self.candidates else f"{len(self.given)} cases"
        if not count:
            return f"none of {of} was rejected, but jobs failed; run the same command again to resume"
        return f"{count} of {of} were rejected; see {self.results}/report/rejected.tsv"

    def settings(self, section: str, *also: str) -> tuple[str, ...]:
        """Return the option ``--settings`` with all settings of a section, and of the sections ``also``.

        All keys are written out, so that Snakemake knows the settings of a rule exactly and logs show them. All jobs
        share the tuple; Snakemake would copy a list for each job and search it for wildcards.
        """
        own = getattr(self.config, section).model_dump(mode="json")
        return _settings_option(own | self._sections(*also))

    def _sections(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self.config, name).model_dump(mode="json") for name in names}

    def on_gpu(self, stage: str) -> bool:
        """Return whether the jobs of a stage run on a GPU; False for stages that cannot."""
        made = self.config.lungs.method == "totalsegmentator"
        knows = {
            "screen": made and self.config.screen.masks == "made",
            "lungs": made,
            "vessels": self.config.vessels.backend == "totalsegmentator",
            "correspond": True,
            "register": True,
        }
        return self.config.workflow.device == "cuda" and knows.get(stage, False)

    def device(self, stage: str) -> tuple[str, ...]:
        """Return the option that runs a stage on the GPU; empty for the CPU."""
        return ("--device", "cuda") if self.on_gpu(stage) else ()

    def threads(self) -> int:
        """Return the threads of ``correspond`` and ``register``: two for a lone case; else two jobs run at once."""
        return 2 if self.expected_cases() == 1 else 1

    def field_options(self) -> tuple[str, ...]:
        """Return the options that give the displacement field of a stage its spacing."""
        return ("--field-mm", str(self.config.workflow.field_mm))

    def fetch_options(self) -> list[str]:
        """Return the options of commands that may fetch a series."""
        return ["--series-dir", f"{self.results}/series", *_settings_option(self._sections("fetch"))]

    def source(self, case: str, scan: str) -> list[str]:
        """Return the arguments that name a scan's source."""
        pair = self.pair(case)
        uid = pair.fixed_series if scan == "fixed" else pair.moving_series
        source = pair.fixed_source if scan == "fixed" else pair.moving_source
        return [source, "--set", f"series_uid={uid}"] if uid else [source]

    def gives(self, *columns: str) -> bool:
        """Return whether any case has one of ``columns`` in the manifest; True for a selection, which may."""
        pairs = self.given.values()
        return bool(self.candidates) or any(getattr(pair, column) is not None for pair in pairs for column in columns)

    def fetched_pairs(self) -> int:
        """Return how many pairs of scans come from the archive, with candidates."""
        scans = ((pair.fixed_source, pair.moving_source) for pair in self.given.values())
        own = sum(any(is_series_uid(source) for source in both) for both in scans)
        return max(own, len(self.candidates))

    def downloads(self, what: Literal["source", "mask"]) -> bool:
        """Return whether any case's scans or lung masks are fetched from the archive.

        The answer is for all cases, since Snakemake asks for the resources of each job many times.
        """
        if self.candidates and (what == "source" or self.config.screen.masks == "published"):
            return True
        columns = [f"{scan}_{what}" for scan in SCANS]
        sources = [getattr(pair, name) for pair in self.given.values() for name in columns]
        return any(source and is_series_uid(source) for source in sources)

    def mask(self, case: str, scan: str) -> list[str]:
        """Return the options with a scan's lung mask, if the manifest has one."""
        pair = self.pair(case)
        source = pair.fixed_source if scan == "fixed" else pair.moving_source
        mask = pair.fixed_mask if scan == "fixed" else pair.moving_mask
        if mask is None:
            return []
        # A segmentation from the archive must belong to this series.
        of = ["--series-uid", source] if is_series_uid(mask) and is_series_uid(source) else []
        return ["--given", mask, *of]

    def sources_present(self, case: str) -> list[str]:
        """Return the sources of a case that are inputs of their stage (see :meth:`present`)."""
        pair = self.pair(case)
        return self._present((pair.fixed_source, pair.moving_source), self.files.case(case).scan)

    def masks_present(self, case: str) -> list[str]:
        """Return the given lung masks of a case that are inputs of their stage."""
        pair = self.pair(case)
        return self._present((pair.fixed_mask, pair.moving_mask), self.files.case(case).lungs)

    def vessels_present(self, case: str) -> list[str]:
        """Return the given vessel maps of a case that are inputs of their stage."""
        pair = self.pair(case)
        return self._present((pair.fixed_vessels, pair.moving_vessels), self.files.case(case).vessels)

    def landmarks_present(self, case: str, method: str) -> list[str]:
        """Return the landmarks of a case if they are an input of the evaluation of a method."""
        return self.present(self.landmarks(case), self.files.case(case).evaluation(method))

    def _present(self, paths: tuple[str | Path | None, ...], made: Callable[[str], Path]) -> list[str]:
        return [
            found
            for scan, path in zip(SCANS, paths, strict=True)
            if path is not None and not is_series_uid(str(path))
            for found in self.present(path, made(scan))
        ]

    @staticmethod
    def present(path: str | Path, made: Path) -> list[str]:
        """Return ``[path]`` if it or the file ``made`` from it exists, else nothing.

        A missing source must not stop the other cases, so it is no input of its rule: the command finds it missing and
        rejects the case. But once ``made`` exists, a source that is missing for a while must not cause a rebuild. A
        source dated ahead of the clock is no input either (:func:`dated_ahead`).
        """
        # Path.exists raises for a name that is too long or a folder without access, and one such
        # source would stop the planning of all cases.
        there = os.path.exists(path) or os.path.exists(made)  # noqa: PTH110
        return [str(path)] if there and not dated_ahead(str(path)) else []

    def landmarks(self, case: str) -> Path:
        """Return a case's landmarks; raise ``BadInputError`` if the manifest names none."""
        path = self.pair(case).landmarks
        if path is None:
            raise BadInputError(
                "the case has no landmarks to evaluate",
                code="no_landmarks",
                file=self.manifest,
                field=f"{case}, column landmarks",
                remedy="name a landmark file",
            )
        return path

    def evaluations(self, case: str) -> list[str]:
        """Return the evaluations that the gates of a case read: none without landmarks."""
        if self.pair(case).landmarks is None:
            return []
        return [f"{self.results}/{WITHIN.case(case).evaluation(method)}" for method in METHODS]

    def evaluation_options(self, case: str) -> list[str]:
        """Return the options that name these evaluations."""
        return [part for path in self.evaluations(case) for part in ("--evaluation", path)]

    @staticmethod
    def option(name: str, value: object) -> list[str]:
        """Return ``[name, value]``, or nothing if there is no value."""
        return [name, str(value)] if value else []

    def given_moving_vessels(self, case: str, *, rigid: str) -> list[str]:
        """Return the options with a vessel map of the follow-up, if the user gave one."""
        given = self.option("--given", self.pair(case).moving_vessels)
        return [*given, "--rigid", rigid] if given else []

    def targets(self, *, rejected: bool = True) -> list[str]:
        """Return the last files of the build, from which the report is made.

        Without ``rejected``, leave out rejected cases, and the table of test cases if one of its pool was rejected.
        """
        left_out = set() if rejected else {case for case in self.pairs if self.files.case(case).rejected.exists()}
        whole = left_out.isdisjoint(self._pool())
        wanted = [str(WITHIN.test_cases)] if self.has_test_pool() and whole else []
        for case, pair in self.pairs.items():
            if case not in left_out:
                wanted += case_targets(case, scored=pair.landmarks is not None)
        return [f"{self.results}/{path}" for path in wanted]

    def case_jobs(self, pair: Pair) -> list[Job]:
        """Return the jobs of a case in the order of the pipeline."""
        cloud = self.config.workflow.registration_cloud
        return case_jobs(pair.case, cloud=cloud, scored=pair.landmarks is not None)

    def jobs(self) -> list[Job]:
        """Return all known jobs in the order of the pipeline; the cases of a selection are known only after it.

        Raises ``BadInputError`` if the manifest of a selection is broken.
        """
        jobs = [self._screen_job(path) for path in self._inside(self.screened())]
        if self.candidates:
            made = (str(WITHIN.pairs), str(WITHIN.selection), str(WITHIN.names))
            jobs.append(Job("select", "", made, tuple(job.outputs[0] for job in jobs), made[:1], "logs/select.log"))
            if not Path(self.manifest).exists():
                return jobs
        for pair in self.pairs.values():
            jobs += self.case_jobs(pair)
        if self.has_test_pool():
            table = (str(WITHIN.test_cases),)
            jobs.append(Job("test_cases", "", table, self._inside(self.test_pool()), table, "logs/test_cases.log"))
        # Its log says nothing of a failure: the report is also made after one, without it.
        page = (str(WITHIN.report / "index.html"),)
        jobs.append(Job("report", "", (str(WITHIN.report_complete),), self._inside(self.targets()), page))
        return jobs

    @staticmethod
    def _screen_job(path: str) -> Job:
        case = Path(path).stem
        return Job("screen", case, (path,), (), (path,), f"logs/screen/{case}.log")

    def _inside(self, paths: Iterable[str]) -> tuple[str, ...]:
        return tuple(path.removeprefix(f"{self.results}/") for path in paths)
