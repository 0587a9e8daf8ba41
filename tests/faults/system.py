"""Faults of the machine: disks, memory, clocks, locales, servers, and jobs that were killed."""

import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lcsd.io.images import Image, write_image
from tests.faults.fault import Fault, Place
from tests.faults.scans import converted, hu
from tests.faults.stages import LATTICE, VERIFY, cloud, external_program
from tests.s3 import publish, s3_server
from tests.unit.fetch.conftest import UIDS, Site
from tests.unit.fetch.dicom import write_series as write_remote

MOUNT = 'mount -t tmpfs -o {options} none "$0" || exit 77; "$@"; code=$?; find "$0" -mindepth 1; exit $code'
"""Runs a command with a small disk at $0, and prints what it left there."""

NAMESPACE = 'unshare -rm true 2> /dev/null || exit 77; exec unshare -rm "$@"'
"""Runs a command that may mount disks of its own; some containers allow nobody that."""

WITHOUT_RIGHTS = "setpriv --bounding-set=-dac_override,-dac_read_search"
NO_MOUNT = 77
DAY_S = 86_400.0
ONE_STEP = "{raster_mm: 9, flow_mm: 9, sigma_voxels: 1, iterations: 1}"


def _with_disk(options: str, folder: str) -> list[str]:
    return ["sh", "-c", NAMESPACE, "sh", "sh", "-c", MOUNT.format(options=options), folder]


def on_disk(options: str) -> Callable[[Place], list[str]]:
    """Return the words that run a command with a disk of its own as output folder."""

    def behind(place: Place) -> list[str]:
        place.out.mkdir()
        return _with_disk(options, str(place.out))

    return behind


def on_temporary_disk(options: str) -> Callable[[Place], list[str]]:
    """Return the words that run a command with a disk of its own as the folder for temporary files."""
    return lambda _: _with_disk(options, os.environ["TMPDIR"])


def limited(limits: str) -> Callable[[Place], list[str]]:
    """Return the words that run a command under limits of the shell's ``ulimit``."""
    return lambda _: ["sh", "-c", f'ulimit {limits}; exec "$@"', "sh"]


def _noise(place: Place) -> str:
    rng = np.random.default_rng(0)
    array = rng.integers(-1000, -500, hu().array.shape).astype(np.int16)
    path = place.inputs / "ct.nii.gz"
    write_image(path, Image(array, hu().grid), dtype=np.int16)
    return str(path)


def _convert(place: Place) -> list[str]:
    return converted(place, Path(_noise(place)))


def _register(place: Place) -> list[str]:
    shifted = LATTICE + np.random.default_rng(0).normal(0, 9, LATTICE.shape)
    clouds = cloud(place, "fixed"), cloud(place, "moving", shifted)
    steps = ("--set", "effort=fast", "--set", f"levels=[{ONE_STEP}]")
    return ["register", *clouds, "--out-dir", str(place.out), *steps]


def _huge(place: Place) -> list[str]:
    """A scan of 6 GB that takes no space on the disk."""
    path = place.inputs / "ct.nii"
    write_image(path, Image(np.zeros((24, 24, 24), np.int16), hu((24, 24, 24)).grid), dtype=np.int16)
    content = bytearray(path.read_bytes()[:352])
    content[42:48] = np.array([2000, 2000, 750], "<i2").tobytes()
    path.write_bytes(content)
    with path.open("r+b") as handle:
        handle.truncate(352 + 2 * 2000 * 2000 * 750)
    return converted(place, path)


def _closed_folder(place: Place) -> list[str]:
    closed = place.folder / "closed"
    closed.mkdir()
    source = Path(_noise(place)).rename(closed / "ct.nii.gz")
    closed.chmod(0)
    place.stack.callback(closed.chmod, 0o700)
    return converted(place, source)


def _as_a_user(_: Place) -> list[str]:
    """Return the words that take from root the right to enter every folder."""
    return [] if os.getuid() else shlex.split(WITHOUT_RIGHTS)


def _output_is_a_folder(place: Place) -> list[str]:
    (place.out / "ct.nii.gz").mkdir(parents=True)
    return _convert(place)


def _parent_is_a_file(place: Place) -> list[str]:
    (place.folder / "results").write_text("")
    source = _noise(place)
    return ["convert", source, str(place.folder / "results" / "ct.nii.gz")]


def _leftover_of_a_killed_job(place: Place) -> list[str]:
    place.out.mkdir()
    (place.out / ".0123456789ab.tmp.ct.nii.gz").write_bytes(b"half of a volume")
    return _convert(place)


def _broken_record(place: Place) -> list[str]:
    place.rejected.parent.mkdir()
    place.rejected.write_text('{"stage": "conv')
    return _convert(place)


def _clock_backwards(place: Place) -> list[str]:
    start = time.time()
    steps = iter(range(1_000_000))
    place.patch.setattr(time, "time", lambda: start - DAY_S * next(steps))
    return _convert(place)


def _from_the_future(place: Place) -> list[str]:
    words = _convert(place)
    later = time.time() + 365 * DAY_S
    os.utime(words[1], (later, later))
    return words


def _other_letters(place: Place) -> list[str]:
    path = place.inputs / "Lungenärzte 肺.nii.gz"
    Path(_noise(place)).rename(path)
    return converted(place, path)


def _fetch(fault: str, *, body: bytes | None = None) -> Callable[[Place], list[str]]:
    """Return the call that downloads a series from a server that fails in one way."""

    def make(place: Place) -> list[str]:
        tree = place.folder / "tree"
        write_remote(tree / "case0" / "fixed" / "standard", UIDS[0], files=3)
        server = place.stack.enter_context(s3_server())
        publish(server, tree, place.inputs / "index.parquet")
        site = Site(server, place.inputs / "index.parquet", place.out)
        if fault == "dead":
            server.stop()
        elif body is not None:
            site.change(2, body)
        else:
            server.fault = lambda method, key: fault if method == "GET" and key else None
        return site.arguments(UIDS[0], retries=0, stall_s=1.0)

    return make


def system(
    command: str,
    name: str,
    how: str,
    make: Callable[[Place], list[str]],
    code: str = "",
    words: str = "",
    exit_code: int = 1,
    *,
    behind: Callable[[Place], list[str]] | None = None,
    chatty: bool = False,
) -> Fault:
    """Return a fault of the machine."""
    return Fault(
        command, name, "system", how, make, code, words, exit_code if code else 0, behind=behind, chatty=chatty
    )


ASCII = shlex.split("env LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0")

SYSTEM = (
    system(
        "convert",
        "disk_full",
        "the disk is full (8 KiB) while a volume is written",
        _convert,
        "cannot_write",
        "No space left",
        behind=on_disk("size=8k"),
    ),
    system(
        "register",
        "disk_full_in_a_library",
        "the disk is full while ITK writes a field",
        _register,
        "cannot_write",
        "incomplete",
        behind=on_disk("size=4k"),
        chatty=True,
    ),
    system(
        "prealign",
        "temporary_disk_full",
        "the disk of TMPDIR is full (4 KiB) while a volume is written for linearBCV",
        external_program("pass\n"),
        "cannot_write",
        "No space left",
        behind=on_temporary_disk("size=4k"),
    ),
    system(
        "prealign",
        "temporary_disk_read_only",
        "TMPDIR is a read-only disk; another folder is used",
        external_program("raise SystemExit(3)\n"),
        "program_failed",
        "3",
        behind=on_temporary_disk("ro,size=16k"),
    ),
    system(
        "convert",
        "read_only",
        "the output folder is on a read-only disk",
        _convert,
        "cannot_write",
        "Read-only",
        behind=on_disk("ro"),
    ),
    system(
        "convert",
        "closed_folder",
        "a source in a folder that this user may not enter",
        _closed_folder,
        "missing_file",
        "Permission denied",
        2,
        behind=_as_a_user,
    ),
    system(
        "convert",
        "no_inodes",
        "the disk has no room for another file",
        _convert,
        "cannot_write",
        "No space left",
        behind=on_disk("nr_inodes=1"),
    ),
    system(
        "convert",
        "file_size_limit",
        "a quota limits files to 4 KiB",
        _convert,
        "cannot_write",
        "File too large",
        behind=limited("-f 8"),
    ),
    system(
        "convert",
        "out_of_memory",
        "a scan of 6 GB with 3 GB of memory",
        _huge,
        "out_of_memory",
        "larger machine",
        behind=limited("-v 3000000"),
    ),
    system(
        "convert",
        "output_is_a_folder",
        "a folder has the output's name",
        _output_is_a_folder,
        "cannot_write",
        "directory",
    ),
    system(
        "convert", "parent_is_a_file", "the output's folder is a file", _parent_is_a_file, "cannot_write", "permissions"
    ),
    system(
        "convert",
        "leftover_of_a_killed_job",
        "an earlier job was killed while it wrote this file",
        _leftover_of_a_killed_job,
    ),
    system(
        "convert", "broken_record", "an earlier job was killed while the disk lost its rejected.json", _broken_record
    ),
    system("convert", "clock_backwards", "the clock goes back a day at each reading", _clock_backwards),
    system("convert", "from_the_future", "an input dated a year ahead", _from_the_future),
    system(
        "convert", "ascii_locale", "the locale is C and the path is not ASCII", _other_letters, behind=lambda _: ASCII
    ),
    system(
        "fetch",
        "server_dead",
        "no server answers at the archive's address",
        _fetch("dead"),
        "server_unreachable",
        "refused",
        chatty=True,
    ),
    system(
        "fetch", "server_stalls", "the archive's server goes silent", _fetch("stall"), "server_stalled", "", chatty=True
    ),
    system(
        "fetch", "server_denies", "the archive's server denies access", _fetch("deny"), "access_denied", "", chatty=True
    ),
    system(
        "fetch",
        "other_bytes",
        "the archive's object is another file",
        _fetch("", body=b"no DICOM"),
        "truncated_object",
        "",
        2,
        chatty=True,
    ),
    VERIFY,
)
