"""Templates that stand for words of the sentence, as `{{lang|fr|mot}}` and `{{convert|5|km}}`.

Which do, and how, is a table (`data/wikitext-templates.tsv`), by their names in the wikis' languages. Of a template that is not in it
nothing is known: within a sentence its arguments that are words are shown, apart from each other; elsewhere it is left out (an infobox, a
bar of links). Its name is counted in both cases.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pipeline.readers.data import rows
from pipeline.readers.wikitext_ways import WAYS, Arguments, money, prefixed

Way = Callable[[Arguments], str]


def _argument(number: int) -> Way:
    """The way that shows one argument: that by its number (negative: from the last), or the last."""

    def show(given: Arguments) -> str:
        values = given.values
        if not values:
            return given.get("text", "texte", "content", "quote")
        index = number - 1 if number > 0 else len(values) + number
        return values[index] if 0 <= index < len(values) else values[-1]

    return show


def _way(written: str) -> Way:
    """The way that the table names."""
    kind, colon, rest = written.partition(":")
    if written.lstrip("-").isdecimal():
        return _argument(int(written))
    if written[0] == "=":
        return lambda given, text=written[1:]: text  # type: ignore[misc]
    if colon and kind in ("prefix", "suffix"):
        return prefixed(rest) if kind == "prefix" else prefixed("", rest)
    return money(rest) if kind == "money" else WAYS[written]


_KNOWN: dict[str, Way] = {name: way for written, *names in rows("wikitext-templates.tsv") for way in [_way(written)] for name in names}

# Functions of the parser, and variables, whose words are after a colon.
_FUNCTIONS: dict[str, Callable[[str], str]] = {
    "formatnum": str, "lc": str.lower, "uc": str.upper, "lcfirst": lambda text: text[:1].lower() + text[1:],
    "ucfirst": lambda text: text[:1].upper() + text[1:], "nowrap": str,
}  # fmt: skip
_NO_WORDS = frozenset(
    {"defaultsort", "displaytitle", "sortierung", "clé de tri", "ordenar", "int", "#tag", "#invoke", "anchorencode", "ns"}
)
# Names that are their words: `{{1/2}}`, `{{XIXe siècle}}`, `{{Ier siècle av. J.-C.}}`, `{{1er}}`, `{{IVe}}`.
_SAYS_ITSELF = re.compile(
    r"[0-9]{1,4}/[0-9]{1,4}|[0-9]{1,4}(?:er|re|e|nd|nde|d)|[ivxlc]{1,8}(?:er|re|e)(?: (?:siècle|millénaire)(?: av\. j\.-c\.)?)?",
    re.IGNORECASE,
)
_LANGUAGE_OF = re.compile(r"lang-[a-z]|ipa[-c]|[a-z]{2,3}s\Z")  # `{{lang-fr|mot}}`, `{{IPA-de|..}}`, German's `{{enS|word}}`
_NO_WORD = re.compile(r"\s*(?:https?:|.{0,200}\.(?:jpe?g|png|svg|gif|ogg|webm|tiff?)\s*\Z)", re.IGNORECASE | re.DOTALL)
_LONGEST_NAME = 60  # that is counted by itself


def to_words(parts: list[str], inside: bool, unknown: dict[str, int]) -> str:
    """What a template shows: its name and arguments, as they stand between its bars. `inside`: words stand beside it on its line.

    Those that are not known are counted in `unknown`, by name.
    """
    written = " ".join(parts[0].replace("_", " ").split())
    name = written.lower()
    head, colon, _rest = name.partition(":")
    if colon and (function := _FUNCTIONS.get(head)) is not None:
        return function(parts[0].partition(":")[2].strip())
    if colon and head == "#if":
        chosen = parts[1:2] if parts[0].partition(":")[2].strip() else parts[2:3]
        return "".join(chosen).strip()
    way = _KNOWN.get(name)
    if way is not None:
        given = _arguments(written, parts[1:])
        return _with_meaning(way(given), given)
    if _SAYS_ITSELF.fullmatch(name):
        return written
    if len(parts) > 1 and _LANGUAGE_OF.match(name):
        given = _arguments(written, parts[1:])
        return _with_meaning(_argument(1)(given), given)
    if colon and head in _NO_WORDS:
        return ""
    counted = f"{{{{{(head + ':' if colon else written)[:_LONGEST_NAME]}}}}}" if written.isprintable() else "{{?}}"
    unknown[counted] = unknown.get(counted, 0) + 1
    if colon or not inside or any("\n" in part for part in parts):
        return ""
    return " ".join(value for value in _arguments(written, parts[1:]).values if _is_words(value))


def _is_words(value: str) -> bool:
    return any(letter.isalnum() or letter == "\0" for letter in value) and not _NO_WORD.match(value)


def _with_meaning(text: str, given: Arguments) -> str:
    """A foreign word with what its template says that it means."""
    meaning = given.named.get("lit", "") if text and "lang" in given.name.lower() else ""
    return f"{text}, lit. '{meaning}'" if meaning else text


def _arguments(name: str, parts: list[str]) -> Arguments:
    """The arguments in their order, with those that are numbered by name in their places."""
    named: dict[str, str] = {}
    values: list[str] = []
    for part in parts:
        key, equals, value = part.partition("=")
        key = key.strip()
        if (
            equals
            and len(key) < 30
            and "<" not in key
            and "\0" not in key
            and key.replace(" ", "").replace("-", "").replace("_", "").isalnum()
        ):
            named[key] = value.strip()
        else:
            values.append(part.strip())
    for number in range(1, 10):
        if str(number) in named:
            values[number - 1 : number] = [named[str(number)]]
    while values and not values[-1]:
        values.pop()
    return Arguments(name, values, named)
