"""What is sent to a cluster with a job: Encoder Foundry as it is here, the recipe, and small files that it names by relative paths.

    BUNDLE/
      start.sh            finds the cluster's own Python, whatever is on the PATH there, and begins `jobs.in_job`
      job.json            what `jobs.in_job` needs to know
      kernel/ pipeline/ ...  the packages
      files/              the job's current folder: the recipe, and the files, at the paths that it names them by

The same recipe, files and version make the same bundle, which Ray then does not send again.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

from jobs.console import size
from jobs.packaged import recipes_folder
from jobs.recipe import Recipe
from kernel.cache import expand_home
from pipeline.workdir.errors import UserError

MOST = 64 << 20  # bytes of files; Ray keeps bundles in the memory of its head
FILES = "files"

_ROOT = Path(__file__).parents[1]
# Ray starts a job's command by a shell that may know another Python, or none; the raylet that is above it knows the one of its workers.
_START = """\
# Begins a job of Encoder Foundry's with the Python of the cluster's own workers.
python=
above=$PPID
while [ "${above:-0}" -gt 1 ] && [ -z "$python" ]; do
    python=$(tr '\\0' '\\n' < "/proc/$above/cmdline" 2>/dev/null | sed -n 's/^--python_worker_command=\\([^ ]*\\).*/\\1/p')
    above=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$above/status" 2>/dev/null)
done
[ -x "$python" ] || python=$(command -v python3 || command -v python) || { echo "foundry: the head has no Python" >&2; exit 2; }
here=$(pwd)
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
cd files && exec "$python" -P "$here/jobs/in_job.py" "$here/job.json" "$@"
"""


@dataclass(frozen=True)
class Job:
    """What `jobs.in_job` needs to know before the command is begun."""

    workdir: str  # as the recipe has it, or the command
    paths: dict[str, str]  # what is not sent and must be there on every node: the recipe's key by the path
    modified: dict[str, int] = field(default_factory=dict)  # of each file that is sent: when, in nanoseconds, since a source's key has it
    python: str = ""
    packages: dict[str, str] = field(default_factory=dict)  # versions here, Ray's among them
    requirements: tuple[str, ...] = ()
    version: str = ""  # of Encoder Foundry


def write_bundle(folder: Path, recipe_file: Path, recipe: Recipe) -> tuple[Job, int]:
    """Write a bundle into an empty folder. Returns what the job is told, and how many bytes of files are sent.

    Raises `UserError` where the recipe names files that are too large to be sent, or that lie above the current folder.
    """
    for name in packages():
        shutil.copytree(_ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"))
    if not (folder / "jobs" / "recipes").is_dir():
        shutil.copytree(recipes_folder(), folder / "recipes", ignore=shutil.ignore_patterns(".*"))
    base = Path.cwd()
    sent, paths = _named(recipe, base)
    (folder / FILES).mkdir()
    modified = {}
    for relative, path in sent.items():
        target = folder / FILES / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        modified[relative] = path.stat().st_mtime_ns
    shutil.copyfile(recipe_file, folder / FILES / recipe_file.name)
    (folder / "start.sh").write_text(_START, encoding="utf-8")
    job = Job(recipe.workdir, paths, modified, ".".join(map(str, sys.version_info[:2])), *_needs())
    (folder / "job.json").write_text(json.dumps(asdict(job), indent=1, sort_keys=True), encoding="utf-8")
    return job, sum(path.stat().st_size for path in sent.values())


def packages() -> tuple[str, ...]:
    """The names of Encoder Foundry's packages: as pyproject.toml of a source tree has them, or as an installation's metadata has."""
    file = _ROOT / "pyproject.toml"
    if file.is_file():
        include = tomllib.loads(file.read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]["find"]["include"]
        return tuple(name for name in include if "*" not in name)
    return tuple((distribution("encoder-foundry").read_text("top_level.txt") or "").split())


def _needs() -> tuple[dict[str, str], tuple[str, ...], str]:
    """Versions of our dependencies here, what we require of them, and our own version."""
    from packaging.requirements import Requirement  # Ray's own dependency

    file = _ROOT / "pyproject.toml"
    if file.is_file():
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        texts, own = project["dependencies"], project["version"]
    else:
        texts, own = distribution("encoder-foundry").requires or [], version("encoder-foundry")
    wanted = [Requirement(text) for text in texts]
    wanted = [each for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    found = {}
    for each in wanted:
        try:
            found[each.name] = version(each.name)
        except PackageNotFoundError:
            continue
    return found, tuple(f"{each.name}{each.specifier}" for each in wanted), own


# --- the files that a recipe names -------------------------------------------------------------------------------------


def named_paths(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Every path of files that a recipe names, URIs too: its key, and the path."""
    if recipe.corpus is None:
        yield from ((f"sources.{source.name}.path", source.path) for source in recipe.sources)
        for classifier in recipe.classifiers:
            yield f"classifiers.{classifier.name}.path", classifier.path
        for name, rules in recipe.filter.items():
            for family in rules.families():
                yield from _resolved(f"filter.{name}", family.resolved)
        for each in recipe.contamination.sets if recipe.contamination is not None else ():
            path = getattr(each, "path", None)
            if isinstance(path, str):
                yield f"contamination.sets.{each.name}.path", path
            else:
                yield from _resolved(f"contamination.sets.{each.name}", each.resolved)  # type: ignore[union-attr]
    if recipe.near is not None:
        yield from (("near.against", path) for path in recipe.near.against)
        yield from (("near.seen", path) for path in recipe.near.seen)
    for key in ("start_from", "continue_from"):
        if path := getattr(recipe.training, key):
            yield f"training.{key}", path


def _resolved(key: str, resolve: Callable[[Path], Any]) -> Iterator[tuple[str, str]]:
    """The paths of a section that makes them absolute itself, as sections of other packages do: those that differ with the folder."""
    here, there = (_strings(resolve(Path(base)).model_dump(mode="json")) for base in ("/a", "/b"))
    yield from ((key, os.path.relpath(one, "/a")) for one, other in zip(here, there, strict=True) if one != other)


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [text for each in inner for text in _strings(each)]


def _named(recipe: Recipe, base: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """The files that are sent, by their paths in the job's folder; and the paths that must be on every node, with their keys."""
    sent: dict[str, Path] = {}
    paths: dict[str, str] = {}
    for key, text in named_paths(recipe):
        if "://" in text:
            continue
        path = expand_home(os.path.expandvars(text))
        if path.is_absolute():
            paths[str(_before_glob(path))] = key
            continue
        if ".." in path.parts:
            raise UserError(
                f"{key}: {text} lies above the current folder, and is not sent with a job; give the command in a folder above it, or name "
                "it by a URI, or by an absolute path on storage that all nodes of the cluster see"
            )
        files = list(_files(base / path))
        if not files:
            raise UserError(f"{key}: {text}: there is nothing there; correct the path")
        sent |= {file.relative_to(base).as_posix(): file for file in files}
        _bound(key, text, sum(file.stat().st_size for file in files))
    _bound("the recipe", "its files together", sum(file.stat().st_size for file in sent.values()))
    return sent, paths


def _bound(key: str, text: str, total: int) -> None:
    if total > MOST:
        raise UserError(
            f"{key}: {text} has {size(total)}, and a job is sent {size(MOST)} at most; put it where the cluster reads it, and name it "
            "by a URI (s3://...), or by an absolute path on storage that all nodes see"
        )


def _files(path: Path) -> Iterator[Path]:
    for match in sorted(glob.glob(str(path), recursive=True)):
        found = Path(match)
        yield from (each for each in (sorted(found.rglob("*")) if found.is_dir() else [found]) if each.is_file())


def _before_glob(path: Path) -> Path:
    """The part of a path before the first that is a pattern."""
    while glob.has_magic(str(path)):
        path = path.parent
    return path
