"""Which runs of digits are telephone numbers.

Dolma masks any ten digits after a space, which are mostly identifiers. Here a number has an international prefix (`+`, a country code that
is assigned, as many digits as its numbers have), or is written as in North America with valid codes and more than spaces between them, or
follows a word that says what it is: `Tel.`, `Fax:`, 电话, тел. and their kin in the languages that are most used on the web
(`data/telephone-words.tsv`). What follows such a word must look like a number for all that: pH values, ranges of years, amounts and
decimals do not. A word that means other things too (`cell`, `mobile`, `handy`) needs a mark after it or a number with a prefix.

Digits may be full-width, Arabic, Devanagari or Bengali; spaces may be of any width; hyphens and brackets, too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from pipeline.ingest.data import rows

_MOST = 15  # digits of a number: E.164
_WHOLE = 7  # digits that are a number; no dialling code has as many
_BEFORE, _AFTER = 96, 8  # bytes around a run of digits that are looked at

# Digits and marks of other scripts, one character for one.
PLAIN: dict[int, str] = dict.fromkeys(map(ord, "‐‑‒–—―−－"), "-") | {ord(a): b for a, b in zip("（）＋．／　", "()+./ ", strict=True)}
PLAIN |= dict.fromkeys((0xA0, *range(0x2000, 0x200C), 0x202F), " ")
PLAIN |= {zero + digit: str(digit) for zero in (0x660, 0x6F0, 0x966, 0x9E6, 0xFF10) for digit in range(10)}

_SPACELESS = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI")  # scripts in which a word need not begin at a boundary


def _words(kind: str, spaceless: bool) -> list[str]:
    """The words of a kind, longest first, of scripts without spaces or of the others."""
    words = [word for word, what in rows("telephone-words.tsv") if what == kind]
    return sorted((word for word in words if unicodedata.name(word[0]).startswith(_SPACELESS) == spaceless), key=len, reverse=True)


# What may stand between a word and the number, and says that this is what it names: marks, and verbs.
_MARKS = " \t\u00a0:：ঃ.#=\"'«»>*|-"
_VERBS = ("is", "are", "at", "on", "unter", "an", "au", "al", "le", "ao", "ist", "lautet", "est", "es", "é", "是", "为", "為", "は")
_NAMED_BY = {kind: {spaceless: tuple(_words(kind, spaceless)) for spaceless in (True, False)} for kind in ("name", "end", "weak", "number")}
_TAILS = (*_VERBS, ")", "]", *(word for words in _NAMED_BY.values() for each in words.values() for word in each))
_MARK = re.compile(r"[:：ঃ.#=\"'|]")
_BRACKET = re.compile(r"[(（\[][^()（）\[\]0-9]{1,20}[)）\]]\Z")
_AND = re.compile(r"\s{0,2}(?:[,;、，/|&]|or|and|oder|und|ou|et|o|y|e|и|или|或|和|و)?\s{0,2}", re.IGNORECASE)
_NOT_NAMED = re.compile(
    r"(?i)(?<![^\W_])(?:isbn|issn|doi|pmid|pmcid|order|serial|grant|account|acct|id|case|ticket|model|ref|invoice|strain|atcc|patent|part"
    r"|award|sku|item|article|tracking|policy|batch|lot|docket|bug|issue|cas|accession|catalog|catalogue|cat|contract|reference|form|licen[cs]e)"
    r"(?:[\s.#:-]{0,3}(?:number|numbers|no|nos|nr|num|code|id|№))?[\s.#:=(-]{0,4}$"
)

# Matched from beginnings that a look-behind fixes, in a run of digits and separators: linear.
_INTERNATIONAL = re.compile(r"(?<![0-9A-Za-z_+])\+ ?(?=[1-9])[0-9 .()/-]{6,26}(?<=[0-9])(?![0-9])")
_AMERICAN = re.compile(
    r"(?<![0-9A-Za-z_.+/:=#-])(?:1[ ./-])?(?:\([2-9][0-9]{2}\)[ ./-]?[2-9][0-9]{2}[ ./-]|[2-9][0-9]{2}[ ./-][2-9][0-9]{2}[.-]"
    r"|[2-9][0-9]{2}[./-][2-9][0-9]{2} (?!1[5-9]|20))[0-9]{4}(?![0-9A-Za-z_/-]|\.[0-9])"  # no year after pages
)
_NAMED = re.compile(r"[+(]{0,2}[0-9][0-9 .()/-]{5,30}(?<=[0-9])(?![0-9])")
_JOINED = re.compile(r" ?/ ?(?=[+(0-9])")
_DECIMAL = re.compile(r"[+(-]{0,2}[0-9]{1,4}\.[0-9]{1,6}\)?")
_DECIMAL_END = re.compile(r"\.[0-9]{1,2}(?![0-9])")
_LONG_DECIMAL = re.compile(r"\+ ?[0-9]{1,3}\.[0-9]{3,}")
_YEAR = re.compile(r"(?:1[5-9]|20)[0-9]{2}")
_DATE = re.compile(r"(?<![0-9])(?:[0-9]{1,2}([./-])[0-9]{1,2}\1(?:19|20)[0-9]{2}|(?:19|20)[0-9]{2}([./-])[0-9]{1,2}\2[0-9]{1,2})(?![0-9])")
_AMOUNT = re.compile(r"\s?(?:[%‰$€£¥₹°]|percent|per cent|dollars?|euros?|units?|pieces|Stück|штук|руб)")
# Groups of digits in numbers that need no prefix after a word that means other things, too.
_USUAL = {(10,), (11,), (5, 5), (5, 6), (3, 3, 4), (4, 3, 4), (3, 4, 4), (1, 3, 7), (1, 3, 3, 4), (1, 3, 3, 2, 2)}
_GROUPS = re.compile(r"[0-9]+")
_PARTS = re.compile(r" +|(?<=[0-9])-(?=[0-9])")

# Of each country code how many digits numbers have, the code included.
_CODES = {code: (int(least), int(most)) for code, least, most in rows("country-codes.tsv")}


def _digits(text: str) -> str:
    return "".join(_GROUPS.findall(text))


def _fitted(number: str, most: int) -> str:
    """The number, or of one with more digits than `most` the groups at its beginning that fit."""
    while len(_digits(number)) > most:
        head = number.rstrip("0123456789").rstrip(" .-/()")
        number = head if len(head) < len(number) else ""
    return number


def _is_amount(number: str) -> bool:
    """Whether it is decimals, years, a date, or a number in groups of thousands."""
    parts = [part for part in _PARTS.split(number) if part.strip("-")]
    decimals = sum(1 for part in parts if _DECIMAL.fullmatch(part))
    if decimals >= 2 and 2 * decimals >= len(parts):
        return True
    groups = _GROUPS.findall(number)
    years = len(groups) > 1 and all(_YEAR.fullmatch(group) for group in groups)
    if years or _DATE.search(number) or all(len(group) == 1 for group in groups):
        return True
    thousands = len(groups) > 1 and len(groups[0]) <= 3 and all(len(group) == 3 for group in groups[1:])
    return thousands and (groups[-1] == "000" or groups[1:].count("000") > 1)


def _international(number: str, named: bool) -> str:
    """The part of a number after a plus that is one, or nothing."""
    digits = _digits(number)
    code = next((digits[:size] for size in (1, 2, 3) if digits[:size] in _CODES), "")
    least, most = _CODES.get(code, (0, 0))
    trunk = digits[len(code) : len(code) + 1] == "0"  # the zero that is dialled within the country
    number = _fitted(number, min(_MOST, most + trunk))
    count = len(_digits(number))
    if not code or count < least or _is_amount(number) or (_LONG_DECIMAL.fullmatch(number) and count < 10 and not named):
        return ""
    return number if code != "1" or re.match(r"1[2-9][0-9]{2}[2-9]", digits) else ""


def _national(number: str, weak: bool, marked: bool) -> str:
    """The part of a number after its name that is one, or nothing."""
    number = _fitted(number, _MOST)
    digits, groups = _digits(number), _GROUPS.findall(number)
    if len(digits) < _WHOLE or _is_amount(number):
        return ""
    if len(groups) > 3 and max(map(len, groups)) < 3 and not marked and digits[0] != "0":  # pairs: scores of a match sooner
        return ""
    if not weak or (marked and 8 <= len(digits) <= 12):
        return number
    prefixed = number[0] in "+(0" or tuple(map(len, groups)) in _USUAL
    return number if prefixed and not _DECIMAL_END.search(number) else ""


def _first(numbers: str) -> str:
    """The first of numbers with strokes between them; a stroke after a few digits is that of a dialling code."""
    head = numbers.partition(" /")[0]
    return numbers if len(_digits(head)) < _WHOLE else head.rstrip(" .-/")


def _after_name(text: str, at: int, stop: int, weak: bool, marked: bool) -> Iterator[tuple[int, str]]:
    """The numbers at `at`, of which a word before says that they are numbers, as (place, number): several with a stroke between them."""
    while match := _NAMED.match(text, at, stop):
        number = _international(match[0], True) if match[0][0] == "+" else _national(_first(match[0]), weak, marked)
        if not number or (_AMOUNT.match(text, at + len(number)) and not marked):
            return
        yield at, number
        joined = _JOINED.match(text, at + len(number), stop)
        if not joined:
            return
        at = joined.end()


def _ends_with(text: str, kind: str) -> str:
    """The word of a kind with which a text in small letters ends, or nothing."""
    if kind == "name" and text.endswith(_NAMED_BY["end"][False]):
        return kind
    if text.endswith(_NAMED_BY[kind][True]):
        return next(word for word in _NAMED_BY[kind][True] if text.endswith(word))
    if text.endswith(_NAMED_BY[kind][False]):
        joins = ("-", "/", ".") if kind == "weak" else ()  # quant-ph/0606140, j.cell.2009.01.042
        for word in _NAMED_BY[kind][False]:
            before = text[-len(word) - 1 : -len(word)]
            if text.endswith(word) and (kind == "number" or not before.isalpha()) and before not in joins:
                return word
    return ""


def _name(before: str) -> tuple[str, bool]:
    """What kind of word for telephones stands at the end of a text (`name`, `weak` or nothing), and whether a mark is behind it."""
    text = before.rstrip(_MARKS)
    marked = _MARK.search(before, len(text)) is not None
    if text.endswith("pH"):
        return "", False
    text = unicodedata.normalize("NFKC", text).lower()
    if not text.endswith(_TAILS):
        return "", False
    while text.endswith(_VERBS):
        verb = next(verb for verb in _VERBS if text.endswith(verb))
        if verb.isascii() and not text[: -len(verb)][-1:].isspace():
            break
        text = text[: -len(verb)].rstrip(_MARKS)
    bracket = _BRACKET.search(text)
    text = text[: bracket.start()].rstrip(_MARKS) if bracket else text
    number = _ends_with(text, "number")
    kind = _kind(text) or (_kind(text[: -len(number)].rstrip(_MARKS)) if number else "")
    return kind, marked


def _kind(text: str) -> str:
    if _ends_with(text, "name"):
        return "name"
    return "weak" if _ends_with(text, "weak") else ""


def _numbers(text: str, begin: int, stop: int, follows: bool) -> Iterator[tuple[int, str]]:
    """The numbers in a run of digits and separators, `text[begin:stop]`, as (place, number)."""
    kind, marked = _name(text[:begin])
    if kind or follows:
        for at, number in _after_name(text, begin, stop, kind == "weak", marked or follows):
            yield at, number
            begin = at + len(number)
    for match in _INTERNATIONAL.finditer(text, begin, stop) if "+" in text[begin:stop] else ():
        if (number := _international(match[0], False)) and not _AMOUNT.match(text, match.start() + len(number)):
            yield match.start(), number
    for match in _AMERICAN.finditer(text, begin):
        if match.end() <= stop and not _NOT_NAMED.search(text[max(0, match.start() - 48) : match.start()]):
            yield match.start(), match[0]


def telephones(raw: bytes, begin: int, end: int, last: int) -> Iterator[tuple[int, int]]:
    """The telephone numbers in a run of digits and separators, bytes `begin` to `end`, as (begin, end).

    `last`: where the number before ended, or -1: what follows after an `and` is one, too.
    """
    run = raw[begin:end].decode("utf-8", "ignore")
    before = raw[max(0, begin - _BEFORE) : begin].decode("utf-8", "ignore").rpartition("\n")[2]
    after = raw[end : end + _AFTER].decode("utf-8", "ignore")
    plain = run if run.isascii() else run.translate(PLAIN)
    follows = last >= 0 and begin - last <= 16 and bool(_AND.fullmatch(raw[last:begin].decode("utf-8", "ignore")))
    places = range(len(run) + 1) if run.isascii() else _places(run)
    for at, number in _numbers(before + plain + after, len(before), len(before) + len(run), follows):
        yield begin + places[at - len(before)], begin + places[at - len(before) + len(number)]


def _places(run: str) -> list[int]:
    """The byte at which each character of a run begins, and its end."""
    found = [0]
    for character in run:
        found.append(found[-1] + len(character.encode()))
    return found
