"""Repair of text as it is ingested: what went wrong between the author and us, and nothing that the author meant.

In this order: lone surrogates, line ends, mojibake and HTML entities by ftfy (Speer 2019), control characters, zero-width
characters, trailing spaces, Unicode composition (NFC). ftfy's parts are set as datatrove's `FTFYFormatter` sets them: what
changes the look of sound text (ligatures, character widths, curly quotes) stays off. ftfy is slow, and so looks only at lines
in which a kernel saw something that it could change; the result is the same.

Departures from `ftfy.fix_text`:

- Entities are decoded in a text that has no `<` at all. ftfy decides line by line from the first `<` on, so that one page may be
  decoded in its upper half and not in its lower.
- Work is bounded. ftfy undoes one level of damage a pass, for as long as there is one: a lead character and a megabyte of
  continuations, or `&amp;amp;amp;...`, take as many passes as there are characters. Here a line may take 16 times its length
  (and 4,096 characters) of work, and then stays as it is.

Composition is bounded too: Unicode's reordering of combining marks is quadratic in how many follow each other, so runs of
more than 30 (UAX #15's Stream-Safe Text Format) are left alone, and what stands between them is composed.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Literal, NamedTuple

import ftfy
import numpy as np
from ftfy import fixes
from ftfy.badness import MOJIBAKE_CATEGORIES, is_bad
from ftfy.chardata import CONTROL_CHARS, UTF8_DETECTOR_RE
from pydantic import BaseModel, ConfigDict, Field

from kernel import characters as char
from kernel.compile import kernel
from kernel.utf8 import Bytes, decode


class RepairConfig(BaseModel):
    """How text is repaired as it is written."""

    model_config = ConfigDict(extra="forbid")

    encoding: bool = Field(
        True, description="Undo mojibake (text decoded in a wrong charset), lone C1 controls and terminal escapes, by ftfy."
    )
    entities: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Decode HTML entities that stand in plain text; auto: where the text has no `<` (after ftfy's rule) and "
        "is not read out of markup, whose entities are decoded by its reader.",
    )
    zero_width: bool = Field(
        True,
        description="Remove zero-width spaces, word joiners and soft hyphens; joiners that shape letters stay, and spaces "
        "between words of scripts written without others (Thai, Khmer, Burmese ...).",
    )
    trailing_spaces: bool = Field(True, description="Remove spaces and tabs at the ends of lines.")
    compose: bool = Field(True, description="Write text in Unicode's composed form (NFC).")
    verbatim: list[str] = Field(
        ["code"],
        description="Domains in which every character matters: there only line ends, control characters and lone surrogates "
        "are repaired, whatever else is set.",
    )


class Repaired(NamedTuple):
    """A text, and what was repaired in it, of `KINDS`."""

    text: str
    kinds: tuple[str, ...]


KINDS = (
    "surrogates",
    "line_ends",
    "encoding",
    "entities",
    "controls",
    "zero_width",
    "trailing_spaces",
    "composed",
)
# Of no interest in a document's own record: they change how it is laid out, not what it says.
LAYOUT = frozenset({"line_ends", "trailing_spaces"})

# What a kernel sees in a text, or in a line of it.
_RETURN, _SEPARATOR, _SUSPECT, _AMPERSAND, _CONTROL, _ZERO_WIDTH, _TRAILING, _UNCOMPOSED, _LESS = (1 << bit for bit in range(9))
# Of what is in the text: classes of characters, for the kernel.
_USUAL, _RARE, _C1, _DROPPED, _INVISIBLE, _COMPOSING, _LINE, _MARK = (1 << bit for bit in range(8))

_MARK_RUN = 30
_WORK_FACTOR, _WORK_LEAST = 16, 4096
_SEGMENT = 1_000_000  # ftfy's own max_decode_length: longer lines are looked at in pieces

# Each is one class, or a bounded run of one: linear.
_LONE = re.compile("[\ud800-\udfff]")
_PAIRS = re.compile("[\ud800-\udbff][\udc00-\udfff]")
# C0 and C1 controls but for tab and line feed; DEL; the byte order mark; and where encodings are repaired, what ftfy drops
# too: deprecated formatting characters, interlinear annotations, the object replacement character.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff]")
_ESCAPES = re.compile("\x1b\\[[0-9;]*[a-zA-Z]")
_SOUTHEAST_ASIAN = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaadf"
_ZERO_WIDTHS = re.compile(f"(?<![{_SOUTHEAST_ASIAN}\u200b])\u200b+|[\u2060\u00ad]+")


@cache
def _classes() -> Bytes:
    """For each code point what the kernel must know of it: uint8 (0x110000,)."""
    classes = np.zeros(0x110000, np.uint8)
    usual = {"common", "lower_common", "upper_common", "kaomoji"}
    for name, characters in MOJIBAKE_CATEGORIES.items():
        for code in _members(characters):
            classes[code] |= _USUAL if name in usual else _RARE
    # two that only occur in sequences which ftfy spells out, beside characters of the usual kind
    for character in "°\u0402":
        classes[ord(character)] |= _RARE
    classes[0x80:0xA0] |= _C1
    classes[[code for code in CONTROL_CHARS if code < 0x110000]] |= _DROPPED
    classes[[0x0B, 0x0C, 0xFEFF, *range(0x80, 0xA0)]] |= _DROPPED
    classes[[0x200B, 0x2060, 0xAD]] |= _INVISIBLE
    classes[[0x2028, 0x2029]] |= _LINE
    # a text is composed where no character is one that composition replaces, moves, or joins to the one before
    for code in (*range(0x80, 0xD800), *range(0xE000, 0x20000), *range(0x2F800, 0x2FA20)):
        character = chr(code)
        parts = unicodedata.decomposition(character)
        if unicodedata.combining(character):
            classes[code] |= _MARK | _COMPOSING
        if not unicodedata.is_normalized("NFC", character):
            classes[code] |= _COMPOSING
        if parts and not parts.startswith("<") and len(codes := parts.split()) == 2:
            classes[int(codes[1], 16)] |= _COMPOSING
    classes[0x1161:0x1176] |= _COMPOSING
    classes[0x11A8:0x11C3] |= _COMPOSING
    return classes


def _members(characters: str) -> list[int]:
    """The code points of the inside of a regular expression's class: characters, and ranges with a hyphen."""
    codes: list[int] = []
    at = 0
    while at < len(characters):
        if characters[at + 1 : at + 2] == "-" and at + 2 < len(characters):
            codes.extend(range(ord(characters[at]), ord(characters[at + 2]) + 1))
            at += 3
        else:
            codes.append(ord(characters[at]))
            at += 1
    return codes


@kernel(inline="always")
def _is_ligature(code: int) -> bool:  # pragma: no cover - compiled
    return code == char.CAPITAL_LIGATURE_OE or code == char.SMALL_LIGATURE_OE


@kernel
def _scan(data: Bytes, begin: int, end: int, classes: Bytes) -> int:  # pragma: no cover - compiled
    """What is in the bytes from `begin` to `end`: an or of the bits above.

    SUSPECT is a superset of ftfy's `is_bad`: each alternative of its expression needs a C1 control, or two neighbours from its
    categories of which one is not of the usual kind, or one of the four letters here before a space or a non-letter.
    """
    found, at, previous, last = 0, begin, np.int64(0), np.int64(0)
    while at < end:
        first = data[at]
        if first < char.ASCII_END:
            if first >= char.ZERO and first != char.LESS_THAN and first != char.DELETE:  # letters, digits, most marks
                if previous and _is_ligature(last) and not char.is_letter(first):
                    found |= _SUSPECT
            elif first == char.LINE_FEED:
                if at > begin and (data[at - 1] == char.SPACE or data[at - 1] == char.TAB):
                    found |= _TRAILING
                if previous and _is_ligature(last):
                    found |= _SUSPECT
            elif first == char.CARRIAGE_RETURN:
                found |= _RETURN
            elif first == char.AMPERSAND:
                if at + 1 < end and (data[at + 1] == char.NUMBER_SIGN or data[at + 1] >= char.ZERO):
                    found |= _AMPERSAND
            elif first == char.LESS_THAN:
                found |= _LESS
            elif (first < char.SPACE and first != char.TAB) or first == char.DELETE:
                found |= _CONTROL
            if (
                previous
                and first < char.ZERO
                and (_is_ligature(last) or (first == char.SPACE and (last == char.CAPITAL_A_CIRCUMFLEX or last == char.CAPITAL_A_TILDE)))
            ):
                found |= _SUSPECT
            previous = np.int64(0)
            at += 1
            continue
        code, at = decode(data, at)
        kind = classes[code]
        if kind:
            if kind & _C1:
                found |= _SUSPECT | _CONTROL
            if kind & (_USUAL | _RARE) and previous & (_USUAL | _RARE) and (kind | previous) & _RARE:
                found |= _SUSPECT
            if kind & _DROPPED:
                found |= _CONTROL
            if kind & _INVISIBLE:
                found |= _ZERO_WIDTH
            if kind & _COMPOSING:
                found |= _UNCOMPOSED
            if kind & _LINE:
                found |= _SEPARATOR
        if previous and _is_ligature(last):
            found |= _SUSPECT
        # 256 for a character of no category, so that what follows one of the letters above is still seen to follow it
        previous, last = np.int64(kind) | 256, code
    if end > begin and (data[end - 1] == char.SPACE or data[end - 1] == char.TAB):
        found |= _TRAILING
    return found


@kernel
def _scan_lines(data: Bytes, classes: Bytes, out: Bytes) -> int:  # pragma: no cover - compiled
    """For each line whether ftfy might change it (SUSPECT, AMPERSAND or CONTROL, as bits 1, 2 and 4); returns how many lines."""
    begin, lines = 0, 0
    for at in range(len(data) + 1):
        if at == len(data) or data[at] == char.LINE_FEED:
            found = _scan(data, begin, at, classes)
            out[lines] = (1 if found & _SUSPECT else 0) | (2 if found & _AMPERSAND else 0) | (4 if found & _CONTROL else 0)
            lines += 1
            begin = at + 1
    return lines


@kernel
def _longest_run(data: Bytes, classes: Bytes) -> int:  # pragma: no cover - compiled
    """Most combining marks in a row."""
    longest, run, at = 0, 0, 0
    while at < len(data):
        code, at = decode(data, at)
        run = run + 1 if classes[code] & _MARK else 0
        longest = max(longest, run)
    return longest


# --- ftfy ---------------------------------------------------------------------------------------------------------------

# What undoes whole lines; what undoes parts of a line, and single characters, is done here, under a limit.
_WHOLE = ftfy.TextFixerConfig(decode_inconsistent_utf8=False, fix_c1_controls=False, explain=True)
_LATIN = ("decode", "windows-1252")


class _Work:
    """How many characters may still be looked at."""

    def __init__(self, characters: int) -> None:
        self.left = _WORK_FACTOR * characters + _WORK_LEAST

    def spend(self, characters: int) -> bool:
        self.left -= characters + 1
        return self.left >= 0


def _fix_encoding(text: str, work: _Work) -> str:
    """`ftfy.fix_encoding`: the same steps in the same order, until nothing changes or the work is spent."""
    while work.spend(len(text)) and not text.isascii() and is_bad(text):
        decoded, plan = ftfy.fix_encoding_and_explain(text, _WHOLE)
        whole, steps = decoded, [tuple(step) for step in plan or ()]
        if _LATIN in steps:  # this comes after what undoes parts of a line
            whole = ftfy.apply_plan(text, [(str(action), str(name)) for action, name in steps[: steps.index(_LATIN) - 1]])
        mended = _fix_parts(whole, work) if not whole.isascii() and is_bad(whole) else whole
        if mended == whole:  # nothing more to undo but a wrong Latin-1, or single characters
            mended = decoded if decoded != whole or not is_bad(whole) else fixes.fix_c1_controls(whole)
        if mended == text:
            break
        text = mended
    return text


def _fix_parts(text: str, work: _Work) -> str:
    """`ftfy.fixes.decode_inconsistent_utf8`: mend what looks like mojibake by itself, each part shorter than the text."""

    def mend(match: re.Match[str]) -> str:
        part = match[0]
        return _fix_encoding(part, work) if len(part) < len(text) and is_bad(part) else part

    return UTF8_DETECTOR_RE.sub(mend, text)


def _fix_segment(text: str, encoding: bool, entities: bool, kinds: set[str]) -> str:
    """`ftfy.fix_text_segment` with datatrove's settings: one line, until nothing changes or the work is spent."""
    work = _Work(len(text))
    while work.spend(len(text)):
        before = text
        if entities and "&" in text:
            text = fixes.unescape_html(text)
            if text != before:
                kinds.add("entities")
        if not encoding:
            if max(text, default="") >= "\ud800" and _LONE.search(text):  # from a numeric entity
                text = fixes.fix_surrogates(text)
        else:
            mended = fixes.fix_c1_controls(_fix_encoding(text, work))
            if mended != text:
                kinds.add("encoding")
            text = fixes.remove_terminal_escapes(fixes.fix_surrogates(mended))
            text = fixes.remove_control_chars(text)
        if text == before:
            break
    return text


def fix_text(text: str, *, encoding: bool, entities: bool, kinds: set[str] | None = None) -> str:
    """What `ftfy.fix_text` gives with datatrove's settings and `unescape_html=entities`, within the work that is allowed.

    The text has no lone surrogates. `kinds` gets "encoding" and "entities" where these changed it.
    """
    kinds = set() if kinds is None else kinds
    data = np.frombuffer(text.encode(), np.uint8)
    flags = np.empty(text.count("\n") + 1, np.uint8)
    _scan_lines(data, _classes(), flags)
    wanted = (1 | 4 if encoding else 0) | (2 if entities else 0)
    chosen = np.flatnonzero(flags & wanted)
    if not len(chosen):
        return text
    lines = text.split("\n")
    for index in chosen:
        line = lines[index]
        pieces = [line[at : at + _SEGMENT] for at in range(0, len(line), _SEGMENT)]
        lines[index] = "".join(_fix_segment(piece, encoding, entities, kinds) for piece in pieces)
    return "\n".join(lines)


# --- the whole -----------------------------------------------------------------------------------------------------------


def compose(text: str) -> str:
    """NFC, but for runs of more than 30 combining marks: those stay as they are."""
    data = np.frombuffer(text.encode(), np.uint8)
    classes = _classes()
    if _longest_run(data, classes) <= _MARK_RUN:
        return unicodedata.normalize("NFC", text)
    marks = (classes[np.frombuffer(text.encode("utf-32-le"), np.uint32)] & _MARK) != 0
    edges = np.flatnonzero(np.diff(marks.astype(np.int8), prepend=0, append=0))
    pieces: list[str] = []
    at = 0
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if end - begin > _MARK_RUN:
            pieces += [unicodedata.normalize("NFC", text[at:begin]), text[begin:end]]
            at = end
    return "".join([*pieces, unicodedata.normalize("NFC", text[at:])])


def well_formed(text: str) -> str:
    """The text as UTF-8 can hold it: pairs of surrogates are their character, single ones U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return fixes.fix_surrogates(text)
    return text


def _encoded(text: str) -> Bytes:
    return np.frombuffer(text.encode(), np.uint8)


def repair(text: str, config: RepairConfig, domain: str, *, from_markup: bool = False) -> Repaired:
    """A text repaired as its domain wants it, and what was repaired, in the order of `KINDS`. Time is linear in its length.

    Of a text `from_markup` entities are decoded already: a page about HTML keeps those that it shows, unless `entities` is `always`.
    """
    kinds: set[str] = set()
    verbatim = domain in config.verbatim
    try:
        found = _found(text)
    except UnicodeEncodeError:
        kinds.add("surrogates")
        text = well_formed(text)
        found = _found(text)
    if found & _RETURN or (found & _SEPARATOR and not verbatim):
        kinds.add("line_ends")
        text = _with_line_feeds(text, separators=not verbatim)
        found = _found(text)
    if not verbatim:
        text, found = _mend(text, found, config, kinds, from_markup)
    if found & _CONTROL:
        text = _noted(_CONTROLS.subn("", text), "controls", kinds)
    if not verbatim:
        text = _tidy(text, found, config, kinds)
    return Repaired(text, tuple(kind for kind in KINDS if kind in kinds) if kinds else ())


def _found(text: str) -> int:
    """What a text may need, as flags."""
    data = _encoded(text)
    return int(_scan(data, 0, len(data), _classes()))


def _with_line_feeds(text: str, *, separators: bool) -> str:
    """A text whose lines all end with a line feed; with `separators` Unicode's own ends of lines and paragraphs are such, too."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.replace("\u2028", "\n").replace("\u2029", "\n") if separators else text


def _mend(text: str, found: int, config: RepairConfig, kinds: set[str], from_markup: bool) -> tuple[str, int]:
    """Wrong decodings and entities undone, where there may be any; the text, and what is found in it then."""
    encoding = config.encoding and bool(found & (_SUSPECT | _CONTROL))
    plain = config.entities == "auto" and not found & _LESS and not from_markup
    entities = bool(found & _AMPERSAND) and (config.entities == "always" or plain)
    if not (encoding or entities):
        return text, found
    mended = fix_text(text, encoding=config.encoding, entities=entities, kinds=kinds)
    if mended == text:
        return text, found
    if not kinds & {"encoding", "entities"}:
        kinds.add("controls")
    mended = _with_line_feeds(mended, separators=True)  # decoded from an entity or from mojibake
    return mended, _found(mended)


def _noted(replaced: tuple[str, int], kind: str, kinds: set[str]) -> str:
    """The text of a replacement, and its kind among the others where it was made at least once."""
    text, count = replaced
    if count:
        kinds.add(kind)
    return text


def _tidy(text: str, found: int, config: RepairConfig, kinds: set[str]) -> str:
    """Without what nobody sees: characters of no width, spaces at the ends of lines; and composed."""
    if found & _ZERO_WIDTH and config.zero_width:
        text = _noted(_ZERO_WIDTHS.subn("", text), "zero_width", kinds)
    if config.trailing_spaces and (found & _TRAILING or "controls" in kinds or "zero_width" in kinds):
        stripped = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
        if stripped != text:
            kinds.add("trailing_spaces")
            text = stripped
    if found & _UNCOMPOSED and config.compose:
        composed = compose(text)
        if composed != text:
            kinds.add("composed")
            text = composed
    return text
