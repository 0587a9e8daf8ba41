"""``lcsd serve``: a page on which two clouds or scans are registered."""

from collections.abc import Sequence

import click

from lcsd.cli.common import set_threads, tool
from lcsd.cli.failures import failures_named, say
from lcsd.cli.options import THREADS
from lcsd.errors import BadInputError, LcsdError, WorkError


def run_command(words: Sequence[str]) -> None:
    """Run a command of lcsd in this process; raise the ``LcsdError`` with which it fails."""
    from lcsd.cli.main import main

    try:
        main(list(words), standalone_mode=False)
    except SystemExit as end:
        # A command ends with its exit code while it handles the error that it reports.
        if isinstance(end.__context__, LcsdError):
            raise end.__context__ from None
        raise WorkError(f"the command has ended with {end.code}", code="internal_error", field=words[0]) from end
    except click.ClickException as error:
        raise BadInputError(error.format_message(), code="bad_usage", field=words[0]) from error


@click.command(epilog="Example: lcsd serve --open")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; others need a token.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0: any free one.")
@click.option("--open", "show", is_flag=True, help="Open the page in a browser.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="A further name of this server. Repeatable.")
@click.option("--max-upload", type=click.IntRange(1), default=512, show_default=True, help="Largest upload, MiB.")
@click.option("--memory", type=click.FloatRange(1), default=8.0, show_default=True, help="Memory of a job, GiB.")
@click.option("--time-limit", type=click.FloatRange(1), default=1800.0, show_default=True, help="Of a job, seconds.")
@click.option("--keep", type=click.FloatRange(0.01), default=60.0, show_default=True, help="Keep results, minutes.")
@THREADS
@click.option("--worker", type=(int, int), hidden=True, help="Work for a server: its process, memory in bytes.")
@tool("serve", json_option=False)
def command(
    *,
    host: str,
    port: int,
    show: bool,
    allow_host: tuple[str, ...],
    max_upload: int,
    memory: float,
    time_limit: float,
    keep: float,
    threads: int,
    worker: tuple[int, int] | None,
) -> None:
    """Serve a page on which two clouds or CT scans are registered, and its API (docs/serve.md).

    Everything stays on this machine. One job at a time runs, in a process of its own with limits on
    time and memory. Uploads and results are in a private temporary folder; they are erased when the
    server ends, or some time after the job (--keep).
    """
    if worker is not None:
        from lcsd.serve.stages import Commands
        from lcsd.serve.worker import serve_jobs

        set_threads(threads)
        server, memory_bytes = worker
        serve_jobs(Commands(run_command, failures_named), server=server, memory_bytes=memory_bytes, threads=threads)
        return
    from lcsd.serve.offers import GIB, MIB, Limits
    from lcsd.serve.serve import Address, serve

    limits = Limits(
        upload_bytes=max_upload * MIB,
        seconds=time_limit,
        memory_bytes=int(memory * GIB),
        threads=threads,
        kept_seconds=60 * keep,
    )
    serve(Address(host, port, allow_host), limits, say=lambda line: say(f"lcsd serve: {line}"), show=show)
