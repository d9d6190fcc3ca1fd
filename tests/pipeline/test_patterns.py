"""Regular expressions take steps in proportion to the text, whatever the text: every pattern of the modules that read it."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import pipeline
import tokenizer
from pipeline.readers import markup, wikitext
from tests.pipeline.matcher import Matcher, TooManySteps, op, parser
from tests.work import in_proportion

Shape = tuple[str, str, str]  # what comes first, what is repeated, what comes last
SIZES = (30, 240, 1_000)  # characters to begin with
MOST = 2.02  # times as many steps in the second doubling of a text as in the first
FEW = 60  # steps that the ends of a text may make a difference of
MANY = 8_000_000  # steps at which a match is given up
ALPHABET = " \t\na0-_=./@:\"'([{<#*\\é"
SUFFIXES = ("", "b", "\n!")
# Patterns that would take quadratic time, were they applied to more than a bounded stretch, and what bounds it.
BOUNDED = {
    r"""[ \t]*(?:\*/|-->|\*\)|--\}\}|#\}|%>|\"|'|;|\|#|-\}).{0,200}$""": "licenses: sees the 200 characters that the pattern for tags takes",
    r"(?:\\\\\s{0,9})+\Z": "tex: sees the last 200 characters of a formula",
}


def modules() -> Iterator[Any]:
    for package in (pipeline, tokenizer):
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            yield importlib.import_module(found.name)


def within(value: object) -> Iterator[re.Pattern[Any]]:
    """The patterns in a value of a module: itself, or in containers and dataclasses."""
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from (*within(key), *within(item))
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from within(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from within(getattr(value, field.name))


EVERYWHERE = {"sub", "subn", "split", "findall", "finditer"}


def kept(tree: ast.Module, module: Any) -> Iterator[tuple[str, re.Pattern[Any], str]]:
    """Patterns that a module keeps: the name, the pattern, and how it is applied. One with a name of its own is applied as its module does
    it; those in containers are searched for."""
    uses: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            uses.setdefault(node.value.id, set()).add(node.attr)
    for name, value in vars(module).items():
        for pattern in within(value):
            used = uses.get(name, set()) if pattern is value else {"search"}
            yield (
                name,
                pattern,
                "finditer" if used & EVERYWHERE else "search" if "search" in used or not used & {"match", "fullmatch"} else "match",
            )


def inline(tree: ast.Module) -> Iterator[tuple[str, re.Pattern[Any], str]]:
    """Patterns that are written where they are applied: `re.sub("...", ...)`."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=how), args=[ast.Constant(value=str() | bytes() as source), *_]):
                flags = 0
                for each in ast.walk(node):
                    match each:
                        case ast.Attribute(value=ast.Name(id="re"), attr="IGNORECASE" | "MULTILINE" | "DOTALL" as flag):
                            flags |= getattr(re, flag)
                if how != "compile":
                    yield f"line {node.lineno}", re.compile(source, flags), "finditer" if how in EVERYWHERE else how


def patterns() -> dict[tuple[re.Pattern[Any], str], str]:
    """Every pattern and how it is applied (`match`, `fullmatch`, `search`, or `finditer` for all that replaces or lists); where it stands."""
    found: dict[tuple[re.Pattern[Any], str], str] = {}
    for module in modules():
        tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
        for name, pattern, how in (*kept(tree, module), *inline(tree)):
            found.setdefault((pattern, how), f"{module.__name__}: {name}")
    return found


class Example:
    """A text that follows the expression's first alternatives; for each repetition what stands before it, and what it repeats."""

    def __init__(self, pattern: re.Pattern[Any]) -> None:
        source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
        self.repeats: dict[tuple[str, str], None] = {}
        self.groups: dict[int, str] = {}
        flags = pattern.flags & (re.IGNORECASE | re.MULTILINE | re.DOTALL | re.VERBOSE)
        tree = parser.parse(source, flags)
        self.texts = [self.follow(branch, "") for branch in self.branches(list(tree))]

    def branches(self, items: list[Any]) -> list[list[Any]]:
        """The alternatives of an expression that is nothing but alternatives, else itself."""
        if len(items) == 1 and items[0][0] is op.BRANCH:
            return [list(branch) for branch in items[0][1][1]]
        return [items]

    def follow(self, items: Any, text: str) -> str:
        for kind, value in items:
            if kind is op.LITERAL:
                text += chr(value)
            elif kind is op.NOT_LITERAL:
                text += "a" if value != ord("a") else "b"
            elif kind is op.ANY:
                text += "a"
            elif kind is op.IN:
                text += self.member(value)
            elif kind is op.BRANCH:
                ends = [self.follow(branch, text) for branch in value[1]]
                text = ends[0]
            elif kind is op.SUBPATTERN:
                end = self.follow(value[3], text)
                self.groups[value[0]], text = end[len(text) :], end
            elif kind is op.ATOMIC_GROUP:
                text = self.follow(value, text)
            elif kind is op.GROUPREF:
                text += self.groups[value]
            elif kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
                least, most, body = value
                unit = self.follow(body, text)[len(text) :]
                if most > 1 and unit:
                    self.repeats[text, unit] = None
                text += unit * max(1, least)
            else:
                assert kind in (op.AT, op.ASSERT, op.ASSERT_NOT), kind
        return text

    def member(self, items: Any) -> str:
        """A character of a class."""
        if items[0][0] is op.NEGATE:
            pattern = re.compile("".join(re.escape(chr(v)) if k is op.LITERAL else "" for k, v in items[1:]).join(["[^", "\0]"]))
            return next(character for character in "a b-1.\n<" if pattern.match(character))
        kind, value = items[0]
        if kind is op.LITERAL:
            return chr(value)
        if kind is op.RANGE:
            return chr(value[0])
        return {"DIGIT": "1", "SPACE": " ", "WORD": "a", "NOT_SPACE": "a", "NOT_DIGIT": "a", "NOT_WORD": "-"}[
            str(value).removeprefix("CATEGORY_")
        ]


def shapes(pattern: re.Pattern[Any]) -> dict[Shape, None]:
    """Prefix, what is repeated, suffix."""
    example = Example(pattern)
    found: dict[Shape, None] = {}
    for prefix in dict.fromkeys(["", *(before for before, _ in example.repeats)]):
        for unit in dict.fromkeys([*ALPHABET, *(unit for _, unit in example.repeats)]):
            for suffix in SUFFIXES:
                found[prefix, unit, suffix] = None
    for unit in dict.fromkeys(
        [*(before + unit for before, unit in example.repeats), *(before for before, _ in example.repeats), *example.texts]
    ):
        for suffix in SUFFIXES:
            if unit:
                found["", unit, suffix] = None
                found["", unit + "\n", suffix] = None
                found["", unit + " ", suffix] = None
    return found


def growth(matcher: Matcher, how: str, shape: Shape, encoded: bool, sizes: Sequence[int]) -> str | None:
    """In words, where the steps grow faster than the text; None where they do not.

    Steps are counted for n, 2 n and 4 n repetitions. What grows in proportion adds exactly twice as many in the second doubling as in
    the first; a square four times as many. A bound within a pattern is a square to texts that are shorter than it: longer ones are
    looked at until one shows no such growth.
    """
    prefix, unit, suffix = shape
    for size in sizes:
        counts = []
        for doubling in (1, 2, 4):
            text = prefix + unit * (doubling * max(1, size // len(unit))) + suffix
            matcher.steps, matcher.limit = 0, MANY
            try:
                matcher.apply(how, text.encode() if encoded else text)
            except TooManySteps:
                return f"{shape!r}: over {MANY} steps for {len(text)} characters"
            counts.append(matcher.steps)
        if counts[2] - counts[1] <= MOST * (counts[1] - counts[0]) + FEW:
            return None
    return f"{shape!r}: {counts} steps for one, two and four times {size} characters"


def excess(pattern: re.Pattern[Any], how: str, sizes: Sequence[int] = SIZES) -> str | None:
    """The first shape for which the pattern's steps grow faster than the text; None where there is none."""
    matcher = Matcher(pattern)
    found = (growth(matcher, how, shape, isinstance(pattern.pattern, bytes), sizes) for shape in shapes(pattern))
    return next((words for words in found if words is not None), None)


@pytest.mark.slow
def test_no_pattern_takes_more_steps_than_in_proportion_to_the_text() -> None:
    found = patterns()
    assert len(found) > 400
    assert set(BOUNDED) <= {pattern.pattern for pattern, _ in found}
    looked_at = {(pattern, how): place for (pattern, how), place in found.items() if pattern.pattern not in BOUNDED}
    bad = [
        f"{place}, {pattern.pattern!r}, {how}: {words}" for (pattern, how), place in looked_at.items() if (words := excess(pattern, how))
    ]
    assert bad == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pattern", "how"),
    [
        (r" {0,3}(#{1,6})(?:[ \t]+(.*?))?[ \t]*\Z", "match"),
        (r"(={1,6})[ \t]*(.*?)[ \t]*(={1,6})[ \t]*\Z", "match"),
        (r"[\d.]+$", "finditer"),
        (r"<!--.*?-->", "finditer"),
        (r"^from[ \t]+(\.*[\w.]*)[ \t]+import", "search"),
        (r"\s+$", "search"),
        (rb"(?:a|b)*c", "search"),
    ],
)
def test_the_shapes_tell_a_pattern_that_takes_quadratic_time(pattern: str | bytes, how: str) -> None:
    assert excess(re.compile(pattern), how, SIZES[:2])


@pytest.mark.parametrize(
    "shape",
    [
        ("# a", " ", "b"),
        ("# ", "#", "b"),
        (" " * 3 + "#", "\t", ""),
        ("|-", " ", "b"),
        ("-|", "- ", "b"),
        ("[", "\\", "b"),
        ("<a", " x", "b"),
    ],
)
@pytest.mark.parametrize("strip", [False, True])
def test_lines_of_markdown_take_steps_in_proportion_to_their_length(shape: Shape, strip: bool) -> None:
    prefix, unit, suffix = shape
    in_proportion(lambda text: markup._markdown(text, strip), prefix + unit * (64_000 // len(unit)) + suffix)
    in_proportion(
        lambda text: markup._markdown(text, strip), prefix + unit * (16_000 // len(unit)) + suffix
    )  # of which the end is counted, too


@pytest.mark.parametrize(
    "shape",
    [
        (".. a::", " ", "b"),
        (".. ", " ", "b"),
        ("a\n", "=", "b"),
        ("=", " ", "b"),
        (":a:`", " ", "b"),
        ("`a", " ", "b"),
        ("   :", "a ", "b"),
    ],
)
@pytest.mark.parametrize("strip", [False, True])
def test_lines_of_rst_take_steps_in_proportion_to_their_length(shape: Shape, strip: bool) -> None:
    prefix, unit, suffix = shape
    in_proportion(lambda text: markup._rst(text, strip), prefix + unit * (64_000 // len(unit)) + suffix)
    in_proportion(lambda text: markup._rst(text, strip), prefix + unit * (16_000 // len(unit)) + suffix)  # of which the end is counted, too


@pytest.mark.parametrize(
    "shape",
    [
        ("= ", " ", "a ="),
        ("=", "=", "a="),
        ("", "== " + " " * 490 + "a==\n", ""),
        ("(", " ", "b"),
        ("#abcd", " ", "b"),
        ("[[a", " ", "|]]"),
        ("{|", " ", "b"),
    ],
)
def test_lines_of_wikitext_take_steps_in_proportion_to_their_length(shape: Shape) -> None:
    prefix, unit, suffix = shape
    in_proportion(wikitext.to_text, prefix + unit * (64_000 // len(unit)) + suffix)
    in_proportion(wikitext.to_text, prefix + unit * (16_000 // len(unit)) + suffix)  # of which the end is counted, too
