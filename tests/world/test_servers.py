"""What people reported of local demo servers: files left behind, names as paths, foreign pages, ports, lost jobs."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lcsd.errors import LcsdError
from lcsd.serve import serve
from lcsd.serve.guard import Guard
from lcsd.serve.offers import suffix_of

LOCAL = Guard.of("127.0.0.1")


def asked(**headers: str) -> Callable[[Path], object]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: LOCAL.check(given, token=None, public=False)


def named(name: str) -> Callable[[Path], object]:
    return lambda _: suffix_of("fixed", name)


def taken_port(_: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        serve._listening(serve.Address(port=other.getsockname()[1]))


def left_by_a_killed_server(folder: Path) -> list[Path]:
    """Return what is in the folder for temporary files while the next server runs."""
    old = folder / f"{serve.PREFIX}old"
    old.mkdir()
    (old / serve.LOCK).touch()
    (old / "upload.csv").write_text("x" * 1000)
    with serve.private_folder() as own:
        return [path for path in folder.iterdir() if path != own]


def left_at_the_end(folder: Path) -> list[Path]:
    with serve.private_folder() as own:
        (own / "upload.csv").write_text("x" * 1000)
    return [*folder.iterdir()]


def of_a_running_server(folder: Path) -> list[str]:
    """Return whether a second server leaves the files of the first one alone."""
    with serve.private_folder() as first:
        (first / "upload.csv").touch()
        with serve.private_folder():
            return [path.name for path in first.iterdir() if path.name != serve.LOCK]


def read_by_others(folder: Path) -> int:
    with serve.private_folder() as own:
        return own.stat().st_mode & 0o077


@dataclass(frozen=True)
class Row:
    """One report: who, what is done, and the reason code or the value that is right."""

    name: str
    source: str
    do: Callable[[Path], object]
    outcome: object


ROWS = (
    Row("temporary_folder_is_never_cleared", "gradio-app/gradio 4620", left_at_the_end, []),
    Row("uploads_stay_after_the_program", "gradio-app/gradio 3950", left_by_a_killed_server, []),
    Row("millions_of_files_slow_the_next_start", "runew0lf/RuinedFooocus 281", left_by_a_killed_server, []),
    Row("a_clean_up_must_spare_running_programs", "lllyasviel/Fooocus 1992", of_a_running_server, ["upload.csv"]),
    Row("other_users_read_the_temporary_folder", "gradio-app/gradio 3950", read_by_others, 0),
    Row("file_name_leads_out_of_the_folder", "orhun/rustypaste 2", named("../."), "unknown_format"),
    Row("encoded_dots_lead_out_of_the_folder", "mushorg/glastopf 272", named("%2e%2e%2fetc/passwd"), "unknown_format"),
    Row("only_the_ending_of_a_name_counts", "made up", named("../../x.csv"), ".csv"),
    Row("name_of_another_site_means_this_machine", "mgedmin/restview 51", asked(Host="evil.example:8000"), "bad_host"),
    Row("host_that_begins_like_ours", "clopca/open-mem 10", asked(Host="localhost.evil.com"), "bad_host"),
    Row("no_host_at_all", "clopca/open-mem 10", asked(), "bad_host"),
    Row("cups_knows_its_four_names", "quick-lint/quick-lint-js 951", asked(Host="[::1]:8000"), None),
    Row(
        "page_of_another_site_asks",
        "stellar/stellar-core 1517",
        asked(Host="localhost:8000", Origin="http://evil.example"),
        "bad_origin",
    ),
    Row(
        "right_origin_but_wrong_host",
        "felixhageloh/uebersicht 488",
        asked(Host="malicious.example.com:41416", Origin="http://127.0.0.1:41416"),
        "bad_host",
    ),
    Row("port_in_use_is_a_traceback", "googleworkspace/python-samples 74", taken_port, "port_in_use"),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_report_of_a_server(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    try:
        found = row.do(tmp_path)
    except LcsdError as error:
        found = error.code
    assert found == row.outcome
