"""An S3 server on loopback with faults on demand, and series published in it as the IDC does.

It speaks what s5cmd asks for: HEAD of a bucket, ListObjectsV2 in pages, HEAD and GET of objects
with ranges, without signatures. One connection carries one request, so a server that is stopped
answers nobody any more.
"""

import hashlib
import http.server
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq
import pydicom

BUCKET = "idc-open-data"
MODIFIED = "Fri, 02 Jan 1999 00:00:00 GMT"
CHUNK = 16_384
LONGEST_STALL_S = 30.0

Fault = Callable[[str, str], str | None]
"""Gets method and object key (empty for the bucket); returns what goes wrong with the request.

``deny`` (403), ``fail`` (503), ``absent`` (404), ``drop`` (no answer), ``cut`` (half of the body,
then the connection ends), ``stall`` (half of the body, then nothing until ``release`` is set).
"""

REFUSALS = {"deny": (403, "AccessDenied"), "fail": (503, "SlowDown"), "absent": (404, "NoSuchKey")}

INDEX_TYPES = {
    "instanceCount": pa.int64(),
    "series_init_idc_version": pa.int64(),
    "series_revised_idc_version": pa.int64(),
    "series_size_MB": pa.float64(),
}
INDEX_COLUMNS = (
    "collection_id",
    "analysis_result_id",
    "PatientID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "source_DOI",
    "PatientAge",
    "PatientSex",
    "StudyDate",
    "StudyDescription",
    "BodyPartExamined",
    "Modality",
    "SOPClassUID",
    "sop_class_name",
    "TransferSyntaxUID",
    "transfer_syntax_name",
    "PhotometricInterpretation",
    "PixelRepresentation",
    "Manufacturer",
    "ManufacturerModelName",
    "SeriesDate",
    "SeriesDescription",
    "SeriesNumber",
    "instanceCount",
    "license_short_name",
    "series_init_idc_version",
    "series_revised_idc_version",
    "aws_bucket",
    "crdc_series_uuid",
    "series_aws_url",
    "series_size_MB",
)
"""Columns of the main index of idc-index-data 25.0.5."""


class _Handler(http.server.BaseHTTPRequestHandler):
    owner: "S3Server"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        url = urlsplit(self.path)
        bucket, _, key = unquote(url.path.lstrip("/")).partition("/")
        self.owner.count(self.command, key)
        fault = self.owner.fault(self.command, key) if self.owner.fault else None
        if fault == "drop" or self.owner.dead.is_set():
            return
        if fault in ("deny", "fail", "absent"):
            status, code = REFUSALS[fault]
            self._send(status, _error(code))
        elif not key and self.command == "HEAD":
            self._send(200, b"")
        elif not key:
            self._send(200, self.owner.listing(bucket, parse_qs(url.query)))
        elif f"{bucket}/{key}" not in self.owner.objects:
            self._send(404, _error("NoSuchKey"))
        else:
            self._object(self.owner.objects[f"{bucket}/{key}"], fault)

    def _object(self, body: bytes, fault: str | None) -> None:
        extra = {"ETag": self.owner.tag(body), "Last-Modified": MODIFIED}
        wanted = self.headers.get("Range")
        status = 200
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            end = min(int(last or len(body)) + 1, len(body))
            extra["Content-Range"] = f"bytes {first}-{end - 1}/{len(body)}"
            body, status = body[int(first) : end], 206
        self._send(status, body, extra, fault)

    def _send(self, status: int, body: bytes, extra: dict[str, str] | None = None, fault: str | None = None) -> None:
        self.send_response(status)
        headers = {"Content-Length": str(len(body)), "x-amz-bucket-region": "us-east-1", **(extra or {})}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        half = len(body) // 2 if fault in ("cut", "stall") else len(body)
        for start in range(0, half, CHUNK):
            if self.owner.dead.is_set():
                return
            self.wfile.write(body[start : min(start + CHUNK, half)])
        self.wfile.flush()
        if fault == "stall":
            self.owner.stalled.release()
            self.owner.release.wait(LONGEST_STALL_S)


class _Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients that are killed leave broken connections behind; that is what is tested."""


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()


class S3Server:
    """A server that can be stopped and started again on the same port; see the module."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.fault: Fault | None = None
        self.page = 1000
        self.parted = False  # objects were uploaded in parts: ETags are no MD5
        self.dead, self.release = threading.Event(), threading.Event()
        self.stalled = threading.Semaphore(0)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self.dead.clear()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._listener = _Listener(("127.0.0.1", self._port), handler)
        self._port = self._listener.server_port
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        self.dead.set()
        if self._listener is not None and self._thread is not None:
            listener, self._listener = self._listener, None
            listener.shutdown()
            listener.server_close()
            self._thread.join()

    def count(self, method: str, key: str) -> None:
        with self._lock:
            self._counts[method, key] += 1

    def gets(self) -> dict[str, int]:
        """Return how often each object was downloaded, by key."""
        with self._lock:
            return {key: n for (method, key), n in self._counts.items() if method == "GET" and key}

    def forget(self) -> None:
        """Start counting anew."""
        with self._lock:
            self._counts.clear()

    def tag(self, body: bytes) -> str:
        """Return the ETag of an object."""
        digest = hashlib.md5(body).hexdigest()  # noqa: S324
        return f'"{digest}-1"' if self.parted else f'"{digest}"'

    def listing(self, bucket: str, query: dict[str, list[str]]) -> bytes:
        prefix = query.get("prefix", [""])[0]
        keys = sorted(name.partition("/")[2] for name in list(self.objects) if name.startswith(f"{bucket}/{prefix}"))
        first = int(query.get("continuation-token", ["0"])[0])
        part = keys[first : first + self.page]
        more = first + self.page < len(keys)
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>1999-01-02T00:00:00.000Z"
            f"</LastModified><ETag>{self.tag(body)}</ETag>"
            f"<Size>{len(body)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for key, body in ((key, self.objects[f"{bucket}/{key}"]) for key in part)
        )
        token = f"<NextContinuationToken>{first + self.page}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(part)}</KeyCount>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{rows}</ListBucketResult>"
        ).encode()


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Give a running server; it is stopped and nobody waits for it any more afterwards."""
    server = S3Server()
    server.start()
    try:
        yield server
    finally:
        server.release.set()
        server.stop()


def series_prefix(uid: str) -> str:
    """Return the folder of a series in the bucket."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, uid))


def publish(server: S3Server, tree: Path, index: Path, *, collection: str = "nlst") -> list[str]:
    """Upload every series below ``tree`` and write an index of them; return their UIDs by path.

    A series is a folder that holds ``.dcm`` files, as ``lcsd phantom --format dicom`` writes them:
    ``<case>/<role>/{localizer,standard,lung}``.
    """
    rows = []
    for folder in sorted({path.parent for path in tree.rglob("*.dcm")}):
        files = sorted(folder.glob("*.dcm"))
        header = pydicom.dcmread(files[0], stop_before_pixels=True)
        prefix = series_prefix(str(header.SeriesInstanceUID))
        for path in files:
            server.objects[f"{BUCKET}/{prefix}/{path.name}"] = path.read_bytes()
        rows.append(index_row(header, files, prefix, collection))
    write_index(index, rows)
    return [row["SeriesInstanceUID"] for row in rows]


def index_row(header: pydicom.FileDataset, files: list[Path], prefix: str, collection: str) -> dict[str, Any]:
    """Return the row of the index that describes a series."""
    row = {name: str(header.get(name)) for name in INDEX_COLUMNS if header.get(name) is not None} | {
        "collection_id": collection,
        "instanceCount": len(files),
        "series_size_MB": sum(path.stat().st_size for path in files) / 1e6,
        "aws_bucket": BUCKET,
        "crdc_series_uuid": prefix,
        "series_aws_url": f"s3://{BUCKET}/{prefix}/*",
        "license_short_name": "CC BY 4.0",
    }
    date = str(header.get("StudyDate", ""))
    row["StudyDate"] = f"{date[:4]}-{date[4:6]}-{date[6:]}"
    return row


def write_index(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as a parquet file with the columns of the real index."""
    schema = pa.schema([(name, INDEX_TYPES.get(name, pa.string())) for name in INDEX_COLUMNS])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
