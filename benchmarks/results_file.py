"""What every benchmark writes: `benchmarks/results/NAME.json`. Python's own library alone, so that it runs anywhere."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Peer:
    """The peer that was measured in the same run."""

    name: str
    version: str
    value: float


@dataclass(frozen=True)
class Row:
    """One figure. `goal` is what was promised of the ratio to the peer, or of the value where there is no peer.

    A ratio says how many times better ours is, so it is always to be at least its goal; a value is, too, unless `at_most`.
    """

    name: str
    unit: str
    value: float
    peer: Peer | None = None
    goal: float | None = None
    at_most: bool = False  # the value is better the smaller it is

    @property
    def ratio(self) -> float | None:
        if self.peer is None or not self.peer.value or not self.value:
            return None
        return self.peer.value / self.value if self.at_most else self.value / self.peer.value

    def to_dict(self) -> dict[str, Any]:
        measured = self.ratio if self.peer is not None else self.value
        if self.goal is None or measured is None:
            met = None
        else:
            met = measured <= self.goal if self.at_most and self.peer is None else measured >= self.goal
        return {**asdict(self), "ratio": self.ratio, "met": met}


def machine(gpu: str | None = None) -> dict[str, Any]:
    """This machine, in words."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gb": round(memory, 1), "gpu": gpu}


def versions(*packages: str) -> dict[str, str]:
    """Installed versions; packages that are not there are left out."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def show(rows: list[Row]) -> None:
    """Print the figures as a table."""
    width = max(len(row.name) for row in rows)
    for row in rows:
        line = f"{row.name:<{width}}  {row.value:>12,.4g} {row.unit:<12}"
        if row.peer is not None:
            line += f" {row.peer.name} {row.peer.version}: {row.peer.value:,.4g}, {row.ratio:,.1f} times"
        if row.goal is not None:
            sign = "<=" if row.at_most and row.peer is None else ">="
            line += f"  (goal {sign} {row.goal:g}: {'met' if row.to_dict()['met'] else 'NOT MET'})"
        print(line)


def write(
    name: str,
    rows: list[Row],
    packages: tuple[str, ...],
    *,
    gpu: str | None = None,
    path: Path | None = None,
    others: Sequence[dict[str, Any]] = (),
) -> Path:
    """Write the results, before them `others` of an earlier run; returns where."""
    found = [*others, *(row.to_dict() for row in rows)]
    body = {"benchmark": name, "machine": machine(gpu), "versions": versions(*packages), "rows": found}
    target = path or RESULTS / f"{name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    return target
