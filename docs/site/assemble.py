"""Put together what Sphinx makes the site from: `python docs/site/assemble.py FOLDER`.

The pages are the Markdown files of the repository as they are, at the same places below FOLDER, so that a link between two of them, or to
a recipe, means the same on the site as in the source tree. Only the table of contents and the reference of the packages are made here.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
BESIDE = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE")

# The order in which one meets things. Pages of docs/ that are not named here come at the end of the last part.
CONTENTS: dict[str, tuple[str, ...]] = {
    "Begin": ("docs/demo", "docs/tutorial", "docs/demo-corpus", "docs/recipe", "docs/storage", "docs/troubleshooting", "docs/glossary"),
    "From raw files to documents": ("docs/web", "docs/science", "docs/code", "docs/text-rules", "docs/filters", "docs/deduplication"),
    "From documents to a model": (
        "docs/tokenizer",
        "docs/shards",
        "docs/model",
        "docs/training",
        "docs/clusters",
        "docs/scale",
        "docs/reliability",
        "docs/performance",
    ),
    "How it works": (
        "docs/architecture",
        "docs/extending",
        "docs/kernels",
        "docs/testing",
        "docs/security",
        "docs/dependencies",
        "CONTRIBUTING",
        "SECURITY",
        "CHANGELOG",
    ),
}
FLOW = ("readers", "ingest", "measure", "filters", "dedup", "contamination", "mix", "pack", "report", "workdir")  # of pipeline
PACKAGES = ("kernel", "storage", "pipeline", "tokenizer", "model", "trainer", "evaluation", "jobs")


def copied(target: Path) -> list[str]:
    """Copy the pages and what they link to; returns the pages' names, as a table of contents has them."""
    for name in BESIDE:
        if (ROOT / name).is_file():
            shutil.copyfile(ROOT / name, target / name)
    shutil.copytree(ROOT / "docs", target / "docs", ignore=shutil.ignore_patterns("site"))
    shutil.copytree(ROOT / "recipes", target / "recipes")
    for folder in ("clusters", "slurm"):
        shutil.copytree(ROOT / "jobs" / folder, target / "jobs" / folder)
    (target / "benchmarks").mkdir()
    shutil.copytree(ROOT / "benchmarks" / "results", target / "benchmarks" / "results")
    return [path.relative_to(target).with_suffix("").as_posix() for path in sorted(target.rglob("*.md"))]


def index(pages: list[str], reference: list[str]) -> str:
    """The first page: the README, and the table of contents."""
    contents = {part: [page for page in names if page in pages] for part, names in CONTENTS.items()}
    listed = {"README", *(page for names in contents.values() for page in names)}
    contents["How it works"] += [page for page in pages if page not in listed]
    contents["Reference of the packages"] = reference
    parts = (f"```{{toctree}}\n:hidden:\n:caption: {part}\n\n" + "\n".join(names) + "\n```\n" for part, names in contents.items())
    return "```{include} README.md\n```\n\n" + "\n".join(parts)


def modules(folder: Path) -> list[Path]:
    """Modules right in a package's folder that others may import."""
    return sorted(path for path in folder.glob("*.py") if not path.stem.startswith("_"))


def packages(folder: Path) -> Iterator[Path]:
    """A package and those below it that have modules."""
    yield folder
    below = [path for path in folder.iterdir() if path.is_dir() and any(path.glob("*.py"))]
    for path in sorted(below, key=lambda path: (FLOW.index(path.name) if path.name in FLOW else len(FLOW), path.name)):
        yield from packages(path)


def heading(text: str, mark: str) -> str:
    return f"{text}\n{mark * len(text)}\n"


def reference_page(package: Path) -> str:
    """The reference of one package, without those below it: what its own docstring says, then its modules."""
    name = ".".join(package.relative_to(ROOT).parts)
    parts = [heading(f"``{name}``", "="), f".. automodule:: {name}\n   :no-members:\n"] if (package / "__init__.py").is_file() else []
    for path in modules(package):
        module = f"{name}.{path.stem}"
        parts += [heading(f"``{module}``", "-"), f".. automodule:: {module}\n"]
    below = [path for path in packages(package) if path.parent == package]
    if below:
        names = "\n   ".join(".".join(path.relative_to(ROOT).parts) for path in below)
        parts.insert(2, f".. toctree::\n   :maxdepth: 1\n\n   {names}\n")
    return "\n".join(parts)


def main() -> None:
    """Make the folder anew."""
    target = Path(sys.argv[1])
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    pages = copied(target)
    (target / "reference").mkdir()
    there = [package for package in PACKAGES if (ROOT / package / "__init__.py").is_file()]
    for package in there:
        for each in packages(ROOT / package):
            name = ".".join(each.relative_to(ROOT).parts)
            (target / "reference" / f"{name}.rst").write_text(reference_page(each), encoding="utf-8")
    (target / "index.md").write_text(index(pages, [f"reference/{package}" for package in there]), encoding="utf-8")


if __name__ == "__main__":
    main()
