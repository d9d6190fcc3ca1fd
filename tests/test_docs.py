"""The documentation's links lead somewhere, and the files that it names are there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from jobs.recipe import load_recipe

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


PLACEHOLDER = re.compile(r"\.\.\.|\b(?=\w*[A-Z]{2})[A-Z]\w*\b|[\d.,]*\d%?|[()]")


@cache
def sources() -> str:
    """All code of ours with strings that go over several lines joined, so that a message reads as it is printed."""
    code = "\n".join(path.read_text(encoding="utf-8") for name in OURS[:6] for path in sorted((ROOT / name).rglob("*.py")))
    return re.sub(r"[\"']\s*\n\s*f?[\"']", "", code)


def messages() -> list[str]:
    """The messages that docs/troubleshooting.md explains: the code in bold that a paragraph begins with."""
    begin = re.compile(r"^\*\*(?:`` (.+?) ``|`([^`]+)`)", re.DOTALL | re.MULTILINE)
    found = [" ".join((one or other).split()) for one, other in begin.findall(prose(ROOT / "docs" / "troubleshooting.md"))]
    return [message for message in found if "OutOfMemoryError" not in message]  # Ray's own


@pytest.mark.parametrize("message", messages())
def test_messages_that_are_explained_are_those_of_the_code(message: str) -> None:
    """Some run of three words between what differs from case to case stands in the code as it does here."""
    runs = []
    for part in PLACEHOLDER.split(message):
        words = part.split()
        runs += [" ".join(words[at : at + 3]) for at in range(max(1, len(words) - 2))] if len(words) > 1 else []
    assert any(run in sources() for run in runs), f"no message of ours has any of {runs}"


def test_the_page_explains_many_messages() -> None:
    assert len(messages()) > 25


def test_the_tutorials_recipe_and_scripts_are_right(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    recipe, *rules = re.findall(r"^```yaml\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    path = tmp_path / "mine.yaml"
    path.write_text(recipe, encoding="utf-8")
    assert load_recipe(path).filter["web"].language is not None
    (changed,) = rules
    path.write_text(re.sub(r"^  web: .*\n", changed, recipe, flags=re.MULTILINE), encoding="utf-8")
    assert load_recipe(path).filter["web"].language is None
    for script in re.findall(r"^```python\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE):
        compile(script, "tutorial", "exec")
