"""Reading a checkpoint: its manifest, its files against their checksums, its tensors on every rank."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import xxhash
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from trainer.averages import EMA
from trainer.checkpoints.manifest import NAME, WEIGHT, Damaged, File, Manifest
from trainer.engine import Trainee, World
from trainer.errors import TrainerError
from trainer.identity import changes
from trainer.slices import Part

_CHUNK = 1 << 24


@dataclass(frozen=True)
class Found:
    """A whole checkpoint."""

    folder: Path
    manifest: Manifest


def sweep(folder: Path) -> None:
    """Delete what was begun and never became a checkpoint."""
    for left in folder.glob("*.tmp"):
        shutil.rmtree(left)


def readable(folder: Path) -> list[tuple[Path, Manifest]]:
    """The checkpoints whose manifests can be read, oldest first."""
    found = []
    for path in sorted(folder.glob("step-*")):
        if path.suffix != ".tmp":
            try:
                found.append((path, read_manifest(path)))
            except Damaged:
                continue
    return found


def read_manifest(folder: Path) -> Manifest:
    """A checkpoint's manifest. Raises `Damaged`."""
    try:
        return Manifest.from_json((folder / NAME).read_bytes())
    except OSError as error:
        raise Damaged(f"{NAME}: {error.strerror}") from error


def verify(folder: Path, file: File) -> None:
    """Raises `Damaged` where a file does not have its size and checksum."""
    digest, size = xxhash.xxh3_128(), 0
    try:
        with open(folder / file.name, "rb") as opened:
            while chunk := opened.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise Damaged(f"{file.name}: {error.strerror}") from error
    if size != file.bytes:
        raise Damaged(f"{file.name} has {size:,} bytes, not {file.bytes:,}")
    if digest.hexdigest() != file.checksum:
        raise Damaged(f"{file.name} does not have its checksum")


def seeing(run: Path, world: World) -> tuple[int, ...]:
    """The ranks that see the run's folder as the first rank does: all, or, where hosts share no disk, those of the first host."""
    mark = run / ".seen"
    word = world.agree(f"{os.getpid()} {time.time_ns()}")
    if world.is_first:
        mark.write_text(word, encoding="utf-8")
    world.barrier()
    sees = False
    for _ in range(20):  # a network's file system may show it later
        sees = mark.is_file() and mark.read_text(encoding="utf-8") == word
        if sees:
            break
        time.sleep(0.1)
    found = tuple(rank for rank, seen in enumerate(world.gather(sees)) if seen)
    if world.is_first:
        mark.unlink()
    return found


def check(manifest: Manifest, identity: dict[str, Any], *places: object) -> None:
    """Raises `TrainerError` where a checkpoint is not of this run, naming what has changed. What no step was made of may change.

    `places`: where the run is; None is nowhere.
    """
    changed = changes(identity, manifest.identity, manifest.begun)
    if changed:
        more = f" (and {len(changed) - 3} more)" if len(changed) > 3 else ""
        where = " and ".join(str(place) for place in places if place is not None)
        raise TrainerError(
            f"{where}: {', '.join(changed[:3])}{more} since this run began; give the recipe another `name`, or delete that folder"
        )


def tensors(found: Found, kind: str, world: World) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a kind with its name, on the CPU of every rank. Called by all ranks, which get them in the same order.

    A rank reads the files itself where all see them; else the first sends them on.
    """
    everywhere = len(world.writers) == world.size
    for file in found.manifest.files:
        if file.kind != kind:
            continue
        opened = safe_open(found.folder / file.name, "pt") if everywhere or world.is_first else None
        for name in file.tensors:
            whole: Tensor | None = opened.get_tensor(name) if opened is not None else None  # type: ignore[no-untyped-call]
            if not everywhere:
                described: Any = world.agree((tuple(whole.shape), whole.dtype) if whole is not None else None)
                shape, dtype = described
                whole = whole if whole is not None else torch.empty(shape, dtype=dtype)
                dist.broadcast(whole, 0, group=world.control)
            assert whole is not None
            yield name, whole


def weights(found: Found, world: World) -> dict[str, Tensor]:
    """All weights of a checkpoint, by the names of their parameters."""
    return dict(tensors(found, WEIGHT, world))


def mean_weights(run: Path, count: int, best: int, say: Callable[[str], None]) -> tuple[dict[str, Tensor], list[int]]:
    """The mean of the weights of `count` checkpoints of a run, taken in float64, and their steps. On the first rank alone.

    `best` of them are those of the lowest validation loss in the last phase, the others the newest. `say` is told of damaged ones, which
    are passed over, and where there are too few. Raises `TrainerError` where none is whole.
    """
    known: dict[int, tuple[Path, Manifest]] = {}
    for folder in sorted((run / "checkpoints").glob("step-*")):
        try:
            manifest = read_manifest(folder)
            for file in manifest.files:
                if file.kind == WEIGHT:
                    verify(folder, file)
            known[manifest.step] = folder, manifest
        except Damaged as error:
            say(f"{folder}: this checkpoint cannot be used and is passed over ({error})")
    if not known:
        raise TrainerError(f"{run}: no checkpoint is whole, so that none can be averaged; start again, and the last steps are made again")
    phases = max(manifest.begun for _, manifest in known.values())
    rated = [(one.validation, step) for step, (_, one) in known.items() if one.begun == phases and one.validation is not None]
    chosen = [step for _, step in sorted(rated)[:best]]
    chosen += sorted(known.keys() - set(chosen), reverse=True)[: count - len(chosen)]
    if len(chosen) < count:
        say(f"the model is the mean of {len(chosen)} checkpoints, not of {count} (training.average): there are no more")
    sums: dict[str, Tensor] = {}
    for step in sorted(chosen):
        folder, manifest = known[step]
        for file in manifest.files:
            if file.kind == WEIGHT:
                for name, value in load_file(folder / file.name).items():
                    sums[name] = sums[name].add_(value) if name in sums else value.double()
    return {name: value.div_(len(chosen)).float() for name, value in sums.items()}, sorted(chosen)


@torch.no_grad()
def load_state(trainee: Trainee, found: Found, world: World) -> None:
    """Give the optimizer the state that the checkpoint has, whatever the number of ranks or the ZeRO stage that wrote it.

    And the moving average of the weights, where one is kept and the checkpoint has it; it stays as it has begun where the latter has none.
    """
    by_name: dict[str, list[tuple[int, Part | None]]] = {}
    for number, one in enumerate(trainee.slices):
        parts = {part.slot: part for part in one.parts}
        for slot, whole in enumerate(one.parameters):
            by_name.setdefault(whole.name, []).append((number, parts.get(slot)))
    state = trainee.optimizer.state
    for one in trainee.slices:
        for kind, value in found.manifest.scalars.items():
            state[one.tensor][kind] = torch.tensor(value, dtype=torch.float32)
    dropped = {WEIGHT} if trainee.ema else {WEIGHT, EMA}
    for kind in sorted({file.kind for file in found.manifest.files} - dropped):
        for name, values in tensors(found, kind, world):
            for number, part in by_name.get(name, ()):
                flat = trainee.slices[number].tensor
                if kind == EMA:
                    target = trainee.ema[number]
                elif trainee.stage == 0:
                    target = state[flat][kind] = torch.empty_like(values, device=flat.device)
                elif kind in state[flat]:
                    target = state[flat][kind]
                else:  # on ranks that hold nothing of the parameter, too: all step alike
                    target = state[flat][kind] = torch.zeros(flat.shape, dtype=values.dtype, device=flat.device)
                if trainee.stage == 0:
                    target.copy_(values)
                elif part is not None:
                    target.narrow(0, part.at, part.length).copy_(values.reshape(-1).narrow(0, part.start, part.length))
