"""The page and the API; see docs/serve.md."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, redirect, request, send_file
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from lcsd.errors import BadInputError, LcsdError, unwritable
from lcsd.serve.guard import COOKIE, HEADERS, Guard
from lcsd.serve.jobs import ENDED, Job, Jobs
from lcsd.serve.offers import (
    MIB,
    NEEDED,
    PAGE,
    PARTS,
    SAMPLE_FILES,
    SAMPLES,
    Limits,
    choices_of,
    is_volume,
    method_of,
    offered,
    suffix_of,
)

STATUS = {
    "no_token": 401,
    "bad_host": 403,
    "bad_origin": 403,
    "unknown_job": 404,
    "unknown_file": 404,
    "upload_too_large": 413,
    "queue_full": 429,
    "storage_full": 507,
    "cannot_write": 507,
}
"""HTTP status by reason code; 400 for all others."""

MOST_PARTS = 20
FORM_BYTES = MIB
"""Of all fields that are no files."""
NAME_LENGTH = 100

PUBLIC = frozenset({"page", "static"})
"""What needs no token: it holds no data."""


def failure(error: LcsdError) -> Response:
    """Return the answer for an error: its parts as JSON."""
    answer = jsonify({**error.to_dict(), "what": error.what})
    answer.status_code = STATUS.get(error.code, 400)
    return answer


def too_large(limits: Limits) -> BadInputError:
    """Return the error of a request that is larger than the server reads."""
    return BadInputError(
        "the upload is too large",
        code="upload_too_large",
        expected=f"at most {limits.upload_bytes // MIB} MiB",
        remedy="thin the clouds, or start the server with a larger --max-upload",
    )


def _token() -> str | None:
    """Return the token that a request has, in its header or its cookie."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return given if scheme.lower() == "bearer" else request.cookies.get(COOKIE)


def create_app(jobs: Jobs, guard: Guard, limits: Limits) -> Flask:
    """Return the application; ``jobs`` does the work, ``guard`` says who may ask."""
    app = Flask(__name__, static_folder="static", static_url_path="/static")
    app.config.update(
        MAX_CONTENT_LENGTH=limits.upload_bytes, MAX_FORM_MEMORY_SIZE=FORM_BYTES, MAX_FORM_PARTS=MOST_PARTS
    )

    @app.before_request
    def _admit() -> None:
        guard.check(dict(request.headers), token=_token(), public=request.endpoint in PUBLIC)

    @app.after_request
    def _protect(answer: Response) -> Response:
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer

    @app.errorhandler(LcsdError)
    def _failed(error: LcsdError) -> Response:
        return failure(error)

    @app.errorhandler(HTTPException)
    def _refused(error: HTTPException) -> Response:
        if isinstance(error, RequestEntityTooLarge):
            return failure(too_large(limits))
        answer = failure(
            BadInputError(error.name.lower(), code="bad_request", found=request.method, remedy="see docs/serve.md")
        )
        answer.status_code = error.code or 400
        return answer

    @app.get("/")
    def page() -> Any:
        if guard.token is not None and "token" in request.args:
            answer = redirect("/", 303)
            # The address with the token leaves the history; the cookie leaves with the browser.
            answer.set_cookie(COOKIE, request.args["token"], httponly=True, samesite="Strict", path="/")
            return answer
        return app.send_static_file("index.html")

    @app.get("/api")
    def offers() -> Response:
        return jsonify(offered(limits))

    @app.post("/api/jobs")
    def add() -> Any:
        return _posted(jobs, check_only=False)

    @app.post("/api/checks")
    def check() -> Any:
        return _posted(jobs, check_only=True)

    @app.get("/api/jobs/<name>")
    def state(name: str) -> Response:
        job = jobs.get(name)
        return jsonify(job.public(jobs.ahead(job)))

    @app.delete("/api/jobs/<name>")
    def cancel(name: str) -> Response:
        return jsonify({"id": name, "state": jobs.cancel(name).state})

    @app.get("/api/jobs/<name>/files/<file>")
    def download(name: str, file: str) -> Response:
        return _file(jobs.get(name), file)

    return app


def _file(job: Job, name: str) -> Response:
    """Return a file of a finished job by the name in its result; names of the request are only compared."""
    listed = [] if job.result is None else job.result.get("files", [])
    path = next((job.folder / entry["path"] for entry in listed if entry["name"] == name), None)
    if path is None or not path.is_file():
        raise BadInputError(
            "the job has no such file",
            code="unknown_file",
            field="NAME",
            expected=", ".join(entry["name"] for entry in listed) or "a finished job",
        )
    shown = name == PAGE and "download" not in request.args
    answer = send_file(path, as_attachment=not shown, download_name=name, max_age=0)
    if shown:
        # The page says itself which scripts it has, by their hashes.
        answer.headers["Content-Security-Policy"] = "frame-ancestors 'self'"
    return answer


def _posted(jobs: Jobs, *, check_only: bool) -> Any:
    """Add the job of a request and return its id."""
    form = dict(request.form)
    like, sample = form.pop("like", ""), form.pop("sample", "")
    method = method_of(form.pop("method", None) or None, form.pop("effort", None) or None)
    spec: dict[str, Any] = {**choices_of(form), "method": method.method, "effort": method.effort}
    spec["check_only"] = check_only
    source = jobs.get(like) if like else None
    uploads = {name: part for name, part in request.files.items() if part.filename}
    suffixes = {name: _suffix(name, part) for name, part in uploads.items()}
    name, folder = jobs.new_folder()
    try:
        if source is not None:
            spec.update(_linked(source, folder))
        elif sample:
            spec.update(_sample(sample))
        else:
            _need(uploads)
            spec["volumes"] = is_volume(suffixes, spec)
            spec["files"] = {part: _save(uploads[part], folder / f"{part}{suffixes[part]}") for part in uploads}
            spec["names"] = {part: (uploads[part].filename or "")[:NAME_LENGTH] for part in uploads}
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    jobs.add(name, folder, spec)
    return jsonify({"id": name}), 202


def _suffix(part: str, upload: FileStorage) -> str:
    if part not in PARTS:
        raise BadInputError(
            "unknown file of the request", code="unknown_part", field=part[:40], expected=", ".join(PARTS)
        )
    return suffix_of(part, upload.filename or "")


def _need(uploads: Mapping[str, FileStorage]) -> None:
    missing = [part for part in NEEDED if part not in uploads]
    if "moving_landmarks" in uploads and "landmarks" not in uploads:
        missing.append("landmarks")
    if missing:
        raise BadInputError(
            "a file is missing from the request",
            code="missing_part",
            field=", ".join(missing),
            expected="fixed and moving, or sample, or like",
            remedy="send the files as multipart/form-data",
        )


def _save(upload: FileStorage, path: Path) -> str:
    """Store an upload under our own name; return it."""
    try:
        upload.save(path)
    except OSError as error:
        raise unwritable(Path(path.name), error) from error
    return path.name


def _linked(source: Job, folder: Path) -> dict[str, Any]:
    """Give a job the files of another one, which may be erased afterwards."""
    try:
        for name in source.spec["files"].values():
            os.link(source.folder / name, folder / name)
    except OSError as error:
        raise BadInputError(
            "the files of that job cannot be used",
            code="unknown_job",
            field="like",
            expected="a job whose files were read" if source.state not in ENDED else "a job that was not erased",
            remedy="send the files again",
        ) from error
    return {key: source.spec[key] for key in ("files", "names", "sample", "volumes") if key in source.spec}


def _sample(name: str) -> dict[str, Any]:
    if name not in SAMPLES:
        raise BadInputError(
            "there is no such sample",
            code="unknown_value",
            field="sample",
            expected=", ".join(SAMPLES),
            found=name[:40],
        )
    return {"sample": name, "files": SAMPLE_FILES, "names": SAMPLE_FILES}
