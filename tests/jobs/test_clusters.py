"""The files for clusters are what the tools that read them take: Ray's own checks for `ray up`, what KubeRay knows, and a shell's."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.cli import app

ROOT = Path(__file__).parents[2]
CLUSTERS = ROOT / "jobs" / "clusters"


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml"])
def test_ray_up_takes_them(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    written = yaml.safe_load((CLUSTERS / name).read_text())
    config = prepare_config(yaml.safe_load((CLUSTERS / name).read_text()))
    validate_config(config)
    assert written.keys() <= config.keys()
    types = config["available_node_types"]
    assert config["head_node_type"] in types
    assert types["head"]["resources"] == {"CPU": 0}, "no task runs on the head"


SPEC = {"rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "authOptions", "headGroupSpec", "workerGroupSpecs"}
GROUP = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
JOB = {"entrypoint", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "backoffLimit", "rayClusterSpec"}


def specs() -> dict[str, dict[str, Any]]:
    """The specification of the cluster in each of KubeRay's files."""
    cluster = yaml.safe_load((CLUSTERS / "kuberay-cluster.yaml").read_text())
    job = yaml.safe_load((CLUSTERS / "kuberay-job.yaml").read_text())
    assert (cluster["apiVersion"], cluster["kind"], job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayCluster", "ray.io/v1", "RayJob")
    assert set(job["spec"]) <= JOB
    return {"cluster": cluster["spec"], "job": job["spec"]["rayClusterSpec"]}


@pytest.mark.parametrize("name", ["cluster", "job"])
def test_kuberay_knows_every_field_and_the_ray_is_the_one_that_is_pinned(name: str) -> None:
    spec = specs()[name]
    assert set(spec) <= SPEC  # of ray.io/v1 as KubeRay 1.5 has it
    pinned = re.search(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert spec["rayVersion"] == pinned[1]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert set(group) <= GROUP
        (container,) = group["template"]["spec"]["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"], "Ray takes a container's limits for what there is"
        mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
        assert mounted == {volume["name"] for volume in group["template"]["spec"].get("volumes", [])}


def test_the_job_gives_a_command_that_there_is() -> None:
    words = yaml.safe_load((CLUSTERS / "kuberay-job.yaml").read_text())["spec"]["entrypoint"].split()
    assert words[:3] == ["python", "-m", "jobs.cli"]
    assert words[3] in {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}


def test_the_image_has_every_package() -> None:
    text = (CLUSTERS / "Containerfile").read_text()
    copied = set(re.findall(r"^COPY (\w+) \1$", text, re.MULTILINE))
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {name.split(".")[0].rstrip("*") for name in packages} <= copied
    for name in re.findall(r"^COPY (.*) \./$", text, re.MULTILINE)[0].split():
        assert (ROOT / name).is_file()


@pytest.mark.parametrize("path", sorted((ROOT / "jobs" / "slurm").glob("*.sbatch")), ids=lambda path: path.name)
def test_bash_reads_the_scripts_of_slurm(path: Path) -> None:
    assert subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False).stderr == ""
