"""The frames of all commands: ``@stage`` for what makes files of a build, ``@tool`` for all others."""

import contextlib
import functools
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import click

from lcsd.build import rejections
from lcsd.build.provenance import Recorder
from lcsd.cli.failures import clear_rejection, end_orphan, ended_by_signal, failures_named, report_failure, say
from lcsd.cli.options import DEVICE, JSON, REJECTED, SEED, THREADS, settings_options
from lcsd.config import read_sections
from lcsd.errors import MACHINE_FAULTS, BadInputError, LcsdError
from lcsd.io.files import written_files
from lcsd.io.orphans import refuse_if_orphaned, watch
from lcsd.numerics.device import Compute, check_device, progress_bar
from lcsd.settings.base import Settings

if TYPE_CHECKING:
    from tqdm import tqdm

S = TypeVar("S", bound=Settings)

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


def set_threads(count: int) -> None:
    """Limit the threads of every numerical library; call it before they are imported.

    Only numba may be imported already, as in a program that calls a command as a function. It refuses a changed
    variable once its threads run, so its own function is called, too.
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

    ``sections`` are the settings of the other stages that the command spans, by name. ``written`` grows by the path of
    each file that the command writes.
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
        self.failed_parts = 0
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
        """Begin the provenance of an output; a command that makes many outputs begins each."""
        self._written.clear()
        self.recorder = Recorder(self.stage, self._recorded, written=self._written)

    @property
    def compute(self) -> Compute:
        """Where to compute, and a line on standard error for each long step."""
        return Compute(self.device, self.threads, self.say)

    def say(self, message: str) -> None:
        """Print a line to standard error, with the name of the command."""
        say(f"lcsd {self.stage}: {message}")

    def warn(self, message: str) -> None:
        """Print a warning to standard error, with the name of the command."""
        self.say(f"warning: {message}")

    def local(self, source: str, series_dir: Path | None) -> AbstractContextManager[Path]:
        """Return the context of :func:`lcsd.fetch.local.local`, for commands with the section ``fetch``."""
        from lcsd.fetch.local import local

        return local(source, series_dir, self.sections["fetch"], say=self.say)

    def progress(
        self, items: Iterable[Any] = (), *, label: str, total: int | None = None, unit: str = "it"
    ) -> "tqdm[Any]":
        """Return ``items`` with a progress bar on a terminal, and with plain lines elsewhere."""
        return progress_bar(items, label=f"{self.stage}: {label}", total=total, unit=unit)

    def reject(self, reason: LcsdError) -> None:
        """Report an unfit case where this is a result; ``--rejected`` records it once the command succeeds."""
        self.say(f"rejected: {reason.message}")
        self.rejection = reason

    @contextlib.contextmanager
    def part(self, target: Path, *, rejected: Path | None) -> Iterator[None]:
        """Make one of many outputs; a failure is reported and counted, unless it would stop all others, too."""
        self.begin()
        try:
            with failures_named():
                yield
        except LcsdError as error:
            if error.code in MACHINE_FAULTS:
                raise
            self.failed_parts += 1
            report_failure(self.stage, error, rejected=rejected, target=target)
        else:
            clear_rejection(rejected, stage=self.stage, target=target)

    def done(
        self,
        output: Path | None,
        *,
        inputs: Mapping[str, Path | None],
        result: Mapping[str, Any],
        text: str | None = None,
    ) -> None:
        """Write the provenance of ``output`` and print the result.

        ``output`` is None if the result is only printed. ``inputs`` are the files that were read, by role; None for one
        that was not given. ``result`` has short figures for the user: one line of JSON with ``--json``, else ``key:
        value``, or ``text`` if given.
        """
        if output is not None:
            given = {name: path for name, path in inputs.items() if path is not None}
            self.recorder.write(output, inputs=given)
            result = {"output": str(output), **result}
        print_result(result, aligned(result) if text is None else text, as_json=self._as_json)


def aligned(result: Mapping[str, Any]) -> str:
    """Return figures as lines of name and value."""
    width = max(len(key) for key in result)
    values = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in result.values())
    return "\n".join(f"{key:<{width}}  {value}" for key, value in zip(result, values, strict=True))


def print_result(record: object, text: str, *, as_json: bool) -> None:
    """Print a result to standard output: the record as one line of JSON, or the text."""
    click.echo(json.dumps(record, sort_keys=True) if as_json else text)


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

    The function gets a :class:`Run` and then its own parameters, among them the output, named ``output``, ``out`` or
    ``out_dir``. A failure ends the process with 2 (bad input) or 1 (failed work), one line on standard error and, with
    ``--rejected``, the reason in that file unless the call or the installation is at fault.

    ``also`` names sections of other stages that the command spans; ``run.sections`` holds them, and ``--set
    SECTION.KEY=VALUE`` changes them.

    ``shortcuts`` names parameters that stand for a setting, with the assignment they make (``{}`` is the value), so
    that ``--fast`` and ``--set effort=fast`` are the same.
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
            short = {parameter: parameters.pop(parameter) for parameter in shortcuts or {}}
            try:
                with written_files() as written, failures_named(), ended_by_signal():
                    all_assignments = _with_shortcuts(assignments, short, shortcuts or {})
                    settings, sections = read_sections(
                        name, settings_type, also or {}, config_file, all_assignments, documents=documents
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
                report_failure(name, error, rejected=rejected, target=target)
                sys.exit(error.exit_code)

        options = [settings_options(name, *(also or ())), THREADS, JSON, REJECTED]
        for option in reversed([*options, *([DEVICE] if on_device else []), *([SEED] if seeded else [])]):
            body = option(body)
        return body

    return decorate


def _with_shortcuts(
    assignments: tuple[str, ...], given: Mapping[str, Any], shortcuts: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the assignments of ``--set`` and those that the given shortcuts make.

    Raises ``BadInputError`` (``bad_option``) if two of them say different things of one setting.
    """
    for parameter, value in given.items():
        # An option that was not given is None, a flag that was not given is False; 0 is a value.
        if value is None or value is False:
            continue
        made = shortcuts[parameter].format(value)
        key, _, own = made.partition("=")
        for other in assignments:
            name, _, text = other.partition("=")
            if name.strip() == key and text.strip().lower() != own.lower():
                raise BadInputError(
                    "two options set one setting to different values",
                    code="bad_option",
                    field=f"--{parameter.replace('_', '-')}",
                    expected=made,
                    found=other,
                    remedy="leave one of them out",
                )
        assignments = (*assignments, made)
    return assignments


class Shown(NamedTuple):
    """What a command prints without and with ``--json``, and the exit code."""

    text: str
    record: object = None
    exit_code: int = 0


def tool(name: str, *, json_option: bool = True) -> Callable[[Callable[..., Shown | None]], Callable[..., None]]:
    """Return a decorator that turns ``f(...)`` into the body of a command that is no stage.

    The function returns what is printed, if anything; it gets ``as_json`` only if it has that parameter. A failure ends
    the process with 2 (bad input) or 1 (failed work) and one line on standard error.
    """

    def decorate(function: Callable[..., Shown | None]) -> Callable[..., None]:
        wants_json = "as_json" in inspect.signature(function).parameters

        @functools.wraps(function)
        def body(*, as_json: bool = False, **parameters: Any) -> None:
            if wants_json:
                parameters["as_json"] = as_json
            try:
                with failures_named():
                    shown = function(**parameters)
            except LcsdError as error:
                report_failure(name, error)
                sys.exit(error.exit_code)
            if shown is not None:
                print_result(shown.record, shown.text, as_json=as_json)
                if shown.exit_code:
                    sys.exit(shown.exit_code)

        return JSON(body) if json_option else body

    return decorate
