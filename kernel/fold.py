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

import unicodedata
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernel import characters as char
from kernel.compile import kernel, leaf
from kernel.table import Table, slot_of, table_of
from kernel.utf8 import LETTER, MARK, NUMBER, UNSPACED, Bytes, Offsets, decode, tables, utf8_view

U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
I32 = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]

MOST = 32  # characters of a unit
LONGEST = 18  # characters that one character becomes, at the most: an Arabic ligature of a whole phrase
_HIGH = np.uint64(0x8080808080808080)  # of eight bytes the bits that ASCII has not

# What is not in NFKC. Unicode's Quotation_Mark (PropList), apostrophes, primes, and the acute accent that is typed for one.
_SINGLE = "\u00b4\u02b9\u02bb\u02bc\u2018\u2019\u201a\u201b\u2032\u2035\u2039\u203a\u055a\u300c\u300d\u300e\u300f"
_DOUBLE = "\u00ab\u00bb\u02ba\u201c\u201d\u201e\u201f\u2e42\u301d\u301e\u301f"
_UNSEEN = "\u00ad\u200b\u2060\ufeff\u180b\u180c\u180d\u180f"  # and the two blocks of variation selectors
_SPACES = "\u0085\u1680\u2028\u2029"  # those that NFKC leaves
_MINUS, _BULLET = "\u2212", "\u2043"
_SARA_AM = {"\u0e33": "\u0e4d\u0e32", "\u0eb3": "\u0ecd\u0eb2"}

IN_WORDS = (LETTER, NUMBER, MARK, UNSPACED)  # classes of characters
CHANGES, JOINS, COMPOSES = 1, 2, 4  # what a character does: not its own fold; belongs to the one before; may be one character with it

_L, _V, _T, _S = 0x1100, 0x1161, 0x11A7, 0xAC00  # Hangul's letters and syllables (The Unicode Standard, section 3.12)


class Forms(NamedTuple):
    """What is known of characters: `flags` uint8 and `order` uint8 (canonical combining classes), both (0x110000,);
    `where` int32 (0x110000,): the place in `parts` uint32 at which a character's fold stands, its length first, or -1 for itself;
    `calm` uint8 (0x110000 >> 6,): 1 for each 64 code points of which none has a flag;
    `pairs`: of two characters as `first << 21 | second` the one that they compose.
    """

    flags: Bytes
    order: Bytes
    where: I32
    parts: U32
    calm: Bytes
    pairs: Table


def _own() -> dict[str, str]:
    """The folds that are not in NFKC."""
    dashes = [chr(code) for code in range(0x80, 0x20000) if unicodedata.category(chr(code)) == "Pd"]
    selectors = [chr(code) for code in (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))]
    own = dict.fromkeys(_SINGLE, "'") | dict.fromkeys(_DOUBLE, '"') | dict.fromkeys((*dashes, _MINUS, _BULLET), "-")
    own |= dict.fromkeys(_SPACES, " ") | dict.fromkeys((*_UNSEEN, *selectors), "")
    return own | {whole: whole for whole in _SARA_AM}


def _calm(flags: Bytes) -> Bytes:
    calm: Bytes = (flags.reshape(-1, 64).max(axis=1) == 0).astype(np.uint8)
    return calm


@cache
def forms(*, words: bool = False) -> Forms:
    """`Forms` from the running Python's Unicode database.

    `words`: for who looks at words alone. Then what stands between words before and after stays as it is: nearly no text is changed.
    """
    if words:
        whole, classes = forms(), tables()[0]
        some = whole.flags.copy()
        for between in np.flatnonzero((some == CHANGES) & ~np.isin(classes, IN_WORDS)).tolist():
            place = int(whole.where[between])
            if place >= 0 and not np.isin(classes[whole.parts[place + 1 : place + 1 + int(whole.parts[place])]], IN_WORDS).any():
                some[between] = 0
        return whole._replace(flags=some, calm=_calm(some))
    flags, order = np.zeros(0x110000, np.uint8), np.zeros(0x110000, np.uint8)
    codes = [*range(0x80, 0xD800), *range(0xE000, 0x20000), *range(0x2F800, 0x2FA20), *range(0xE0100, 0xE01F0)]
    folds, pairs = _folds(codes)
    flags[[ord(second) for _, second in pairs if second not in "".join(_SARA_AM.values())]] |= COMPOSES
    flags[[*range(_V, _V + 21), *range(_T + 1, _T + 28)]] |= COMPOSES
    where, parts = np.full(0x110000, -1, np.int32), [0]
    for code in codes:
        order[code] = unicodedata.combining(chr(code))
    for code in codes:
        folded = folds.get(chr(code), chr(code))
        if folded != chr(code):
            where[code] = len(parts)
            parts += [len(folded), *map(ord, folded)]
            if unicodedata.normalize("NFC", folded) != chr(code):
                flags[code] |= CHANGES
        if not folded or order[ord(folded[0])] or flags[ord(folded[0])] & COMPOSES:
            flags[code] |= JOINS
    for halves in _SARA_AM.values():
        flags[ord(halves[0])] |= CHANGES
    keys = np.array([ord(first) << 21 | ord(second) for first, second in pairs], np.uint64)
    table = table_of(keys, np.array([ord(whole) for whole in pairs.values()], np.int32), room=4)
    return Forms(flags, order, where, np.array(parts, np.uint32), _calm(flags), table)


def _folds(codes: list[int]) -> tuple[dict[str, str], dict[tuple[str, str], str]]:
    """What each of some characters becomes, decomposed, where that is another; and which two compose which one."""
    own = _own()
    folds: dict[str, str] = {}
    pairs = {(halves[0], halves[1]): whole for whole, halves in _SARA_AM.items()}
    for letter in map(chr, codes):
        if _S <= ord(letter) < _S + 11172:  # of Hangul: composed as it is
            continue
        canonical = unicodedata.decomposition(letter).split(" ")
        if len(canonical) == 2 and not canonical[0].startswith("<") and unicodedata.normalize("NFC", letter) == letter:
            pairs[chr(int(canonical[0], 16)), chr(int(canonical[1], 16))] = letter
        decomposed = unicodedata.normalize("NFKD", letter)
        folded = own[letter] if letter in own else "".join([own.get(part, part) for part in decomposed])
        if folded != letter:
            folds[letter] = folded
    return folds, pairs


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
        is_vowel = (before == 0x0E4D and code == 0x0E32) or (before == 0x0ECD and code == 0x0EB2)  # the halves of sara am
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
    kept, starter, last = 0, -1, np.int64(0)  # `last`: the class of what stands between the starter and here
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
def _ascii_end(data: Bytes, words: U64, at: int, end: int) -> Any:  # pragma: no cover - compiled
    """Where a run of ASCII ends; `words` are the same bytes, eight to a number."""
    while at < end and at & 7:
        if data[at] >= char.ASCII_END:
            return at
        at += 1
    word, last = np.uint64(at) >> np.uint64(3), np.uint64(end) >> np.uint64(3)
    one, two, three, four = (
        np.uint64(1),
        np.uint64(2),
        np.uint64(3),
        np.uint64(4),
    )  # no sign: no place from the end
    while word + four <= last and not (words[word] | words[word + one] | words[word + two] | words[word + three]) & _HIGH:
        word += four
    while word < last and not words[word] & _HIGH:
        word += one
    at = max(at, int(np.int64(word)) << 3)
    while at < end and data[at] < char.ASCII_END:
        at += 1
    return at


@leaf
def _joins_its_starter(data: Bytes, begin: int, at: int, code: int, pairs: Table) -> Any:  # pragma: no cover - compiled
    """Whether a character at byte `at` is one character with the one at `begin`, which stands just before."""
    first, following = decode(data, begin)
    return following == at and _composed(first, code, pairs) != 0


@leaf
def _next_unit(data: Bytes, words: U64, at: int, end: int, forms: Forms) -> tuple[int, int]:  # pragma: no cover - compiled
    """The next unit, at a byte or after it, that may not be its own fold: where it begins and ends; `end` twice where there is none."""
    flags, order, calm = forms.flags, forms.order, forms.calm
    begin, last = at, np.int64(0)  # where the unit began that goes on, and the class of the character before
    while at < end:
        lead = np.int64(data[at])
        if lead < char.ASCII_END:
            at += 1
            if at < end and data[at] < char.ASCII_END:  # more than the space between two words of another script
                at = _ascii_end(data, words, at + 1, end)
            begin, last = at - 1, np.int64(0)
            continue
        if lead < 0xF0:  # of two bytes or three: all but the last six bits of its code point say which block it is of
            is_short = lead < 0xE0
            if calm[lead & 0x1F if is_short else (lead & 0x0F) << 6 | data[at + 1] & 0x3F]:
                begin, last = at, np.int64(0)
                at += 2 if is_short else 3
                continue
        code, following = decode(data, at)
        flag = flags[code]
        if flag & JOINS:
            own = np.int64(order[code])
            composes = flag & COMPOSES and (own or (begin < at and _joins_its_starter(data, begin, at, code, forms.pairs)))
            if flag & CHANGES or (own and own < last) or composes:
                return begin, _unit_end(data, begin, end, forms)
            last = own
        else:
            begin, last = at, np.int64(0)
            if flag:
                return begin, _unit_end(data, begin, end, forms)
        at = following
    return end, end


@kernel
def _fold(
    offsets: Offsets, data: Bytes, words: U64, forms: Forms, traced: bool
) -> tuple[Flags, Offsets, Bytes, Offsets, I32]:  # pragma: no cover - compiled
    """See `Folded`; `traced`: whether units are listed."""
    documents = len(offsets) - 1
    changed, ends = np.zeros(documents, np.bool_), np.zeros(documents + 1, np.int64)
    units_of = np.zeros(documents + 1, np.int64)
    out = np.empty(offsets[documents] - offsets[0] + MOST * LONGEST * 4, np.uint8)  # what is not written to takes no memory
    units, count, size = np.empty((256 if traced else 1, 4), np.int32), 0, 0
    codes = np.empty(MOST * LONGEST, np.uint32)
    for document in range(documents):
        start, end, origin = offsets[document], offsets[document + 1], size
        at = start
        while at < end:
            begin, finish = _next_unit(data, words, at, end, forms)
            if at == start and begin == end:
                break  # its own fold
            changed[document] = True
            room = size + (end - at) + MOST * LONGEST * 4
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
    return changed, ends, out[:size], units_of, units[:count].copy()


@kernel
def _original(
    units_of: Offsets, units: I32, document: Offsets, at: Offsets, is_end: bool, out: Offsets
) -> None:  # pragma: no cover - compiled
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
    """Texts in the form in which they are compared, for kernels: `text_of` says where the bytes of each lie.

    `offsets` and `data`: the texts themselves, as `utf8_view` gives them. `changed` bool (documents,): which are not their own fold;
    that of document `i` is `anew[ends[i]:ends[i + 1]]`. `units` int32 (units, 4): of what was written anew the bytes in the fold and in
    the text, beginning and end, each counted from the document's first byte; those of document `i` are
    `units[units_of[i]:units_of[i + 1]]`. There are none where they were not asked for.
    """

    offsets: Offsets
    data: Bytes
    changed: Flags
    ends: Offsets
    anew: Bytes
    units_of: Offsets
    units: I32

    @property
    def sizes(self) -> Offsets:
        """Bytes of each fold: int64 (documents,)."""
        sizes: Offsets = np.where(self.changed, np.diff(self.ends), np.diff(self.offsets))
        return sizes

    @property
    def most_words(self) -> int:
        """The most words that any of them can have: a word and its separator have two bytes, and one without three, at least."""
        return int(self.sizes.max(initial=0)) // 2 + 2

    def original(self, document: npt.NDArray[np.integer], at: Offsets, *, is_end: bool = False) -> Offsets:
        """Bytes in the texts, for bytes `at` in their folds, of documents `document`: int64, as `at`. Texts were folded with `traced`.

        A place within a unit is where the unit begins, or (`is_end`) ends. Beside what was left out, beginnings lie after it.
        """
        out = np.empty(len(at), np.int64)
        _original(self.units_of, self.units, document.astype(np.int64), at, is_end, out)
        return out


@kernel(inline="always")
def text_of(folded: Folded, document: int) -> tuple[Bytes, int, int]:  # pragma: no cover - compiled
    """The bytes of a document's fold, in kernels: `data[begin:end]`, as (data, begin, end)."""
    if folded.changed[document]:
        return folded.anew, folded.ends[document], folded.ends[document + 1]
    return folded.data, folded.offsets[document], folded.offsets[document + 1]


def _folded(offsets: Offsets, data: Bytes, traced: bool, known: Forms) -> Folded:
    eight = data[: len(data) // 8 * 8].view(np.uint64)
    changed, ends, anew, units_of, units = _fold(offsets, data, eight, known, traced)
    data = data[:]
    data.flags.writeable = anew.flags.writeable = False  # so that both are of one type
    return Folded(offsets, data, changed, ends, anew, units_of, units)


def fold(texts: pa.Array | pa.ChunkedArray, *, words: bool = False, traced: bool = False) -> Folded:
    """The folds of a string column; nulls read as empty. `traced`: so that `Folded.original` can be asked.

    `words`: for who looks at words and ends of lines alone: texts without what stands between words have the same words as their
    folds. Canonically or compatibly equivalent texts have equal folds, but where more than 31 characters in a row join one.
    """
    return _folded(*utf8_view(texts), traced, forms(words=words))


def fold_text(text: str) -> str:
    """The fold of one text."""
    if text.isascii():
        return text
    data = np.frombuffer(text.encode(), np.uint8)
    folded = _folded(np.array([0, len(data)]), data, False, forms())
    return folded.anew.tobytes().decode() if folded.changed[0] else text
