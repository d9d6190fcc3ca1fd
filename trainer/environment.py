"""Where a training process stands among all others, as its launcher or Slurm tells it in the environment, and how many threads it takes."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import secrets
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from trainer.errors import TrainerError

# Ports from here up to those that the system deals out to connections are nobody's but for who asks for one by its number.
LOWEST_PORT = 20_000
# The variables that say where a process stands: torchrun's, and LOCAL_SIZE, DeepSpeed's.
PLACES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "LOCAL_SIZE", "MASTER_ADDR", "MASTER_PORT")
_DEALT_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")


def place(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables by which torch and DeepSpeed find all other processes, to be put into the environment.

    They are those of torchrun, DeepSpeed's launcher or `foundry pretrain` where one of these started the process; else they are made
    of Slurm's, where `srun` did; else they describe a world of one. Raises `TrainerError` where they are there in part.
    """
    if "RANK" in environment:
        return _with_interface(_launched(environment), environment)
    by_srun = {"SLURM_STEP_NODELIST", "SLURM_LAUNCH_NODE_IPADDR"} & environment.keys()  # a batch script has neither
    if by_srun and {"SLURM_PROCID", "SLURM_LOCALID"} <= environment.keys():
        return _with_interface(_of_slurm(environment), environment)
    return _named(0, 1, 0, 1, "127.0.0.1", str(free_port()))


def _named(rank: int, size: int, local_rank: int, local_size: int, address: str, port: str) -> dict[str, str]:
    values = (rank, size, local_rank, local_size, local_size, address, port)
    return {name: str(value) for name, value in zip(PLACES, values, strict=True)}


def _with_interface(found: dict[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """A place, and the network interface that gloo is to use, where there are other hosts and the user names none.

    Left alone, gloo takes the address that this host's name stands for, which on many is one of the loopback's (Debian's 127.0.1.1).
    """
    if int(found["WORLD_SIZE"]) > int(found["LOCAL_WORLD_SIZE"]) and not environment.get("GLOO_SOCKET_IFNAME"):
        name = interface_to(found["MASTER_ADDR"])
        if name is not None:
            found["GLOO_SOCKET_IFNAME"] = name
    return found


def interface_to(host: str) -> str | None:
    """The network interface by which this machine reaches a host, or by which others reach it, where that is itself; None if unknown."""
    try:
        addresses = dict.fromkeys(str(info[4][0]) for info in socket.getaddrinfo(host, None))
    except OSError:  # no such host
        return None
    # A host's own name may stand for an address of the loopback's: then the way to any other network is its way to the others, too.
    for target in (*addresses, "192.0.2.1", "2001:db8::1"):  # of networks for documentation; nothing is sent
        with suppress(OSError), socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_DGRAM) as way:
            way.connect((target, 9))
            own = str(way.getsockname()[0])
            if not (ipaddress.ip_address(own).is_loopback or own == "0.0.0.0"):
                return _interface_of(own)
    return None


def _interface_of(address: str) -> str | None:
    """The network interface that has an address."""
    for name, those in psutil.net_if_addrs().items():
        if any(one.address.split("%")[0] == address for one in those):
            return str(name)
    return None


def _number(environment: Mapping[str, str], *names: str, default: int | None = None) -> int:
    """The first of these variables that is set, as a number."""
    for name in names:
        if name in environment:
            with suppress(ValueError):
                return int(environment[name])
            raise TrainerError(f"{name}={environment[name]}: is not a number; the launcher sets it, so do not set it yourself")
    if default is None:
        raise TrainerError(f"{names[0]} is not set, but others of a launcher's variables are; start by foundry, torchrun or srun")
    return default


def _launched(environment: Mapping[str, str]) -> dict[str, str]:
    size = _number(environment, "WORLD_SIZE")
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if not environment.get(name):
            raise TrainerError(f"{name} is not set, but RANK is; start by foundry, torchrun or srun, or unset RANK")
    return _named(
        _number(environment, "RANK"),
        size,
        _number(environment, "LOCAL_RANK", default=0),
        _number(environment, "LOCAL_WORLD_SIZE", "LOCAL_SIZE", default=1),
        environment["MASTER_ADDR"],
        environment["MASTER_PORT"],
    )


def _of_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    size = _number(environment, "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")
    nodes = _number(environment, "SLURM_STEP_NUM_NODES", "SLURM_NNODES", "SLURM_JOB_NUM_NODES", default=0)
    here = _number(environment, "SLURM_NODEID", default=0)
    local_rank = _number(environment, "SLURM_LOCALID")
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE") or environment.get("SLURM_NTASKS_PER_NODE", "")
    local_size = tasks_of_node(tasks, here) or (size if nodes <= 1 else 1)
    if nodes == 1:
        address = "127.0.0.1"
    elif "SLURM_STEP_NODELIST" in environment:
        address = first_node(environment["SLURM_STEP_NODELIST"])
    else:
        address = environment["SLURM_LAUNCH_NODE_IPADDR"]
    # All processes come to the same port without a word, and two jobs on one host hardly ever do.
    job, step = _number(environment, "SLURM_JOB_ID", "SLURM_JOBID", default=0), environment.get("SLURM_STEP_ID", "0")
    port = environment.get("MASTER_PORT") or str(LOWEST_PORT + (31 * job + (int(step) if step.isdigit() else 0)) % 10_000)
    visible = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    device = local_rank % len(visible) if visible else local_rank  # with --gpus-per-task each process sees its own GPUs alone
    found = _named(_number(environment, "SLURM_PROCID"), size, device, local_size, environment.get("MASTER_ADDR") or address, port)
    if "SLURM_CPUS_PER_TASK" in environment and "OMP_NUM_THREADS" not in environment:
        found["OMP_NUM_THREADS"] = environment["SLURM_CPUS_PER_TASK"]  # Slurm may have bound each process to its own cores already
    return found


def tasks_of_node(counts: str, node: int) -> int:
    """The number of Slurm's tasks on a node, of a list such as `4(x2),3`; 0 where it does not say."""
    all_counts: list[int] = []
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", counts):
        all_counts += [int(count)] * int(times or 1)
    if len(all_counts) == 1:  # --ntasks-per-node, which holds for all
        return all_counts[0]
    return all_counts[node] if node < len(all_counts) else 0


def first_node(nodes: str) -> str:
    """The first host of a list as Slurm writes them, such as `rack[01-04,07]-gpu,other`."""
    first = re.match(r"(?:\[[^\]]*\]|[^,\[])*", nodes)
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first[0] if first else nodes)


def port_state(port: int) -> str | None:
    """Why nobody could listen at a TCP port of this machine, or None where one could."""
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            listener = socket.socket(family)
        except OSError:
            continue  # a machine without this family
        with listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as torch does
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                listener.bind((address, port))
            except PermissionError:
                return "not allowed to this user"
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return "taken"
    return None


def free_port() -> int:
    """A TCP port of this machine that is free, and that no connection is given by chance before it is listened at."""
    try:
        highest = int(_DEALT_OUT.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        highest = 0
    for _ in range(100 if highest > LOWEST_PORT else 0):
        port = LOWEST_PORT + secrets.randbelow(highest - LOWEST_PORT)
        if port_state(port) is None:
            return port
    with socket.socket() as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])


def allowed_cores() -> int:
    """The cores that this process may run on: fewer than the machine's under `taskset`, Slurm, or in a container with a limit."""
    there = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    limit = cpu_quota()
    return there if limit is None else max(1, min(there, int(limit)))


def cpu_quota(mounted: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """Cores' worth of time that this process and those beside it in its control groups get (`docker run --cpus`); None: no limit.

    https://docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max), and the first version's cpu.cfs_quota_us. Whatever holds for a group
    above holds too; in a container those cannot be seen from within.
    """
    limits = []
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:  # another system than Linux
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = mounted / controllers if controllers else mounted
        group = root / path.strip("/")
        while group.is_relative_to(root):
            limits.append(_quota_of(group))
            group = group.parent
    return min((limit for limit in limits if limit is not None), default=None)


def _quota_of(group: Path) -> float | None:
    """The limit of one control group, of either version."""
    with suppress(OSError, ValueError):
        quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
        return int(quota) / int(period)  # `max` is no number
    with suppress(OSError, ValueError):
        quota, period = ((group / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    return None


def threads(local_size: int, environment: Mapping[str, str] = os.environ) -> int:
    """Threads of one of `local_size` processes on this machine: the user's OMP_NUM_THREADS, else its share of the allowed cores."""
    asked = environment.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # a list has one number for each level of nesting
    return int(asked) if asked.isdecimal() and int(asked) else max(1, allowed_cores() // max(1, local_size))
