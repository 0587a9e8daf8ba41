"""What all stage commands share: options, settings, errors to exit codes, provenance."""

import functools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Generic, TypeVar

import click
from tqdm import tqdm

from lcsd.build import rejections
from lcsd.build.provenance import Recorder
from lcsd.cli.failures import ended_by_signal, failures_named
from lcsd.config import read_sections
from lcsd.device import Compute, check_device
from lcsd.errors import INSTALLATION_FAULTS, LcsdError
from lcsd.io.files import written_files
from lcsd.io.orphans import refuse_if_orphaned, watch
from lcsd.settings.base import Settings

S = TypeVar("S", bound=Settings)
T = TypeVar("T")

FILE = click.Path(path_type=Path)
"""Paths are checked by the library, which says more than click can."""

SERIES_DIR = click.option(
    "--series-dir",
    type=FILE,
    default=None,
    help="Folder of downloaded series; a source that is a series UID is fetched to it first.",
)

NUMBA_VARIABLE = "NUMBA_NUM_THREADS"

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    NUMBA_VARIABLE,
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)

OUTPUT_NAMES = ("output", "out", "out_dir")
"""Parameters that name what a command makes."""

PLAIN_PROGRESS_SECONDS = 10.0
"""Between two progress lines where standard error is not a terminal."""


def set_threads(count: int) -> None:
    """Limit the threads of every numerical library; must run before they are imported.

    Only numba may be there already, as in a program that calls a command as a function: it
    refuses a changed variable once its threads run, so it is told by its own function.
    """
    for name in THREAD_VARIABLES:
        os.environ[name] = str(count)
    if "numba" in sys.modules:
        import numba

        most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
        os.environ[NUMBA_VARIABLE] = str(most)
        numba.set_num_threads(min(count, most))
    # Threads that spin while they wait make jobs that share cores up to 20 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


class Run(Generic[S]):
    """One run of a stage command: its settings, and what the command reports.

    Parameters
    ----------
    stage
        Name of the command.
    settings
        Validated settings of the stage.
    sections
        Settings of the other stages that the command spans, by name.
    written
        List that grows by the path of each file that the command writes.
    """

    def __init__(
        self,
        stage: str,
        settings: S,
        sections: Mapping[str, Any],
        *,
        threads: int,
        device: str,
        seed: int,
        as_json: bool,
        written: list[Path],
    ) -> None:
        self.stage = stage
        self.settings = settings
        self.sections = sections
        self.rejection: LcsdError | None = None
        self.threads = threads
        self.device = device
        self.seed = seed
        self._as_json = as_json
        self._recorded = {
            **settings.model_dump(mode="json"),
            **{name: section.model_dump(mode="json") for name, section in sections.items()},
            "threads": threads,
            "device": device,
            "seed": seed,
        }
        self._written = written
        self.begin()

    def begin(self) -> None:
        """Begin the provenance of an output; a command that makes many begins each."""
        self._written.clear()
        self.recorder = Recorder(self.stage, self._recorded, written=self._written)

    @property
    def compute(self) -> Compute:
        """Where to compute, and a line on standard error for each step that takes long."""
        return Compute(self.device, self.threads, lambda line: say(f"lcsd {self.stage}: {line}"))

    def local(self, source: str, series_dir: Path | None) -> AbstractContextManager[Path]:
        """Return a context with the path of a source; a series is fetched first.

        For commands with the section ``fetch``; see :func:`lcsd.fetch.local.local`.
        """
        from lcsd.fetch.local import local

        return local(source, series_dir, self.sections["fetch"], say=lambda line: say(f"lcsd {self.stage}: {line}"))

    def progress(self, items: Iterable[T], *, label: str, total: int | None = None, unit: str = "it") -> "tqdm[T]":
        """Return ``items`` with a progress bar on a terminal and plain lines elsewhere."""
        terminal = sys.stderr.isatty()
        return tqdm(
            items,
            desc=f"{self.stage}: {label}",
            total=total,
            unit=unit,
            unit_scale=unit == "B",
            mininterval=0.1 if terminal else PLAIN_PROGRESS_SECONDS,
            ascii=not terminal,
            dynamic_ncols=terminal,
        )

    def reject(self, reason: LcsdError) -> None:
        """Say that the case is unfit where this is a result: the command goes on and exits 0.

        With ``--rejected`` the reason is recorded once the command has ended well.
        """
        say(f"lcsd {self.stage}: rejected: {reason.message}")
        self.rejection = reason

    def done(
        self, output: Path | None, *, inputs: Mapping[str, Path], result: Mapping[str, Any], text: str | None = None
    ) -> None:
        """Write the provenance of ``output`` and print the result.

        Parameters
        ----------
        output
            File that was made; None if the result is only printed.
        result
            Short figures for the user; one line of JSON with ``--json``, else ``key: value``.
        text
            What is printed instead without ``--json``.
        """
        if output is not None:
            self.recorder.write(output, inputs=inputs)
            result = {"output": str(output), **result}
        if text is not None and not self._as_json:
            click.echo(text)
            return
        print_result(result, as_json=self._as_json)


def print_result(result: Mapping[str, Any], *, as_json: bool) -> None:
    """Print figures to standard output, as JSON or as aligned lines."""
    if as_json:
        click.echo(json.dumps(result, sort_keys=True))
        return
    width = max(len(key) for key in result)
    for key, value in result.items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        click.echo(f"{key:<{width}}  {text}")


def say(message: str) -> None:
    """Print a line of information to standard error."""
    click.echo(message, err=True)


def _common_options(seeded: bool, on_device: bool) -> list[Callable[[Any], Any]]:
    options = [
        click.option(
            "--config", "config_file", type=FILE, help="Configuration file; this command reads its own sections of it."
        ),
        click.option(
            "--settings",
            "documents",
            multiple=True,
            metavar="JSON",
            help="Override settings by a JSON object, such as '{\"k\": 32}'. Repeatable.",
        ),
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="KEY=VALUE",
            help="Override one setting; the value is YAML. Repeatable. --set wins over --settings, and --settings "
            "over --config. A command that spans stages takes SECTION.KEY=VALUE for the others.",
        ),
        click.option(
            "--threads",
            type=click.IntRange(1),
            default=os.cpu_count() or 1,
            show_default="all cores",
            help="CPU threads to use.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON line."),
        click.option(
            "--rejected",
            type=FILE,
            default=None,
            help="Where to record a failure (used by the workflow: CASE/rejected.json).",
        ),
    ]
    if on_device:
        options.append(
            click.option(
                "--device",
                type=click.Choice(["cpu", "cuda"]),
                default="cpu",
                show_default=True,
                help="Where to compute.",
            )
        )
    if seeded:
        options.append(
            click.option(
                "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the random generator."
            )
        )
    return options


def stage(
    name: str,
    settings_type: type[S],
    *,
    also: Mapping[str, type[Settings]] | None = None,
    seeded: bool = False,
    on_device: bool = False,
    shortcuts: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that turns ``f(run, ...)`` into the body of a stage command.

    The function gets a :class:`Run` first and then its own parameters, among them the output,
    named ``output``, ``out`` or ``out_dir``. Failures end the process with 2 (bad input) or 1
    (failed work), one line on standard error and, with ``--rejected``, the reason in that file
    unless the call or the installation is at fault.

    ``also`` names sections of other stages that the command spans, as ``run.sections`` has them:
    ``--config`` reads them, and ``--set SECTION.KEY=VALUE`` overrides their settings.

    ``shortcuts`` names parameters that stand for a setting, with the assignment they make (``{}``
    is the value), so that ``--fast`` and ``--set effort=fast`` are one thing.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def body(
            config_file: Path | None,
            documents: tuple[str, ...],
            assignments: tuple[str, ...],
            threads: int,
            as_json: bool,
            rejected: Path | None,
            device: str = "cpu",
            seed: int = 0,
            **parameters: Any,
        ) -> None:
            named = (parameters[key] for key in OUTPUT_NAMES if key in parameters)
            target = next(named, None) or Path(name)
            for parameter, assignment in (shortcuts or {}).items():
                value = parameters.pop(parameter)
                # An option that was not given is None, a flag that was not False; 0 is a value.
                if value is not None and value is not False:
                    assignments = (*assignments, assignment.format(value))
            try:
                with written_files() as written, failures_named(), ended_by_signal():
                    settings, sections = read_sections(
                        name, settings_type, also or {}, config_file, assignments, documents=documents
                    )
                    set_threads(threads)
                    check_device(device)
                    refuse_if_orphaned(target)
                    watch(functools.partial(end_orphan, name))
                    run = Run(
                        name,
                        settings,
                        sections,
                        threads=threads,
                        device=device,
                        seed=seed,
                        as_json=as_json,
                        written=written,
                    )
                    function(run, **parameters)
                if rejected is not None and run.rejection is not None:
                    rejections.reject(rejected, stage=name, target=target, error=run.rejection)
                else:
                    clear_rejection(rejected, stage=name, target=target)
            except LcsdError as error:
                say(f"lcsd {name}: error: {error.message}")
                record_rejection(rejected, stage=name, target=target, error=error)
                sys.exit(error.exit_code)

        for option in reversed(_common_options(seeded, on_device)):
            body = option(body)
        return body

    return decorate


def end_orphan(stage: str) -> None:
    """End this process as a scheduler would: the build that started it is no more."""
    say(f"lcsd {stage}: the build that started this job has ended, and so does the job")
    os.kill(os.getpid(), signal.SIGTERM)


def record_rejection(rejected: Path | None, *, stage: str, target: Path, error: LcsdError) -> None:
    """Record in ``rejected``, if that is named, why a case failed.

    What is wrong with the installation is no fault of the case and is not recorded. If the record
    cannot be written, that is said and the first error stays the result.
    """
    if rejected is None or error.code in INSTALLATION_FAULTS:
        return
    try:
        rejections.reject(rejected, stage=stage, target=target, error=error)
    except LcsdError as failure:
        say(f"lcsd {stage}: error: {failure.message}")


def clear_rejection(rejected: Path | None, *, stage: str, target: Path) -> None:
    """Remove the record of an earlier failure, if one is named; say it where that fails."""
    if rejected is None:
        return
    try:
        rejections.clear(rejected, stage=stage, target=target)
    except OSError as failure:
        say(f"lcsd {stage}: error: {rejected}: cannot remove: {failure.strerror}")
