"""Profiles of Snakemake as others read them."""

from pathlib import Path

import pytest

from lcsd.errors import BadInputError
from lcsd.estimate.profile import read_profile


def written(folder: Path, text: str) -> Path:
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    return folder


def test_the_profile_of_one_machine() -> None:
    profile = read_profile()
    # Of a build of several cases, for which two jobs run at once.
    assert profile.threads == {}
    assert profile.memory_mb["correspond"] == 1000 * profile.largest_job_gb()
    assert 2 * profile.largest_job_gb() <= profile.limits["mem_mb"] / 1000


def test_a_file_and_lists_are_read_too(tmp_path: Path) -> None:
    text = "set-threads: [a=3]\nset-resources:\n  a: {mem_mb: 2000 * attempt, gpu: 1}\n  b: {gpu: 1}\n"
    profile = read_profile(written(tmp_path, text) / "config.yaml")
    assert (profile.threads, profile.memory_mb, profile.limits) == ({"a": 3}, {"a": 2000}, {})


def test_resources_of_stages_as_a_list(tmp_path: Path) -> None:
    text = "set-resources: ['convert:mem_mb=1500', 'convert:gpu=1', 'lungs:mem_mb=attempt * 20']\n"
    assert read_profile(written(tmp_path, text)).memory_mb == {"convert": 1500, "lungs": 20}


@pytest.mark.parametrize(("text", "scheduler"), [("cores: all\n", "ilp"), ("scheduler: greedy\n", "greedy")])
def test_the_scheduler_is_read(tmp_path: Path, text: str, scheduler: str) -> None:
    assert read_profile(written(tmp_path, text)).scheduler == scheduler


def test_jobs_without_a_limit(tmp_path: Path) -> None:
    assert read_profile(written(tmp_path, "jobs: unlimited\n")).jobs is None


def test_what_a_cluster_declares(tmp_path: Path) -> None:
    text = "jobs: 100\ndefault-resources: {mem_mb: attempt * 1500}\nresources: {downloads: 4}\n"
    profile = read_profile(written(tmp_path, text))
    assert (profile.jobs, profile.default_mb, profile.limits) == (100, 1500, {"downloads": 4})


def test_an_empty_profile_limits_nothing(tmp_path: Path) -> None:
    assert read_profile(written(tmp_path, "cores: all\n")).largest_job_gb() == 0


@pytest.mark.parametrize(
    "text",
    [
        "set-threads: 3\n",
        "set-threads: {a: many}\n",
        "set-threads: {a: 0}\n",
        "resources: {mem_mb: -1}\n",
        "jobs: 0\n",
        "jobs: []\n",
        "set-resources: {a: {mem_mb: 'max(2 * input.size_mb, 1000)'}}\n",
        "set-resources: ['a:mem_mb=1000 + attempt']\n",
    ],
)
def test_what_is_no_number_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInputError) as failure:
        read_profile(written(tmp_path, text))
    assert failure.value.code == "bad_profile"
    assert "copy of the profile" in failure.value.message


def test_a_profile_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as failure:
        read_profile(tmp_path)
    assert failure.value.code == "missing_file"
