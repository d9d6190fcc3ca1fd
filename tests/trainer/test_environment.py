"""Where a process stands among all others, free ports, and threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer import environment
from trainer.environment import (
    PLACES,
    allowed_cores,
    cpu_quota,
    first_node,
    free_port,
    interface_to,
    place,
    port_state,
    tasks_of_node,
    threads,
)
from trainer.errors import TrainerError


def test_a_process_that_nothing_started_is_a_world_of_one() -> None:
    found = place({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"})  # a batch script is no task of srun's
    assert (found["RANK"], found["WORLD_SIZE"], found["MASTER_ADDR"]) == ("0", "1", "127.0.0.1")
    assert tuple(found) == PLACES


def test_a_launchers_variables_are_taken_as_they_are() -> None:
    given = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_SIZE": "4", "MASTER_ADDR": "a", "MASTER_PORT": "7"}
    assert place({**given, "SLURM_PROCID": "3"}) == {**given, "LOCAL_WORLD_SIZE": "4"}
    for name, message in {"WORLD_SIZE": "WORLD_SIZE is not set", "MASTER_PORT": "MASTER_PORT is not set, but RANK is"}.items():
        with pytest.raises(TrainerError, match=message):
            place({key: value for key, value in given.items() if key != name})
    with pytest.raises(TrainerError, match="RANK=first: is not a number"):
        place({**given, "RANK": "first"})


def test_slurms_variables_make_a_place() -> None:
    given = {
        "SLURM_PROCID": "5",
        "SLURM_NTASKS": "7",
        "SLURM_LOCALID": "1",
        "SLURM_NODEID": "1",
        "SLURM_NNODES": "2",
        "SLURM_STEP_TASKS_PER_NODE": "4,3",
        "SLURM_STEP_NODELIST": "gpu[03-04]",
        "SLURM_JOB_ID": "1234",
    }
    found = place(given)
    assert {name: found[name] for name in PLACES[:6]} == {
        "RANK": "5",
        "WORLD_SIZE": "7",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "3",
        "LOCAL_SIZE": "3",
        "MASTER_ADDR": "gpu03",
    }
    assert 20_000 <= int(found["MASTER_PORT"]) < 32_768
    assert place({**given, "SLURM_PROCID": "0", "SLURM_NODEID": "0"})["MASTER_PORT"] == found["MASTER_PORT"]
    assert place({**given, "SLURM_JOB_ID": "1235"})["MASTER_PORT"] != found["MASTER_PORT"]
    assert place({**given, "CUDA_VISIBLE_DEVICES": "2"})["LOCAL_RANK"] == "0"  # --gpus-per-task=1
    assert place({**given, "SLURM_CPUS_PER_TASK": "6"})["OMP_NUM_THREADS"] == "6"
    assert "OMP_NUM_THREADS" not in place({**given, "SLURM_CPUS_PER_TASK": "6", "OMP_NUM_THREADS": "2"})
    alone = {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_LOCALID": "1", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.9"}
    assert place(alone)["MASTER_ADDR"] == "10.0.0.9"
    assert place({**alone, "SLURM_NNODES": "1"})["MASTER_ADDR"] == "127.0.0.1"
    assert place({**alone, "SLURM_NNODES": "1"})["LOCAL_SIZE"] == "2"


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("a", "a"), ("a,b", "a"), ("n[1-4]", "n1"), ("n[01,07-9],m", "n01"), ("r[2-3]n[05-06]-ib,x", "r2n05-ib"), ("a-[1]", "a-1")],
)
def test_the_first_node_of_slurms_list(nodes: str, first: str) -> None:
    assert first_node(nodes) == first


def test_tasks_of_a_node_of_slurms_list() -> None:
    assert [tasks_of_node("2(x2),1", node) for node in range(4)] == [2, 2, 1, 0]
    assert tasks_of_node("4", 3) == 4
    assert tasks_of_node("", 0) == 0


def test_threads_are_the_users_or_a_share_of_the_allowed_cores() -> None:
    assert threads(2, {"OMP_NUM_THREADS": "3"}) == 3
    assert threads(2, {"OMP_NUM_THREADS": "3,2"}) == 3
    for odd in ("", "0", "x"):
        assert threads(1, {"OMP_NUM_THREADS": odd}) == allowed_cores()
    assert threads(1000, {}) == 1


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2.5),  # as a container sees itself
        ("0::/a/b\n", {"a/cpu.max": "100000 100000\n", "a/b/cpu.max": "400000 100000\n"}, 1.0),  # the group above has less
        ("5:cpu,cpuacct:/x\n3:memory:/y\n", {"cpu,cpuacct/x/cpu.cfs_quota_us": "150000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"}, 1.5),
        ("5:cpu,cpuacct:/x\n", {"cpu,cpuacct/x/cpu.cfs_quota_us": "-1", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"}, None),
        ("5:cpu,cpuacct:/docker/1\n", {"cpu,cpuacct/cpu.cfs_quota_us": "50000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 0.5),
    ],
)
def test_a_containers_share_of_the_cores_is_read(tmp_path: Path, own: str, files: dict[str, str], limit: float | None) -> None:
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        (tmp_path / "mounted" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mounted" / name).write_text(text)
    assert cpu_quota(tmp_path / "mounted", tmp_path / "own") == limit


def test_the_interface_to_other_hosts_is_none_of_the_loopbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a name stands for 127.0.1.1, the way to any other network is taken."""
    assert interface_to("127.0.1.1") not in {"lo", "lo0"}
    given = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_SIZE": "1", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "7"}
    monkeypatch.setattr(environment, "interface_to", {"10.0.0.1": "eth7"}.get)
    assert place(given)["GLOO_SOCKET_IFNAME"] == "eth7"
    assert "GLOO_SOCKET_IFNAME" not in place({**given, "GLOO_SOCKET_IFNAME": "ib0"})  # the user's stays
    assert "GLOO_SOCKET_IFNAME" not in place({**given, "LOCAL_SIZE": "2"})  # one host


def test_free_ports_are_free_and_not_always_the_same(taken: int) -> None:
    ports = {free_port() for _ in range(20)}
    assert len(ports) > 10
    assert all(port_state(port) is None for port in ports)
    assert port_state(taken) == "taken"
