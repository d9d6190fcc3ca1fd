"""The documentation's links lead somewhere, and the files that it names are there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").rglob("*.md")])
OURS = ("kernel", "pipeline", "tokenizer", "model", "trainer", "jobs", "tests", "benchmarks", "recipes", "docs")


@cache
def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^(```+).*?^\1$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


@cache
def anchors(page: Path) -> set[str]:
    """Names by which a page's headings can be linked to, as code hosts make them."""
    found = set()
    for title in re.findall(r"^#{1,6} +(.+?) *$", prose(page), flags=re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "").lower()
        found.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"``?[^`]+``?", "", prose(page))):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{target}: no such file"
        if anchor:
            assert anchor in anchors(path), f"{target}: there is no such heading; there are {sorted(anchors(path))}"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_files_of_ours_that_a_page_names_are_there(page: Path) -> None:
    for path in re.findall(rf"`((?:{'|'.join(OURS)})/[\w./-]+\.(?:py|yaml|md|json|j2))`", prose(page)):
        assert (ROOT / path).exists(), f"`{path}` is named, and not there"
