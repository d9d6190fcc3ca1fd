"""The checkpoint that a training goes on from: the newest that is whole, here or in the store, verified before anything of it is used."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from storage.errors import why
from storage.location import Location, scrub
from trainer.checkpoints.manifest import NAME, Damaged, Manifest, tag
from trainer.checkpoints.reading import Found, read_manifest, verify
from trainer.checkpoints.store import ERRORS, LINES, ORIGIN, Store
from trainer.config import Anew
from trainer.control import together
from trainer.engine import World
from trainer.errors import TrainerError
from trainer.identity import changes
from trainer.schedule import Schedule


def newest(run: Path, world: World, say: Callable[[str], None], store: Store | None = None, before: int | None = None) -> Found | None:
    """The newest checkpoint that is whole, or None where there is none at all. Each rank that sees the folder verifies its share.

    `store`: on the first rank, where the run is on object storage too; what is not here or is damaged is fetched from there, with the
    lines that belong to it. `before`: only those of fewer steps. `say` is told of each that is passed over. Raises `TrainerError` where all
    are, or where the store cannot be read.
    """
    folder = run / "checkpoints"
    here = world.agree([path.name for path in folder.glob("step-*") if path.is_dir() and path.suffix != ".tmp"])
    there = world.agree(together(world, lambda: _names(store) if store is not None else []))
    reasons = []
    for name in sorted({*here, *there}, reverse=True):
        if before is not None and name >= tag(before):
            continue
        path = folder / name
        if name in here:
            found, reason = _tried(path, world)
            if found is not None:
                return found
            reasons.append(f"{name}: {reason}")
            say(f"{path}: this checkpoint cannot be used and is passed over ({reason})")
        if name in there:
            failure = world.agree(together(world, partial(_fetched, store, name, run, lines=before is None)))
            found, reason = _tried(path, world) if failure is None else (None, failure)
            if found is not None:
                say(f"{path}: this checkpoint was fetched from {store}")
                return found
            reasons.append(f"{name}: {reason}")
            say(f"{store}: its {name} cannot be used and is passed over ({reason})")
    if reasons:
        places = f"{folder} and {world.agree(str(store))}" if there else str(folder)
        raise TrainerError(
            f"{places}: none of its {len(reasons)} checkpoints can be used ({reasons[0]}); put a whole copy back, or delete the folder to "
            "train from the first step again"
        )
    return None


def origin(place: str, run: Path, plan: Schedule, identity: dict[str, Any], world: World) -> Found:
    """The checkpoint of another run that a run is to continue from; its run's lines of metrics become this run's.

    `place`: its folder or URI. Raises `TrainerError` where it is not whole, or is of a run that differs in more than rates.
    """
    where = f"training.continue_from: {scrub(place)}"
    form = "give WORKDIR/runs/NAME/checkpoints/step-N of another run"
    path = Path(world.agree(together(world, lambda: _brought(place, where, form, run) if world.is_first else "")))
    found, reason = _tried(path, world)
    if found is None:
        raise TrainerError(f"{where}: cannot be used ({reason}); {form}")
    manifest = found.manifest
    changed = changes(identity, manifest.identity, manifest.begun, Anew)
    if changed:
        raise TrainerError(f"{where}: is of another run than this recipe's: {', '.join(changed[:3])}; only rates and lengths may differ")
    if (
        manifest.step > plan.steps
        or plan.tokens_before(manifest.step) != manifest.tokens
        or (plan.step(manifest.step - 1).phase + 1 != manifest.begun)
    ):
        stands = f"it stands after {manifest.tokens:,} tokens, in phase {manifest.begun}"
        raise TrainerError(f"{where}: {stands}, and no step of this recipe does; give `phases` at least the tokens that they had by then")
    if world.is_first and not (run / LINES[0]).is_file() and (path.parents[1] / LINES[0]).is_file():
        shutil.copyfile(path.parents[1] / LINES[0], run / LINES[0])
    return found


def _brought(place: str, where: str, form: str, run: Path) -> str:
    """The local folder of a checkpoint that is named by a folder or a URI; that of a URI is fetched."""
    if "://" not in place:
        if not (Path(place) / NAME).is_file():
            raise TrainerError(f"{where}: no checkpoint is there; {form}")
        return place
    location = Location.parse(place)
    home, name = location.parent.parent, location.name
    folder = run / ORIGIN / "checkpoints" / name
    if not folder.is_dir():
        failure = _fetched(Store.open(home.uri), name, run / ORIGIN, lines=True)
        if failure is not None:
            raise TrainerError(f"{where}: cannot be used ({failure}); {form}")
    return str(folder)


def _tried(path: Path, world: World) -> tuple[Found | None, str]:
    """A checkpoint, where it is whole; else what is wrong with it. The same on every rank."""
    if world.agree(any(path.glob("mp_rank_*_model_states.pt")) and not (path / NAME).is_file()):
        return None, "it was written by a version before 0.2, in DeepSpeed's own format"
    try:
        return Found(path, _verified(path, world)), ""
    except Damaged as error:
        return None, str(error)


def _verified(folder: Path, world: World) -> Manifest:
    """The manifest of a checkpoint all of whose files are whole, on every rank. Raises `Damaged` on every rank alike."""
    manifest: Manifest | None = None
    reason: str | None = None
    if world.rank in world.writers:
        try:
            manifest = read_manifest(folder)
            place = world.writers.index(world.rank)
            for file in manifest.files[place :: len(world.writers)]:
                verify(folder, file)
        except Damaged as error:
            reason = str(error)
    found = world.gather((manifest, reason))
    for _, reason in found:
        if reason is not None:
            raise Damaged(reason)
    first = found[world.writers[0]][0]
    assert first is not None
    return first


def _names(store: Store) -> list[str]:
    try:
        return store.names()
    except ERRORS as error:
        raise TrainerError(f"{store}: cannot be read ({why(error)}); check network and credentials") from error


def _fetched(store: Store | None, name: str, run: Path, *, lines: bool) -> str | None:
    """Fetch a checkpoint, on the rank that has the store. Returns what is wrong with it, if anything."""
    if store is None:
        return None
    try:
        store.fetch(name, run, lines=lines)
    except Damaged as error:
        return str(error)
    except ERRORS as error:
        raise TrainerError(
            f"{store}: {name} cannot be fetched ({why(error)}); check network, credentials and the free space of {run}"
        ) from error
    return None
