"""Starting the training processes: torchrun on this machine, DeepSpeed's launcher over a hostfile."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

from pipeline.workdir.errors import UserError
from trainer.watch import LAUNCHER, launcher_name


class TrainingFailed(Exception):
    """A training process ended with an error that the user cannot mend by changing a recipe."""


def default_processes() -> int:
    """One process a GPU; two on a CPU, where there are two cores."""
    import torch

    return torch.cuda.device_count() or min(2, os.cpu_count() or 1)


def _die_with_parent() -> None:
    """In the child: end when the parent does, however that ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def launch(run_json: Path, *, processes: int | None = None, hostfile: Path | None = None, node_rank: int | None = None) -> None:
    """Run `python -m trainer RUN_JSON` on `processes` local ranks, or on the hosts of a DeepSpeed hostfile, to its end.

    DeepSpeed reaches the hosts by ssh and starts everything from one. With `node_rank` nothing goes by ssh: the same call is made
    on every host, each with its own place in the hostfile, and the first host is the meeting point.

    What the processes print goes to the console, their stderr to `stderr.log` in the run's folder. Raises `UserError` for what
    the user can mend, `TrainingFailed` with the end of that log otherwise.
    """
    folder = run_json.parent
    error = folder / "error.txt"
    error.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])}
    environment.setdefault("TOKENIZERS_PARALLELISM", "false")
    environment[LAUNCHER] = launcher_name()
    if hostfile is not None:
        if not hostfile.is_file():
            raise UserError(f"{hostfile}: no such hostfile; each of its lines is `HOST slots=N`")
        first = next((line.split()[0] for line in hostfile.read_text(encoding="utf-8").splitlines() if line.split()), None)
        if first is None:
            raise UserError(f"{hostfile}: names no host; each of its lines is `HOST slots=N`")
        apart = [] if node_rank is None else ["--no_ssh", f"--node_rank={node_rank}", f"--master_addr={first}"]
        runner = [sys.executable, "-m", "deepspeed.launcher.runner"]
        command = [*runner, f"--hostfile={hostfile}", *apart, "--no_local_rank", "--module", "trainer", str(run_json)]
    else:
        count = processes or default_processes()
        environment["LOCAL_SIZE"] = str(count)
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={count}",
            "-m",
            "trainer",
            str(run_json),
        ]
    log = folder / "stderr.log"
    with open(log, "wb") as stderr:
        process = subprocess.Popen(command, env=environment, stderr=stderr, preexec_fn=_die_with_parent)
        try:
            code = process.wait()
        except BaseException:  # interrupted: the children go first, then we
            process.terminate()
            process.wait()
            raise
    if error.is_file():
        raise UserError(error.read_text(encoding="utf-8").strip())
    if code:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        raise TrainingFailed(f"training ended with code {code}; the end of {log}:\n" + "\n".join(_telling(lines)))


def _telling(lines: list[str]) -> list[str]:
    """The last lines of the first traceback in a log, else the log's last lines."""
    ends = [index for index, line in enumerate(lines) if "Error" in line and ":" in line and "ChildFailedError" not in line]
    end = ends[0] + 1 if ends else len(lines)
    return lines[max(0, end - 15) : end]
