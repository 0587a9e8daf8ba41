"""What the profile for Kubernetes tells kubectl, and what it makes of the answers."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import ROOT

PROFILE = ROOT / "workflow" / "profiles" / "kubernetes"
PLACES = {"LCSD_IMAGE": "registry/lcsd:1", "LCSD_CLAIM": "scans", "LCSD_VOLUME": "/shared"}


def call(program: str, *arguments: str, path: Path, places: dict[str, str]) -> tuple[int, str]:
    """Run a script of the profile with the kubectl of a folder; return exit code and output."""
    done = subprocess.run(
        [str(PROFILE / program), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{path}:{os.environ['PATH']}", **places},
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def kubectl(folder: Path, script: str) -> Path:
    program = folder / "kubectl"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    return folder


@pytest.mark.parametrize("gpus", [0, 1])
def test_a_job_is_one_pod_with_its_limits_on_the_shared_volume(tmp_path: Path, gpus: int) -> None:
    path = kubectl(tmp_path, f'echo "$@" > {tmp_path}/told; cat > {tmp_path}/job; echo job/x1')
    script = "/shared/a b/snakejob.sh"
    code, said = call("submit", "2", "4000", "60", str(gpus), script, path=path, places=PLACES)
    assert (code, said) == (0, "job/x1")
    assert (tmp_path / "told").read_text() == "create --output name --filename -\n"
    spec = yaml.safe_load((tmp_path / "job").read_text())["spec"]
    pod = spec["template"]["spec"]
    assert (spec["backoffLimit"], pod["activeDeadlineSeconds"]) == (0, 3600)
    assert "activeDeadlineSeconds" not in spec, "the Job's clock runs while the pod waits"
    (container,) = pod["containers"]
    assert (container["image"], container["command"]) == ("registry/lcsd:1", ["bash", script])
    limits = {"memory": "4000M", **({"nvidia.com/gpu": 1} if gpus else {})}
    assert container["resources"] == {"requests": {"cpu": 2, "memory": "4000M"}, "limits": limits}
    (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
    assert (mount["name"], mount["mountPath"]) == (volume["name"], "/shared")
    assert volume["persistentVolumeClaim"] == {"claimName": "scans"}


@pytest.mark.parametrize("name", PLACES)
def test_a_place_that_is_not_named_is_asked_for(tmp_path: Path, name: str) -> None:
    path = kubectl(tmp_path, f"touch {tmp_path}/called")
    code, said = call("submit", "1", "1", "1", "0", "x", path=path, places=PLACES | {name: ""})
    assert code != 0
    assert name in said
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("x1:Complete", "success"),
        ("x1:SuccessCriteriaMet Complete", "success"),
        ("x1:FailureTarget Failed", "failed"),
        ("x1:SuccessCriteriaMet", "running"),
        ("x1:", "running"),
        ("", "failed"),
    ],
)
def test_status_is_one_word_of_snakemake(tmp_path: Path, answer: str, status: str) -> None:
    path = kubectl(tmp_path, f"printf %s {json.dumps(answer)}")
    assert call("status", "job/x1", path=path, places={}) == (0, status)


def test_a_build_outlives_an_outage_of_the_cluster(tmp_path: Path) -> None:
    path = kubectl(tmp_path, "echo 'connection refused' >&2; exit 1")
    assert call("status", "job/x1", path=path, places={}) == (0, "running\nconnection refused")


def test_every_pod_asks_for_what_a_job_of_slurm_does() -> None:
    pods, jobs = (
        yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        for folder in (PROFILE, PROFILE.parent / "slurm")
    )
    assert pods["set-resources"] == jobs["set-resources"]
    assert pods["default-resources"] == jobs["default-resources"] | {"gpu": 0}
    for key in ("retries", "keep-going", "rerun-incomplete", "rerun-triggers"):
        assert pods[key] == jobs[key]
