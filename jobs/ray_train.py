"""Training by Ray Train on a Ray cluster: each of its workers starts one rank as any launcher does, and sees it to its end.

Ray Train finds nodes for the workers, reserves a GPU (or cores) for each, and starts all of them again, elsewhere if need be, after one
was lost. Where the training goes on from then is its own checkpoints' matter. The ranks are processes below the workers, so that signals,
exit codes, logs and threads are what they are under every other launcher.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobs.faults import Ended, clear, telling
from jobs.ranks import ASK, LocalRanks, Share, fault_of, keep_fault, log_of
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.engine import Engine
from pipeline.workdir.errors import UserError
from trainer.environment import allowed_cores, free_port
from trainer.errors import AGAIN
from trainer.watch import LAUNCHER, launcher_name

_KILL = "kill"
_TICK = 0.2  # seconds between looks at the ranks, and at the desk
_OTHERS = 15.0  # seconds in which other ranks may say what they met, before all are started again


class Desk:
    """A Ray actor, through which the launcher and the workers hear of each other."""

    def __init__(self) -> None:
        self._starts = 0
        self._word = ""
        self._output: list[bytes] = []
        self._ends: dict[int, dict[str, Any]] = {}

    def begin(self) -> int:
        """A start of all ranks. Returns how often they were started before."""
        self._starts, self._ends = self._starts + 1, {}
        return self._starts - 1

    def say(self, word: str) -> None:
        """What the launcher asks of all ranks."""
        self._word = word

    def listen(self) -> str:
        """What is asked of all ranks."""
        return self._word

    def show(self, piece: bytes) -> None:
        """Something that rank 0 has printed."""
        self._output.append(piece)

    def end(self, rank: int, told: dict[str, Any]) -> None:
        """How a rank has ended."""
        self._ends[rank] = told

    def ends(self) -> dict[int, dict[str, Any]]:
        """How ranks of this start have ended."""
        return self._ends

    def news(self) -> tuple[int, bytes, dict[int, dict[str, Any]]]:
        """How often all were started, what was printed since the last call, and how ranks have ended."""
        output, self._output = b"".join(self._output), []
        return self._starts, output, self._ends


class Lost(Exception):
    """A rank was killed, stood or lost another: Ray Train is to start all of them again."""


class RayRanks:
    """All ranks of a training, as Ray Train's workers on the cluster that an address names, else on a Ray of this machine's own."""

    def __init__(
        self,
        module: str,
        environment: Mapping[str, str],
        run_json: Path,
        *,
        processes: int | None,
        port: int | None,
        restarts: int,
        address: str | None,
        tell: Callable[[str], None],
    ) -> None:
        trainer, scaling, run, failures, backend = _ray_train()
        self._folder, self._restarts, self._tell = run_json.parent, restarts, tell
        self._ray = Engine(Workdir(str(self._folder)), address=address, workers=allowed_cores()).connect(log_to_driver=False)
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES") not in {"", "-1"} and os.environ.get("DS_ACCELERATOR") != "cpu"
        self._count, resources = shares([node["Resources"] for node in self._ray.nodes() if node["Alive"]], processes, gpus=gpus)
        self._desk = self._ray.remote(num_cpus=0)(Desk).remote()
        self._starts, self._ends = 0, dict[int, dict[str, Any]]()
        self._error: BaseException | None = None
        text = run_json.read_text(encoding="utf-8")
        settings = {
            "desk": self._desk,
            "module": module,
            "run": str(run_json),
            "text": text,
            "environment": dict(environment),
            "port": port,
        }

        class NoGroup(backend):  # type: ignore[misc, valid-type]
            """The ranks make their process group themselves."""

            backend = "of the ranks"

        asked = trainer(
            _see_to,
            train_loop_config=settings,
            torch_config=NoGroup(),
            scaling_config=scaling(num_workers=self._count, use_gpu="GPU" in resources, resources_per_worker=resources),
            run_config=run(name="ray", storage_path=str(self._folder / "logs"), failure_config=failures(max_failures=restarts)),
        )
        self._thread = threading.Thread(target=self._fit, args=(asked,), name="ray train", daemon=True)
        self._thread.start()

    def _fit(self, trainer: Any) -> None:
        try:
            trainer.fit()
        except Exception as error:
            self._error = error

    def running(self) -> bool:
        alive = self._thread.is_alive()
        starts, output, self._ends = self._ray.get(self._desk.news.remote())
        if output:
            sys.stdout.buffer.write(output)
            sys.stdout.buffer.flush()
        if starts > max(1, self._starts):
            self._tell(f"a rank was lost; Ray Train starts all again, from the last checkpoint ({starts - 1} of {self._restarts} times)")
        self._starts = starts
        if not alive:
            self._ray.shutdown()
        return alive

    def failed(self) -> bool:
        """Never: Ray Train ends the others itself."""
        return False

    def ask(self) -> None:
        self._ray.get(self._desk.say.remote(ASK))

    def kill(self) -> None:
        if self._ray.is_initialized():
            with suppress(Exception):  # of a cluster that is gone
                self._ray.get(self._desk.say.remote(_KILL), timeout=5.0)

    def ended(self) -> Ended:
        codes = {rank: int(told["code"]) for rank, told in self._ends.items()}
        for rank, told in self._ends.items():
            keep_fault(self._folder, rank, told["fault"])
        lost = {}
        if self._error is not None:
            codes |= {rank: AGAIN for rank in range(self._count) if rank not in codes}
            if not any(told["code"] for told in self._ends.values()):
                lines = [line for line in str(self._error).splitlines() if line.strip()]
                lost = {"a worker of Ray Train's": lines[-1].strip() if lines else type(self._error).__name__}
        logs = {rank: log_of(self._folder, rank) for rank in codes}
        return Ended(codes, logs, tails={rank: told["tail"] for rank, told in self._ends.items()}, lost=lost)


def _ray_train() -> tuple[Any, ...]:
    """What is used of Ray Train, in its second version. Raises `UserError` where it is not installed."""
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")  # what later versions of Ray have by default
    os.environ.setdefault("RAY_TRAIN_METRICS_ENABLED", "0")
    try:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.backend import BackendConfig
        from ray.train.torch import TorchTrainer
    except ImportError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--ray: Ray Train is not installed here ({reason}); pip install 'encoder-foundry[ray-train]'") from None
    return TorchTrainer, ScalingConfig, RunConfig, FailureConfig, BackendConfig


def shares(nodes: Sequence[Mapping[str, float]], processes: int | None, *, gpus: bool = True) -> tuple[int, dict[str, float]]:
    """How many workers there are to be, and the resources of each, on nodes with these. Raises `UserError` where they do not suffice.

    A worker has a GPU, and its share of the cores of the node that has fewest for each GPU; without GPUs it has as many cores as there
    can be for every one of them. What it has is reserved, so that no task of Ray's runs on the same cores.
    """
    with_gpus = [node for node in nodes if gpus and node.get("GPU", 0) >= 1]
    if with_gpus:
        there = sum(int(node["GPU"]) for node in with_gpus)
        if processes and processes > there:
            raise UserError(f"training.processes: {processes}, but the Ray cluster has {there} GPUs; ask for {there}, or add nodes")
        cores = min(int(node.get("CPU", 0) // int(node["GPU"])) for node in with_gpus)
        return processes or there, {"GPU": 1, "CPU": max(1, cores)}
    there = sum(int(node.get("CPU", 0)) for node in nodes)
    count = processes or min(2, there)
    if not there or count > there:
        raise UserError(f"training.processes: {count}, but the Ray cluster has {there} cores; ask for fewer, or add nodes")
    cores = max(cores for cores in range(1, there // count + 1) if sum(int(node.get("CPU", 0)) // cores for node in nodes) >= count)
    return count, {"CPU": cores}


def _see_to(settings: dict[str, Any]) -> None:
    """What a worker of Ray Train's does: start its rank, and see it to its end. Raises `Lost` where all are to be started again."""
    import ray.train
    from ray.train.collective import broadcast_from_rank_zero

    context, desk, run_json = ray.train.get_context(), settings["desk"], Path(settings["run"])
    rank, size, folder = context.get_world_rank(), context.get_world_size(), run_json.parent
    folder.mkdir(parents=True, exist_ok=True)
    if not run_json.is_file():  # a node that shares no disk with the launcher
        run_json.write_text(settings["text"], encoding="utf-8")
    meeting = None
    if rank == 0:
        clear(folder)
        meeting = (ray.get(desk.begin.remote()), ray.util.get_node_ip_address(), settings["port"] or free_port())
    start, address, port = broadcast_from_rank_zero(meeting)
    local = str(context.get_local_world_size())
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    place = {
        "LOCAL_RANK": "0" if len(visible) == 1 else str(context.get_local_rank()),  # Ray may show each worker its own GPU alone
        "LOCAL_WORLD_SIZE": local,
        "LOCAL_SIZE": local,
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        LAUNCHER: launcher_name(),
    }
    environment = {**os.environ, **settings["environment"], **place}
    reading, writing = os.pipe()
    command = [sys.executable, "-m", settings["module"], str(run_json)]
    ranks = LocalRanks(command, environment, Share(rank, 1, size), folder, start, output=writing)
    os.close(writing)
    relay = threading.Thread(target=_relay, args=(reading, desk), daemon=True)
    relay.start()
    word = ""
    while ranks.running():
        said = ray.get(desk.listen.remote())
        if said == _KILL:
            ranks.kill()
        elif said != word:
            ranks.ask()
        word = said
        time.sleep(_TICK)
    relay.join()
    code = ranks.ended().codes[rank]
    ray.get(desk.end.remote(rank, _told(folder, rank, code)))
    if not code or word:
        return
    end = time.monotonic() + _OTHERS
    while len(ends := ray.get(desk.ends.remote())) < size and time.monotonic() < end:
        time.sleep(_TICK)
    if not any(told["broken"] for told in ends.values()):  # else it would fail again
        raise Lost(f"rank {rank} ended with code {code}")


def _told(folder: Path, rank: int, code: int) -> dict[str, Any]:
    """How a rank of this node has ended."""
    fault, consequence = None, False
    with suppress(OSError, ValueError):
        fault = fault_of(folder, rank).read_text(encoding="utf-8")
        consequence = json.loads(fault)["consequence"]
    broken = code > 0 and code != AGAIN and not consequence
    return {"code": code, "fault": fault, "tail": telling(log_of(folder, rank)), "broken": broken}


def _relay(reading: int, desk: Any) -> None:
    """A thread: pass on what a rank prints. Of all but rank 0 that is nothing."""
    with open(reading, "rb", buffering=0) as output:
        while piece := output.read(1 << 16):
            desk.show.remote(piece)
