"""The form in which texts are compared: what is written differently and reads the same becomes one.

That is Unicode's compatibility composition (NFKC: letters of full width, ligatures, circled numbers, accents as characters of their own),
and beyond it one quote of each kind, one hyphen, one space, and nothing for what nobody sees (soft hyphens, zero-width spaces, selectors of
variants). Case and accents stay: each consumer has its own case, and accents tell words apart. Two vowels, Thai's and Lao's sara am, stay
one character and become one, where NFKC has two: so texts are written, and the table of `kernel.boundaries` knows them so.

Only hashes are made of folded text; what is stored, shown and cut is the text itself. `Folded.original` traces places back.

ASCII is its own fold, and nearly all other text is as well: a look at each character tells, and only *units*, a character and all that
joins the one before it, are written anew. Of a run of characters that join, 32 at a time are one unit (UAX #15's Stream-Safe Text Format
allows as many), so that work is linear in any text.
"""

from __future__ import annotations

import sys
import unicodedata
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernel import characters as char
from kernel.compile import kernel, leaf
from kernel.table import Table, slot_of, table_of
from kernel.utf8 import Bytes, Offsets, decode, is_inside, utf8_view

U32 = npt.NDArray[np.uint32]
I32 = npt.NDArray[np.int32]

MOST = 32  # characters of a unit
LONGEST = 18  # characters that one character becomes, at the most: an Arabic ligature of a whole phrase
BLOCK = 32  # bytes that are looked at together

# What is not in NFKC. Unicode's Quotation_Mark (PropList), apostrophes, primes, and the acute accent that is typed for one.
_SINGLE = "\u00b4\u02b9\u02bb\u02bc\u2018\u2019\u201a\u201b\u2032\u2035\u2039\u203a\u055a\u300c\u300d\u300e\u300f"
_DOUBLE = "\u00ab\u00bb\u02ba\u201c\u201d\u201e\u201f\u2e42\u301d\u301e\u301f"
_UNSEEN = "\u00ad\u200b\u2060\ufeff\u180b\u180c\u180d\u180f"  # and the two blocks of variation selectors
_SPACES = "\u0085\u1680\u2028\u2029"  # those that NFKC leaves
_MINUS, _BULLET = "\u2212", "\u2043"
_SARA_AM = {"\u0e33": "\u0e4d\u0e32", "\u0eb3": "\u0ecd\u0eb2"}

CHANGES, JOINS, COMPOSES = 1, 2, 4  # what a character does: not its own fold; belongs to the one before; may be one character with it

_L, _V, _T, _S = 0x1100, 0x1161, 0x11A7, 0xAC00  # Hangul's letters and syllables (The Unicode Standard, section 3.12)
_LETTERS = (19, 21, 28)


class Forms(NamedTuple):
    """What is known of characters: `flags` uint8 and `order` uint8 (canonical combining classes), both (0x110000,);
    `where` int32 (0x110000,): the place in `parts` uint32 at which a character's fold stands, its length first, or -1 for itself;
    `pairs`: of two characters as `first << 21 | second` the one that they compose.
    """

    flags: Bytes
    order: Bytes
    where: I32
    parts: U32
    pairs: Table


def _own() -> dict[str, str]:
    """The folds that are not in NFKC."""
    dashes = [chr(code) for code in range(0x80, 0x20000) if unicodedata.category(chr(code)) == "Pd"]
    selectors = [chr(code) for code in (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))]
    own = dict.fromkeys(_SINGLE, "'") | dict.fromkeys(_DOUBLE, '"') | dict.fromkeys((*dashes, _MINUS, _BULLET), "-")
    own |= dict.fromkeys(_SPACES, " ") | dict.fromkeys((*_UNSEEN, *selectors), "")
    return own | {whole: whole for whole in _SARA_AM}


@cache
def forms() -> Forms:
    """`Forms` from the running Python's Unicode database."""
    own = _own()
    flags, order = np.zeros(0x110000, np.uint8), np.zeros(0x110000, np.uint8)
    where, parts = np.full(0x110000, -1, np.int32), [np.uint32(0)]
    pairs = {(parts_of[0], parts_of[1]): whole for whole, parts_of in _SARA_AM.items()}
    seconds = set()
    codes = [*range(0x80, 0xD800), *range(0xE000, 0x20000), *range(0x2F800, 0x2FA20), *range(0xE0100, 0xE01F0)]
    for code in codes:
        letter = chr(code)
        order[code] = unicodedata.combining(letter)
        if _S <= code < _S + 11172:  # of Hangul: composed as it is
            continue
        canonical = unicodedata.decomposition(letter).split(" ")
        if len(canonical) == 2 and not canonical[0].startswith("<") and unicodedata.normalize("NFC", letter) == letter:
            first, second = (chr(int(part, 16)) for part in canonical)
            pairs[first, second] = letter
            seconds.add(ord(second))
        folded = own[letter] if letter in own else "".join(own.get(part, part) for part in unicodedata.normalize("NFKD", letter))
        if folded != letter:
            where[code] = len(parts)
            parts += [np.uint32(len(folded)), *(np.uint32(ord(part)) for part in folded)]
        if folded != letter and unicodedata.normalize("NFC", folded) != letter:
            flags[code] |= CHANGES
    seconds |= {*range(_V, _V + _LETTERS[1]), *range(_T + 1, _T + _LETTERS[2])}
    for code in seconds:
        flags[code] |= COMPOSES
    for code in codes:
        first = int(parts[where[code] + 1]) if where[code] >= 0 and parts[where[code]] else code
        if order[first] or flags[first] & COMPOSES or (where[code] >= 0 and not parts[where[code]]):
            flags[code] |= JOINS
    for nikhahit, _ in _SARA_AM.values():
        flags[ord(nikhahit)] |= CHANGES
    keys = np.array([ord(first) << 21 | ord(second) for first, second in pairs], np.uint64)
    table = table_of(keys, np.array([ord(whole) for whole in pairs.values()], np.int32), room=4)
    return Forms(flags, order, where, np.array(parts, np.uint32), table)


@leaf
def _composed(first: int, second: int, pairs: Table) -> int:  # pragma: no cover - compiled
    """The character that two compose, or 0."""
    if _L <= first < _L + 19 and _V <= second < _V + 21:
        return _S + ((first - _L) * 21 + (second - _V)) * 28
    if _S <= first < _S + 11172 and (first - _S) % 28 == 0 and _T < second < _T + 28:
        return first + (second - _T)
    key = np.uint64(first) << np.uint64(21) | np.uint64(second)
    slot = slot_of(pairs.keys, key)
    return int(pairs.values[slot]) if pairs.keys[slot] == key else 0


@leaf
def _encode(code: int, out: Bytes, size: int) -> int:  # pragma: no cover - compiled
    """Write a code point as UTF-8; returns the size then."""
    if code < 0x80:
        out[size] = code
        return size + 1
    if code < 0x800:
        out[size], out[size + 1] = 0xC0 | code >> 6, 0x80 | code & 0x3F
        return size + 2
    if code < 0x10000:
        out[size], out[size + 1], out[size + 2] = 0xE0 | code >> 12, 0x80 | code >> 6 & 0x3F, 0x80 | code & 0x3F
        return size + 3
    out[size], out[size + 1] = 0xF0 | code >> 18, 0x80 | code >> 12 & 0x3F
    out[size + 2], out[size + 3] = 0x80 | code >> 6 & 0x3F, 0x80 | code & 0x3F
    return size + 4


@leaf
def _unit_end(data: Bytes, at: int, end: int, forms: Forms) -> int:  # pragma: no cover - compiled
    """Where the unit ends that begins at a byte: after all that joins its first character."""
    before, at = decode(data, at)
    for _ in range(MOST - 1):
        if at >= end:
            break
        code, following = decode(data, at)
        is_vowel = before == 0x0E4D and code == 0x0E32 or before == 0x0ECD and code == 0x0EB2  # the halves of sara am
        if not forms.flags[code] & JOINS and not is_vowel:
            break
        before, at = code, following
    return at


@leaf
def _fold_unit(data: Bytes, at: int, end: int, forms: Forms, codes: U32, out: Bytes, size: int) -> int:  # pragma: no cover - compiled
    """Write the fold of a unit: decomposed, in canonical order, and composed (UAX #15); returns the size then."""
    order, count = forms.order, 0
    while at < end:
        code, at = decode(data, at)
        place = forms.where[code]
        for part in range(1 if place < 0 else forms.parts[place]):
            new = np.uint32(code) if place < 0 else forms.parts[place + 1 + part]
            to = count
            while to and order[new] and order[codes[to - 1]] > order[new]:
                codes[to] = codes[to - 1]
                to -= 1
            codes[to] = new
            count += 1
    kept, starter, last = 0, -1, 0  # `last`: the class of what stands between the starter and here
    for index in range(count):
        code = codes[index]
        own = np.int64(order[code])
        if starter >= 0 and (last < own or last == 0):
            whole = _composed(codes[starter], code, forms.pairs)
            if whole:
                codes[starter] = whole
                continue
        if own == 0:
            starter = kept
        last = own
        codes[kept] = code
        kept += 1
    for index in range(kept):
        size = _encode(codes[index], out, size)
    return size


@leaf
def _next_unit(data: Bytes, at: int, end: int, forms: Forms) -> tuple[int, int]:  # pragma: no cover - compiled
    """The next unit, at a byte or after it, that may not be its own fold: where it begins and ends; `end` twice where there is none."""
    flags, order, pairs = forms.flags, forms.order, forms.pairs
    begin, before, last = at, np.int64(0), 0  # the unit that goes on; the character before, and its class
    while at < end:
        if data[at] < char.ASCII_END:
            while at + BLOCK <= end:
                some = np.uint8(0)
                for byte in range(BLOCK):
                    some |= data[at + byte]
                if some >= char.ASCII_END:
                    break
                at += BLOCK
            while at < end and data[at] < char.ASCII_END:
                at += 1
            begin, last = at - 1, 0
            before = np.int64(data[begin])
            continue
        code, following = decode(data, at)
        flag = flags[code]
        if flag == 0:
            begin, last = at, 0
        else:
            if not flag & JOINS:
                begin = at
            own = np.int64(order[code])
            is_out_of_order = own and own < last
            composes = flag & COMPOSES and (own or _composed(before, code, pairs))
            if flag & CHANGES or is_out_of_order or composes:
                return begin, _unit_end(data, begin, end, forms)
            last = own
        before, at = code, following
    return end, end


@kernel
def _fold(offsets: Offsets, data: Bytes, forms: Forms, traced: bool) -> tuple[Offsets, Bytes, Offsets, I32]:  # pragma: no cover - compiled
    """See `Folded`; `traced`: whether units are listed."""
    documents = len(offsets) - 1
    ends, units_of = np.zeros(documents + 1, np.int64), np.zeros(documents + 1, np.int64)
    out = np.empty(offsets[documents] - offsets[0] + MOST * LONGEST * 4, np.uint8)
    units, count, size = np.empty((256 if traced else 1, 4), np.int32), 0, 0
    codes = np.empty(MOST * LONGEST, np.uint32)
    for document in range(documents):
        start, end, origin = offsets[document], offsets[document + 1], size
        at = start
        while at < end:
            begin, finish = _next_unit(data, at, end, forms)
            room = size + (begin - at) + (end - finish) + MOST * LONGEST * 4
            if room > len(out):
                larger = np.empty(room + len(out) // 2, np.uint8)
                larger[:size] = out[:size]
                out = larger
            out[size : size + begin - at] = data[at:begin]
            size += begin - at
            if begin < end:
                first = size
                size = _fold_unit(data, begin, finish, forms, codes, out, size)
                if traced:
                    if count == len(units):
                        more = np.empty((2 * count, 4), np.int32)
                        more[:count] = units
                        units = more
                    units[count, 0], units[count, 1] = first - origin, size - origin
                    units[count, 2], units[count, 3] = begin - start, finish - start
                    count += 1
            at = finish
        ends[document + 1], units_of[document + 1] = size, count
    return ends, out[:size], units_of, units[:count].copy()


@kernel
def _original(units_of: Offsets, units: I32, document: Offsets, at: Offsets, is_end: bool, out: Offsets) -> None:  # pragma: no cover - compiled
    for index in range(len(document)):
        place = at[index]
        low = first = units_of[document[index]]
        high = units_of[document[index] + 1]
        while low < high:  # the first unit that begins after the place (at it, of an end)
            middle = (low + high) // 2
            if units[middle, 0] < place or (units[middle, 0] == place and not is_end):
                low = middle + 1
            else:
                high = middle
        if low == first:
            out[index] = place
        elif place > units[low - 1, 1] or (place == units[low - 1, 1] and not is_end):
            out[index] = place - units[low - 1, 1] + units[low - 1, 3]
        else:
            out[index] = units[low - 1, 3] if is_end else units[low - 1, 2]


class Folded(NamedTuple):
    """Texts in the form in which they are compared, as kernels take them: document `i` is `data[offsets[i]:offsets[i + 1]]`.

    `units` int32 (units, 4): of what was written anew the bytes in the fold and in the text, beginning and end, each counted from the
    document's first byte; those of document `i` are `units[units_of[i]:units_of[i + 1]]`. Empty where they were not asked for.
    """

    offsets: Offsets
    data: Bytes
    units_of: Offsets
    units: I32

    def original(self, document: npt.NDArray[np.integer], at: Offsets, *, is_end: bool = False) -> Offsets:
        """Bytes in the texts, for bytes `at` in their folds, of documents `document`: int64, as `at`. Texts were folded with `traced`.

        A place within a unit is where the unit begins, or (`is_end`) ends. Beside what was left out, beginnings lie after it.
        """
        out = np.empty(len(at), np.int64)
        _original(self.units_of, self.units, document.astype(np.int64), at, is_end, out)
        return out


def fold(texts: pa.Array | pa.ChunkedArray, *, traced: bool = False) -> Folded:
    """The folds of a string column; nulls read as empty. `traced`: so that `Folded.original` can be asked.

    Canonically or compatibly equivalent texts have equal folds, but where more than 31 characters in a row join one.
    """
    offsets, data = utf8_view(texts)
    return Folded(*_fold(offsets, data, forms(), traced))


def fold_text(text: str) -> str:
    """The fold of one text."""
    if text.isascii():
        return text
    data = np.frombuffer(text.encode(), np.uint8)
    return _fold(np.array([0, len(data)]), data, forms(), False)[1].tobytes().decode()
