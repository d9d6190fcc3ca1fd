"""Ranks without the seconds that each takes to import torch and DeepSpeed: one process imports them, and forks whoever is asked for.

`Zygote` is the test's side. A forked process runs a module as `python -m MODULE ARGUMENTS` would, in an environment of its own.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from trainer.environment import free_port

ROOT = Path(__file__).parents[2]


class Forked:
    """A process that the zygote has forked, with what of `subprocess.Popen` the tests need."""

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self._zygote, self.pid = zygote, pid

    def poll(self) -> int | None:
        """Its exit code, or None while it runs; that of a signal is negative."""
        with self._zygote.changed:
            return self._zygote.codes.get(self.pid)

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        with self._zygote.changed:
            self._zygote.changed.wait_for(lambda: self.pid in self._zygote.codes)
            return self._zygote.codes[self.pid]

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it is there."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it is gone, and its exit code on the way
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, if it is there."""
        self.send_signal(signal.SIGKILL)


class Zygote:
    """The process that forks."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.trainer.zygote"]
        self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.changed = threading.Condition()
        self.codes: dict[int, int] = {}
        self._pids: list[int] = []
        threading.Thread(target=self._listen, daemon=True).start()
        atexit.register(self._process.kill)

    def fork(self, module: str, arguments: list[str], environment: dict[str, str], output: Path, errors: Path) -> Forked:
        """A process that runs a module; what it prints goes into two files."""
        assert self._process.stdin is not None
        request = {"module": module, "arguments": arguments, "environment": environment, "output": str(output), "errors": str(errors)}
        with self.changed:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            self.changed.wait_for(lambda: self._pids)
            return Forked(self, self._pids.pop())

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            with self.changed:
                if "code" in told:
                    self.codes[told["pid"]] = told["code"]
                else:
                    self.codes.pop(told["pid"], None)  # of an earlier process: systems give numbers again
                    self._pids.append(told["pid"])
                self.changed.notify_all()


_zygotes: list[Zygote] = []


def zygote() -> Zygote:
    """The zygote of this test process."""
    if not _zygotes:
        _zygotes.append(Zygote())
    return _zygotes[0]


def fork_ranks(module: str, arguments: list[str], processes: int, folder: Path, environment: dict[str, str] | None = None) -> list[Forked]:
    """The ranks of a world on this machine; what they print goes into said-R.txt and errors-R.txt of a folder."""
    shared = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "LOCAL_SIZE": str(processes)}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), **(environment or {})}
    (folder / "said-0.txt").unlink(missing_ok=True)
    return [
        zygote().fork(
            module,
            arguments,
            {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            folder / f"said-{rank}.txt",
            folder / f"errors-{rank}.txt",
        )
        for rank in range(processes)
    ]


def serve() -> None:
    """Fork what is asked for on stdin, and tell of each its process id, and its exit code when it has ended."""
    _load()
    asked = selectors.DefaultSelector()
    asked.register(sys.stdin.buffer, selectors.EVENT_READ)
    while True:
        for key, _ in asked.select():
            if key.data is None:
                line = sys.stdin.buffer.readline()
                if not line:
                    return
                pid = os.fork()
                if pid == 0:
                    _become(json.loads(line))
                tell({"pid": pid})
                asked.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
            else:
                _, status = os.waitpid(key.data, 0)
                asked.unregister(key.fileobj)
                os.close(int(key.fileobj))  # type: ignore[arg-type]
                tell({"pid": key.data, "code": os.waitstatus_to_exitcode(status)})


def _load() -> None:
    """Import what ranks import, much of it late, and load the kernels that they run, so that no forked process does it again."""
    import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401
    import torch._inductor.compile_fx  # noqa: F401
    import transformers  # noqa: F401

    import trainer.__main__
    import trainer.train  # noqa: F401
    from pipeline.shards import Shards
    from tests.trainer.synthetic import write_shards
    from trainer.batches import Source
    from trainer.engine import quiet_deepspeed

    quiet_deepspeed()  # which looks for what could be compiled
    with tempfile.TemporaryDirectory() as folder:
        write_shards(Path(folder) / "shards", 4)
        Source(Shards(str(Path(folder) / "shards")), seed=0, rate=0.3).micro_batch(np.arange(4))


def tell(value: dict[str, Any]) -> None:
    """A line to the test."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _become(request: dict[str, Any]) -> None:
    """In the forked process: run the module to its end."""
    for number, name in ((1, "output"), (2, "errors")):
        handle = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(request["environment"])
    sys.argv = [request["module"], *request["arguments"]]
    code: Any = 1
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ending:
        code = ending.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    serve()
