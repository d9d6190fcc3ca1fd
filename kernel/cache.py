"""Where what is dear to make is kept for the next process, and the user's home folder, below which that is."""

from __future__ import annotations

import os
from pathlib import Path


class NoHome(OSError):
    """A home folder that is not known: one line with the path, and what to do."""


def expand_home(path: str | Path) -> Path:
    """A path with `~` or `~NAME` at its beginning as the home folder. Raises `NoHome` where that is not known."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise NoHome(f"{path}: there is no such home folder here; write the path out, or set HOME") from None


def cache_folder(*names: str) -> Path:
    """`encoder-foundry/...` in `$XDG_CACHE_HOME`, by default `~/.cache`. Raises `NoHome` where there is neither."""
    return expand_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache").joinpath("encoder-foundry", *names)
