"""Training runs that faults are thrown at, drawn at random and aimed, until each has ended: `python -m tests.chaos.training`.

    python -m tests.chaos.training [--runs 200] [--seed 0] [--folder DIR]

Every run is a small recipe of ten steps, of one or two processes under a stage of ZeRO. One to three faults are drawn for it. It is
started again until it is done, or ends with a line for the user that is about a fault that the user has to mend, which is then mended.
In the end its weights and metrics are compared with those of a run that was left in peace: to the bit where the number of processes has
stayed the same, and else by the losses, within 1e-5. The table goes to tests/chaos/training.json and, in words, to docs/training.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from jobs.ranks import _is_stopped
from tests.chaos.table import table_of
from tests.trainer.runs import lines_of, two_splits, weights
from tests.trainer.synthetic import run_config
from tests.trainer.zygote import ROOT, Forked, fork_ranks

RESULT = Path(__file__).with_suffix(".json")
STEPS, STARTS = 10, 9

# What is put into a rank by tests/trainer/faulty.py, and how it is called in the table.
INSIDE = {
    "SIGKILL": "SIGKILL of a rank",
    "SIGKILL in a write": "SIGKILL while a checkpoint is written",
    "SIGTERM": "SIGTERM to a rank",
    "SIGSTOP": "SIGSTOP of a rank",
    "disk full": "full disk while a checkpoint is written",
    "nan": "NaN in a gradient, once",
    "inf": "infinity in a gradient, once",
    "nan loss": "NaN as a loss, once",
    "loader": "row that cannot be read",
}
# What is done between two starts; there has to be a reason to start again, so a SIGKILL goes before.
BETWEEN = {
    "bit": "bit flipped in the newest checkpoint",
    "cut": "file cut in the newest checkpoint",
    "manifest": "manifest of the newest checkpoint emptied",
    "world": "number of processes changed at a restart",
    "stage": "ZeRO stage changed at a restart",
}
OUTSIDE = {
    "launcher killed": "SIGKILL of the launcher",
    "launcher stopped": "SIGTERM to the launcher",
    "port": "meeting port taken",
    "twice": "second start in the same folder",
    "shard": "bit flipped in the shards",
}


class Run:
    """One run under faults."""

    def __init__(self, folder: Path, shards: Path, world: int, stage: int, random_: random.Random) -> None:
        self.folder, self.shards, self.world, self.stage, self.random = folder, shards, world, stage, random_
        folder.mkdir(parents=True)
        self.planned: list[dict[str, Any]] = []
        self.changed = False  # the number of processes or the stage
        self.lines: list[str] = []  # what was said to the user
        self.starts = 0
        self.write()

    def write(self) -> None:
        body = run_config(self.shards, zero_stage=self.stage, hang_seconds=3.0, log_every=3, checkpoint_every=3)
        (self.folder / "run.json").write_text(json.dumps({**body, "run": str(self.folder)}))
        (self.folder / "planned.json").write_text(json.dumps(self.planned))

    @property
    def done(self) -> bool:
        return (self.folder / "summary.json").is_file()

    def begin(self, environment: dict[str, str] | None = None) -> list[Forked]:
        self.write()
        shutil.rmtree(self.folder / "faults", ignore_errors=True)
        self.starts += 1
        arguments = [str(self.folder / "run.json"), str(self.folder / "planned.json")]
        return fork_ranks("tests.trainer.faulty", arguments, self.world, self.folder, environment)

    def ended(self, ranks: list[Forked]) -> list[int]:
        """Wait as a launcher does: once one has failed, the others have some seconds, and are then killed; so is one alone that stands."""
        deadline = None
        while any(rank.poll() is None for rank in ranks):
            if len(ranks) == 1 and deadline is None and _is_stopped(ranks[0].pid):
                deadline = time.monotonic() + 2
            if deadline is None and any(rank.poll() for rank in ranks):
                deadline = time.monotonic() + 10
            if deadline is not None and time.monotonic() > deadline:
                for rank in ranks:
                    rank.kill()
            time.sleep(0.02)
        return [rank.wait() for rank in ranks]

    def heed(self, line: str) -> None:
        """Keep what the user was told, and do what it says, where it says to do something."""
        self.lines.append(line)
        if "checkpoints can be used" in line:  # all are damaged: "delete the folder to train from the first step again"
            shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)  # every rank says it

    def faults(self) -> list[dict[str, Any]]:
        found = [json.loads(path.read_text()) for path in (self.folder / "faults").glob("rank-*.json")]
        return sorted(found, key=lambda fault: float(fault["time"]))

    def until_done(self) -> str | None:
        """Start until the run is done. Returns what went wrong with that, or None."""
        while self.starts < STARTS:
            codes = self.ended(self.begin())
            if self.done:
                return None
            own = [fault for fault in self.faults() if not fault["consequence"]]
            for fault in own:
                if not fault["user"]:
                    return f"a fault of ours: {fault['text'][:300]}"
                self.heed(fault["text"])
            if set(codes) - {0, 2, 75, -9}:
                return f"exit codes {codes}"
        return f"not done after {self.starts} starts"


def newest(folder: Path) -> Path | None:
    found = sorted(path for path in (folder / "checkpoints").glob("step-*") if path.suffix != ".tmp")
    return found[-1] if found else None


def flip(path: Path, random_: random.Random) -> None:
    raw = bytearray(path.read_bytes())
    raw[random_.randrange(len(raw))] ^= 1 << random_.randrange(8)
    path.write_bytes(raw)


def between(run: Run, kind: str) -> None:
    """Do something to a run that does not run."""
    if kind in ("world", "stage"):
        run.changed = True
        if kind == "world":
            run.world = run.random.choice([count for count in (1, 2, 3) if count != run.world])
        else:
            run.stage = run.random.choice([stage for stage in range(4) if stage != run.stage])
        return
    last = newest(run.folder)
    if last is None:
        return
    path = run.random.choice(sorted(last.glob("*.safetensors")))
    if kind == "bit":
        flip(path, run.random)
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[: run.random.randrange(path.stat().st_size)])
    else:
        (last / "manifest.json").write_bytes(b"")


def outside(run: Run, kind: str) -> str | None:
    """A fault that is no rank's. Returns what went wrong with it, or None."""
    if kind == "port":
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            codes = run.ended(run.begin({"MASTER_PORT": str(taken.getsockname()[1])}))
        return None if all(codes) else f"exit codes {codes} with a port that was taken"
    if kind == "twice":
        first = run.begin()
        while not (run.folder / "lock").is_file() or not (run.folder / "lock").read_text():
            if any(rank.poll() is not None for rank in first):
                return None  # it ended before the second could start
            time.sleep(0.01)
        second = fork_ranks("tests.trainer.faulty", [str(run.folder / "run.json"), str(run.folder / "planned.json")], run.world, run.folder)
        codes = run.ended(second)
        run.ended(first)
        run.lines += [fault["text"] for fault in run.faults() if fault["user"]]
        return None if set(codes) == {2} else f"the second start ended with {codes}"
    if kind == "shard":
        path = sorted((run.shards / "stable").glob("part-*"))[0]
        raw = path.read_bytes()
        flip(path, run.random)
        try:
            run.ended(run.begin())
        finally:
            path.write_bytes(raw)
        faults = [fault for fault in run.faults() if not fault["consequence"]]
        run.lines += [fault["text"] for fault in faults]
        return next((f"a fault of ours: {fault['text'][:300]}" for fault in faults if not fault["user"]), None)
    code = (
        f"from pathlib import Path; from jobs.launch import launch; launch(Path({str(run.folder / 'run.json')!r}), processes={run.world})"
    )
    run.write()
    alike = {**os.environ, "OMP_NUM_THREADS": "1"}  # as all other ranks have it: sums of two threads may round otherwise
    quiet = subprocess.DEVNULL
    launcher = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=alike, stdout=quiet, stderr=quiet)
    run.starts += 1
    wanted = run.random.randrange(1, 9)
    while launcher.poll() is None and len(lines_of(run.folder / "metrics.jsonl")) * 3 < wanted:
        time.sleep(0.02)
    launcher.send_signal(signal.SIGKILL if kind == "launcher killed" else signal.SIGTERM)
    launcher.wait()
    while subprocess.run(["pgrep", "-f", str(run.folder / "run.json")], capture_output=True, check=False).stdout:
        time.sleep(0.05)
    return None


def draw(random_: random.Random, world: int) -> list[tuple[str, dict[str, Any] | None]]:
    """One to three faults: those of ranks with what tests/trainer/faulty.py wants."""
    found: list[tuple[str, dict[str, Any] | None]] = []
    for _ in range(random_.choice((1, 1, 2, 3))):
        kind = random_.choice([*INSIDE, *INSIDE, *BETWEEN, *OUTSIDE])  # those inside are what clusters do most
        if kind in INSIDE:
            steps = (3, 6, 9, STEPS) if kind in ("SIGKILL in a write", "disk full") else range(1, STEPS + 1)
            fault = {"kind": kind, "rank": random_.randrange(world), "step": random_.choice(list(steps)), "once": True}
            found.append((kind, fault))
        else:
            if kind in BETWEEN:
                found.append(("SIGKILL", {"kind": "SIGKILL", "rank": 0, "step": random_.randrange(4, STEPS + 1), "once": True}))
            found.append((kind, None))
    return found


def compare(run: Run, peace: Path) -> str | None:
    """What differs from the run that was left in peace, or None."""
    ours, theirs = weights(run.folder), weights(peace)
    one, other = (lines_of(folder / "metrics.jsonl") for folder in (run.folder, peace))
    if [(line["kind"], line["step"]) for line in one] != [(line["kind"], line["step"]) for line in other]:
        return "metrics of other steps"
    if not run.changed:
        if any(not torch.equal(ours[name], value) for name, value in theirs.items()):
            return "other weights"
        return None if [line["loss"] for line in one] == [line["loss"] for line in other] else "other losses"
    far = max(abs(mine["loss"] - line["loss"]) / line["loss"] for mine, line in zip(one, other, strict=True))
    return None if far < 1e-5 else f"losses differ by {far:.1e}"


def one_run(number: int, seed: int, folder: Path, shards: Path, peace: dict[tuple[int, int], Path]) -> dict[str, Any]:
    """A run under faults, from its beginning to its end."""
    random_ = random.Random(f"{seed} {number}")
    world, stage = random_.choice((1, 2, 2)), random_.randrange(4)
    if (world, stage) not in peace:
        calm = Run(folder / f"peace-{world}-{stage}", shards, world, stage, random_)
        assert calm.until_done() is None
        peace[world, stage] = calm.folder
    run = Run(folder / f"run-{number}", shards, world, stage, random_)
    drawn = draw(random_, world)
    wrong: str | None = None
    for kind, fault in drawn:
        if wrong is None and not run.done:
            if fault is not None:
                run.planned = [fault]
                codes = run.ended(run.begin())
                own = [one for one in run.faults() if not one["consequence"]]
                wrong = next((f"a fault of ours: {one['text'][:300]}" for one in own if not one["user"]), None)
                for one in own:
                    run.heed(one["text"])
                if set(codes) - {0, 2, 75, -9}:
                    wrong = f"exit codes {codes}"
            elif kind in BETWEEN:
                between(run, kind)
            else:
                wrong = outside(run, kind)
    run.planned = []
    if wrong is None and not run.done:
        wrong = run.until_done()
    if wrong is None:
        wrong = compare(run, peace[world, stage])
    names = {**INSIDE, **BETWEEN, **OUTSIDE}
    if wrong is None:
        shutil.rmtree(run.folder)
    return {
        "run": number,
        "processes": world,
        "stage": stage,
        "faults": [names[kind] for kind, _ in drawn],
        "starts": run.starts,
        "changed": run.changed,
        "lines": run.lines,
        "wrong": wrong,
    }


def main() -> None:
    """Throw faults at many runs, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first run")
    parser.add_argument("--only", default="", help="the numbers of single runs, to look at one again")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    shards = folder / "shards"
    if not shards.exists():
        two_splits(shards)
    peace: dict[tuple[int, int], Path] = {}
    results = []
    numbers = [int(number) for number in options.only.split(",")] if options.only else range(options.first, options.first + options.runs)
    for number in numbers:
        results.append(one_run(number, options.seed, folder, shards, peace))
        last = results[-1]
        print(
            f"{number}: {last['processes']} processes, ZeRO {last['stage']}: {', '.join(last['faults'])}: {last['wrong'] or 'well'}",
            flush=True,
        )
        # after each, so that a machine that is lost takes nothing with it
        body = table_of(results, options.seed, lambda result: "equal up to rounding" if result["changed"] else "equal to the bit")
        options.result.write_text(json.dumps(body, indent=1) + "\n")
    print(json.dumps(body, indent=1))
    sys.stdout.flush()
    os._exit(1 if body["wrong"] else 0)


if __name__ == "__main__":
    main()
