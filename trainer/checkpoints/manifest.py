"""The manifest of a checkpoint: where the run stood, what may not change when it goes on, and the files with their checksums."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xxhash

NAME = "manifest.json"
FORMAT = 2
WEIGHT = "weight"  # the kind of the parameters themselves; the other kinds are the optimizer's state, by its own names


class Damaged(Exception):
    """A checkpoint that is not as it was written. The message says what is wrong with it."""


@dataclass(frozen=True)
class File:
    """A safetensors file of a checkpoint. Its tensors are of one kind, under the names of their parameters."""

    name: str
    kind: str
    tensors: tuple[str, ...]
    bytes: int
    checksum: str  # xxh3_128 of all bytes, hexadecimal


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint says of itself. `scalars` has the optimizer's values that are no tensors, such as its count of steps."""

    step: int  # steps done
    begun: int  # phases that a step was made of
    tokens: int  # tokens of those steps, as sequences times length
    world: int  # processes that wrote it
    stage: int  # of ZeRO
    validation: float | None  # the loss on the validation split, where it was taken after this very step
    identity: dict[str, Any]  # what may not change (`trainer.identity`)
    progress: dict[str, Any]  # of the loop: what the next line of metrics has so far, and the guard
    scalars: dict[str, float]
    files: tuple[File, ...]

    def to_json(self) -> bytes:
        """The manifest as JSON with a checksum of its own."""
        body = {"format": FORMAT, **asdict(self)}
        return json.dumps({**body, "checksum": _checksum(body)}, indent=1, sort_keys=True, allow_nan=False).encode()

    @classmethod
    def from_json(cls, raw: bytes) -> Manifest:
        """The reverse. Raises `Damaged`."""
        try:
            body = json.loads(raw)
            checksum = body.pop("checksum")
            if checksum != _checksum(body):
                raise Damaged(f"{NAME} does not have its checksum")
            version = body.pop("format")
            files = tuple(File(**{**file, "tensors": tuple(file["tensors"])}) for file in body.pop("files"))
            found = cls(**body, files=files)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Damaged(f"{NAME} cannot be read") from error
        if version != FORMAT:
            raise Damaged(f"{NAME} is of format {version}, and this version reads {FORMAT}")
        if found.to_json() != raw:  # in a way that JSON does not mind
            raise Damaged(f"{NAME} is not as it was written")
        return found


def _checksum(body: dict[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(body, sort_keys=True).encode())


def tag(step: int) -> str:
    """The name of the folder of the checkpoint after so many steps."""
    return f"step-{step:08d}"


def write_durably(path: Path, raw: bytes) -> None:
    """Write a file whole or not at all, and have it on disk."""
    aside = path.with_name(f".{path.name}.tmp")
    with open(aside, "wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have a folder's entries on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
