"""Broken uploads and hostile requests: one clear line each, and the server goes on."""

import io
import socket
import zipfile

import numpy as np
import pytest

from tests.unit.serve.conftest import Fields, Server, breathing, pair, table, vessels

pytestmark = pytest.mark.slow

GOOD = table(vessels(300))


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    held = io.BytesIO()
    np.save(held, array, allow_pickle=allow_pickle)
    return held.getvalue()


def zipped(**entries: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(f"{name}.npy", content)
    return held.getvalue()


def declared(shape: tuple[int, ...]) -> bytes:
    """An array whose header declares more than the file has."""
    return npy(np.zeros((2, 3))).replace(b"(2, 3), }", f"{shape}, }}".encode(), 1)[:200]


PLY = (
    b"ply\nformat ascii 1.0\nelement vertex 4000000000\n"
    + b"".join(b"property float %c\n" % c for c in b"xyz")
    + b"end_header\n0 0 0\n"
)
VTP = (
    b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><VTKFile type="PolyData">&b;</VTKFile>'
)

BROKEN: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.csv", b"", "truncated_file"),
    "no rows": ("a.csv", b"x,y,z\n", "empty_table"),
    "words": ("a.csv", b"x,y,z\na,b,c\n", "bad_number"),
    "binary": ("a.csv", b"\x00\x01\x02" * 50, "bad_table"),
    "two columns": ("a.csv", b"x,y\n1,2\n", "missing_column"),
    "nan": ("a.npy", npy(np.full((20, 3), np.nan)), "non_finite_points"),
    "infinite": ("a.npy", npy(np.full((20, 3), np.inf)), "non_finite_points"),
    "flat": ("a.npy", npy(np.zeros(60)), "bad_points"),
    "one place": ("a.npy", npy(np.ones((20, 3))), "degenerate_cloud"),
    "metres": ("a.csv", table(vessels(300) / 1000), "wrong_unit"),
    "far away": ("a.csv", table(vessels(300) + 5000), "frame_mismatch"),
    "exchanged columns": ("a.csv", table(breathing(vessels(300) * [1, 0.5, 2])[:, ::-1]), "frame_mismatch"),
    "pickle": ("a.npy", npy(np.array([{}], dtype=object), allow_pickle=True), "bad_cloud_file"),
    "pickle in npz": ("a.npz", zipped(points=npy(np.array([{}], dtype=object), allow_pickle=True)), "truncated_file"),
    "pickle in pth": ("a.pth", b"\x80\x04cos\nsystem\n(S'touch hacked'\ntR.", "bad_cloud_file"),
    "declares terabytes": ("a.npy", declared((10**12, 3)), "bad_cloud_file"),
    "ply of billions": ("a.ply", PLY, "bad_cloud_file"),
    "entities": ("a.vtp", VTP, "bad_cloud_file"),
    "half a ply": ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 3\n", "bad_cloud_file"),
    "not a zip": ("a.npz", b"PK\x03\x04 and nothing more", "truncated_file"),
    "voxels": ("a.csv", b"i,j,k\n" + GOOD.split(b"\n", 1)[1], "voxel_cloud"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_upload_is_one_clear_line(kind: str, server: Server) -> None:
    name, content, code = BROKEN[kind]
    whole = {"exchanged columns": vessels(300) * [1, 0.5, 2]}
    fixed = table(whole[kind]) if kind in whole else GOOD
    job = server.check({"fixed": ("good.csv", fixed), "moving": (name, content)})
    assert job["state"] == "done", job
    bad = [verdict for verdict in job["result"]["verdicts"] if not verdict["good"]]
    assert [verdict["error"]["code"] for verdict in bad] == [code], bad
    assert bad[0]["text"].count("\n") == 0
    assert "/" not in (bad[0]["error"]["file"] or "")
    assert not job["result"]["good"]
    # Registered all the same, it fails with the same reason.
    failed = server.until(server.post("/api/jobs", {"like": job["id"], "effort": "fast"})["id"])
    assert (failed["state"], failed["error"]["code"]) == ("failed", code)


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"fixed": ("a.csv", GOOD)}, "missing_part", "moving"),
        ({}, "missing_part", "fixed, moving"),
        ({"fixed": ("a.exe", GOOD), "moving": ("b.csv", GOOD)}, "unknown_format", "fixed"),
        ({"fixed": ("csv", GOOD), "moving": ("b.csv", GOOD)}, "unknown_format", "fixed"),
        ({**pair(100), "other": ("b.csv", GOOD)}, "unknown_part", "other"),
        ({**pair(100), "colour": "red"}, "unknown_part", "colour"),
        ({**pair(100), "frame": "../lps"}, "unknown_value", "frame"),
        ({**pair(100), "method": "divroc; rm -rf /"}, "unknown_method", "method, effort"),
        ({**pair(100), "effort": "--out-dir=/tmp/x"}, "unknown_method", "method, effort"),
        ({"sample": "../../etc"}, "unknown_value", "sample"),
        ({"like": "../../etc"}, "unknown_job", "ID"),
        (
            {"fixed": ("a.csv", GOOD), "moving": ("b.csv", GOOD), "moving_landmarks": ("c.csv", b"x")},
            "missing_part",
            None,
        ),
        ({f"field{number}": "x" for number in range(30)}, "upload_too_large", None),
        ({**pair(100), "frame": "x" * 3_000_000}, "upload_too_large", None),
    ],
)
def test_a_wrong_request_is_refused_with_its_field(
    fields: Fields, code: str, field: str | None, server: Server
) -> None:
    answer = server.post("/api/jobs", fields)
    assert answer["code"] == code, answer
    assert answer["status"] in {400, 404, 413}
    assert field is None or answer["field"] == field
    assert set(answer) >= {"code", "field", "expected", "found", "remedy", "message"}


@pytest.mark.parametrize(
    "name",
    [
        "../../../escaped.csv",
        "/var/escaped.csv",
        "a\\..\\b.csv",
        "\u202egnp.csv",
        "-rf.csv",
        "con.csv",
        "x" * 5000 + ".csv",
    ],
)
def test_a_name_never_becomes_a_path(name: str, server: Server) -> None:
    fields = pair(200)
    job = server.check({**fields, "fixed": (name, GOOD)})
    assert job["result"]["verdicts"][0]["good"], job
    assert "escaped" not in str(job)


def raw(server: Server, head: str) -> bytes:
    """Send a request whose body never comes, and return the answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        found = b""
        while part := connection.recv(65536):
            found += part
        return found


def test_an_upload_that_is_too_large_is_refused_before_it_is_sent(server: Server) -> None:
    head = (
        f"POST /api/jobs HTTP/1.1\nHost: localhost:{server.port}\nContent-Length: {1 << 40}\nContent-Type: text/plain"
    )
    answer = raw(server, head)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"upload_too_large" in answer
    assert b"512 MiB" in answer


def test_a_foreign_host_or_page_is_refused(server: Server) -> None:
    assert server.json("GET", "/api", Host="attacker.example")["code"] == "bad_host"
    assert server.ask("GET", "/", Host=f"attacker.example:{server.port}")[0].status == 403
    answer = server.post("/api/jobs", pair(100), Origin="http://attacker.example")
    assert (answer["status"], answer["code"]) == (403, "bad_origin")
    assert server.json("DELETE", "/api/jobs/x", Sec_Fetch_Site="cross-site")["code"] == "bad_origin"


def test_every_answer_has_its_policy(server: Server) -> None:
    for path in ("/", "/api", "/nowhere", "/static/app.js", "/static/../app.py"):
        answer, _ = server.ask("GET", path)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"], path
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers.get("Server") is None
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert server.json("PUT", "/api/jobs")["code"] == "bad_request"


def test_the_page_is_small(server: Server) -> None:
    sizes = [len(server.ask("GET", path)[1]) for path in ("/", "/static/app.js", "/static/app.css", "/api")]
    assert sum(sizes) < 1.5e6
