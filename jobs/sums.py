"""Checksums of what a run's folder ends with: its summary, the model, the export. Who reads them later can tell whether they are whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import xxhash

from pipeline.workdir.errors import CorruptData

TRAINED = "trained.json"  # of a run: what its training was, and the checksums of what it ended with
MODEL_REMEDY = "delete summary.json of the run, and `foundry pretrain RECIPE` writes it again from the last checkpoint"
EXPORT_REMEDY = "`foundry export RECIPE` writes it again"
_PIECE = 1 << 24


def _sum(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def sums(folder: Path, paths: Iterable[Path]) -> dict[str, str]:
    """The xxh3-128 of files, in hex, by their paths within `folder`; of folders, of all files in them."""
    files = sorted(file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
    return {file.relative_to(folder).as_posix(): _sum(file) for file in files}


def check_sums(folder: Path, record: Any, remedy: str, within: str = "") -> int:
    """How many files were looked at, of those that a record lists whose paths begin with `within`; those of old versions list none.

    Raises `CorruptData`, which names the file and the remedy, where one is missing or is not what was written.
    """
    files = record.get("files") if isinstance(record, dict) else None
    found = {name: told for name, told in (files if isinstance(files, dict) else {}).items() if name.startswith(within)}
    for name, told in found.items():
        path = folder / name
        if not path.is_file():
            raise CorruptData(f"{path}: is missing; {remedy}")
        if _sum(path) != told:
            raise CorruptData(f"{path}: its bytes are not those that were written (checksum differs); {remedy}")
    return len(found)
