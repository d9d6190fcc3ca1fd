"""The licence that a source file's own head declares in words: notices, short names after words of licensing, and restrictions.

What begins in the first `HEAD` characters is brought to one form (small letters, words, single spaces: marks of comments vanish), and the
phrases of `license-notices.tsv` are searched for in it, each only where its rarest word is there. What lies within a longer phrase that was
found does not count. Of families with versions (the GNU licences, Apache, Mozilla ...) the version is read from the words around the
name, and whether later ones may be chosen.

Several licences all apply, unless the head says that one may be chosen. Restrictions apply whatever else is said, as names that no list of
permissive licences has (`LicenseRef-proprietary`, `LicenseRef-noncommercial`, `LicenseRef-Commons-Clause`). Words that only licences have,
of which nothing is known, are `LicenseRef-unknown`; a head that says that its licence stands in another file says nothing by itself.
`All rights reserved` alone is a formula, which most permissive licences' notices begin with, and says nothing either. Nor does what is
dedicated to the public domain behind code: that is a table or a function there, and the rest is the folder's. What aclocal writes is made
of many files with a notice each, and is looked at whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from licenseclassifier import identify_license

from pipeline.readers.creative_commons import licenses_in
from pipeline.readers.data import rows
from pipeline.readers.license_expressions import UNKNOWN, combine, normalise

HEAD = 1 << 12  # characters of a file in which a notice begins
_GATHERED, _WHOLE = "generated automatically by aclocal", 1 << 18  # what is looked at beyond its head, and how many characters of it
_GAP = 1200  # characters between two parts of a phrase
_NEAR = 400  # characters at most between licences of which one may be chosen
_MOST = 20  # places of one phrase that are looked at
_BEFORE, _AFTER = 400, 700  # characters around the words of licensing that are looked at, too
# One of these is in every notice: without them a head is not looked at.
_CUES = ("licen", "copyright", "proprietary", "confidential", "public domain", "gpl")
_CONTEXT = frozenset(("license", "licence", "licensed", "licenced", "under", "licensing", "lic", "dual", "terms", "legal"))
# Versions by family: those that there are, and what a name without one stands for.
_GNU = frozenset(("GPL", "LGPL", "AGPL", "GFDL"))
_VERSIONS = {
    "GPL": (("1.0", "2.0", "3.0"), "GPL-1.0-or-later"),
    "LGPL": (("2.0", "2.1", "3.0"), "LGPL-2.0-or-later"),
    "AGPL": (("1.0", "3.0"), "AGPL-1.0-or-later"),
    "GFDL": (("1.1", "1.2", "1.3"), "GFDL-1.1-or-later"),
    "Apache": (("1.0", "1.1", "2.0"), "Apache-2.0"),
    "MPL": (("1.0", "1.1", "2.0"), "MPL-1.0"),
    "NPL": (("1.0", "1.1"), "NPL-1.0"),
    "EPL": (("1.0", "2.0"), "EPL-1.0"),
    "CDDL": (("1.0", "1.1"), "CDDL-1.0"),
    "CPL": (("1.0",), "CPL-1.0"),
    "EUPL": (("1.0", "1.1", "1.2"), "EUPL-1.0"),
    "Artistic": (("1.0", "2.0"), "Artistic-1.0"),
    "ZPL": (("1.1", "2.0", "2.1"), "ZPL-2.1"),
    "AFL": (("1.1", "1.2", "2.0", "2.1", "3.0"), "AFL-3.0"),
    "OSL": (("1.0", "1.1", "2.0", "2.1", "3.0"), "OSL-3.0"),
    "ECL": (("1.0", "2.0"), "ECL-2.0"),
    "QPL": (("1.0",), "QPL-1.0"),
    "CeCILL": (("1.0", "1.1", "2.0", "2.1"), "CECILL-2.1"),
}
_SPELLED = {"GPL": "gpl", "CeCILL": "CECILL"}
_BEFORE_VERSION = frozenset(("version", "versions", "v", "ver", "license", "licence", "licenses", "gpl", "lgpl", "agpl"))
_LATER = ("any later", "or later", "or newer", "or above", "or greater", "and later", "or higher", "or a later", "later version")
_CHOICE = ("dual licen", "dually licen", "alternatively", " either of ", "your choice", " or ", "alternative licen", "tri licen", "choose")
_DEDICATED = frozenset(("CC0-1.0", "CC-PDM-1.0", "LicenseRef-public-domain"))
# Linear: literals; and lines of nothing but closing braces (lists and brackets close in what Python's modules import and say of themselves,
# too), whose runs cannot begin one another.
_DEDICATION = re.compile(r"public ?domain|\bcc[ -]?0\b|creative commons zero")
_BLOCK_ENDS = re.compile(r"^[ \t]*\}+[;,]?[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Phrase:
    """A row of the table: its kind, its name, and its parts in order, each with a space before and after it."""

    kind: str
    name: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class _Found:
    begin: int
    end: int
    phrase: Phrase

    @property
    def is_text(self) -> bool:
        """Whether it is the licence's own words, not its name."""
        return self.phrase.kind == "text" and (len(self.phrase.parts) > 1 or self.phrase.parts[0].count(" ") > 10)


# Words that say little: a phrase is looked for where another of its words stands.
_COMMON = frozenset((
    "license", "licence", "licenses", "copyright", "software", "permission", "this", "under", "terms", "the", "information", "distribution",
    "use", "copy", "source", "from", "for", "and", "without", "general", "public", "modification", "conditions", "notice", "is", "in", "of",
))  # fmt: skip


def _by_word() -> dict[str, list[Phrase]]:
    """Phrases by the longest word of their first part that is not in nearly every notice."""
    found: dict[str, list[Phrase]] = {}
    for kind, name, words in rows("license-notices.tsv"):
        parts = tuple(f" {part} " for part in words.split(" * "))
        said = max(parts[0].split(), key=lambda word: (word not in _COMMON, len(word)))
        found.setdefault(said, []).append(Phrase(kind, name, parts))
    return found


_PHRASES = _by_word()
_WORDS = frozenset(_PHRASES)
# What is no part of a word: everything but small letters, digits, `.` and `+`; bytes past ASCII too.
_TABLE = bytes(byte if chr(byte) in "abcdefghijklmnopqrstuvwxyz0123456789.+" else 32 for byte in range(256))


# Dots that end sentences, the marks of comments that are words, and versions that are written together with names.
_SPELLINGS = (
    (". ", " "), (" .", " "), (" dnl ", " "), (" www.", " "), ("gplv", "gpl v"), ("gpl2", "gpl 2"), ("gpl3", "gpl 3"),
    ("apache2", "apache 2"),
)  # fmt: skip


def normal_form(text: str) -> str:
    """A text in small letters, words and single spaces, with a space at either end: marks of comments, lines and quotes are gone."""
    words = text.encode("ascii", "replace").lower().translate(_TABLE).decode("ascii")
    plain = " ".join(words.split())
    for written, read in _SPELLINGS:
        plain = plain.replace(written, read)
    return f" {plain.rstrip('.')} "


def _places(text: str, phrase: Phrase) -> list[_Found]:
    """Where a phrase stands: each place where all its parts follow one another."""
    found: list[_Found] = []
    at = text.find(phrase.parts[0])
    while at >= 0 and len(found) < _MOST:
        end = at + len(phrase.parts[0])
        for part in phrase.parts[1:]:
            begin = text.find(part, end - 1, end + _GAP)
            if begin < 0:
                return found  # a later first part is not looked at: it would only be nearer to what is missing
            end = begin + len(part)
        found.append(_Found(at, end, phrase))
        at = text.find(phrase.parts[0], end - 1)
    return found


def _named(text: str, found: _Found) -> bool:
    """Whether a short name stands where licences are named."""
    before = text[max(0, found.begin - 60) : found.begin].split()[-6:]
    after = text[found.end : found.end + 20].split()[:2]
    if after[:1] == ["compatible"] or before[-1:] == ["non"]:
        return False
    return bool(_CONTEXT.intersection(before)) or bool({"license", "licence", "licensed", "licenses"}.intersection(after[:1]))


def _search(text: str) -> list[_Found]:
    """All phrases in a text in normal form, in order, but for those within others."""
    found = [place for word in _WORDS.intersection(text.split()) for phrase in _PHRASES[word] for place in _places(text, phrase)]
    found = [place for place in found if place.phrase.kind != "name" or _named(text, place)]
    found.sort(key=lambda place: (place.begin, -place.end, place.phrase.kind, place.phrase.name))
    kept: list[_Found] = []
    end = 0
    for place in found:
        if place.end > end or place.phrase.kind in ("restriction", "exception", "elsewhere", "grant"):
            kept.append(place)
            if place.phrase.kind not in ("elsewhere", "grant"):
                end = max(end, place.end)
    return kept


def _version_in(words: list[str]) -> tuple[str, bool] | None:
    """The version that a word is, and whether it ends with a plus."""
    for index, word in enumerate(words):
        bare = word.rstrip("+").removeprefix("version").removeprefix("v").lstrip(".")
        is_number = bool(bare) and bare.replace(".", "").isdigit() and len(bare) <= 5
        if is_number and (index == 0 or not word.startswith(bare) or words[index - 1] in _BEFORE_VERSION):
            return bare, word.endswith("+")
    return None


def _versioned(text: str, found: _Found, limit: int) -> tuple[str, bool]:
    """A family's licence with the version that stands around its name, and whether a version was said; `limit`: where the next begins."""
    family = found.phrase.name
    if family not in _VERSIONS:
        return family, True
    known, without = _VERSIONS[family]
    after = text[found.end - 1 : min(limit, found.end + 260)]
    before = text[max(0, found.begin - 70) : found.begin + 1]
    stated = None
    where = after[:140]
    if (at := max(before.rfind(" version "), before.rfind(" v2 "), before.rfind(" v3 "), before.rfind(" v3+ "))) >= 0:
        head = before[at:]
        if " of " in head or " gnu " in f"{head} " or len(head) < 14:
            stated, where = _version_in(head.split()[:2][-1:] if head.startswith(" version ") else head.split()[:1]), head + after[:60]
    if stated is None:
        stated, where = _version_in(after.split()[:26]), after
    if stated is None:
        return without, False
    number = stated[0] if "." in stated[0] else f"{stated[0]}.0"
    number = number.removesuffix(".0") if number.count(".") == 2 else number
    if number not in known:
        return without, False
    if family not in _GNU:
        return f"{'CECILL' if family == 'CeCILL' else family}-{number}", True
    later = stated[1] or any(words in where for words in _LATER)
    return f"{family}-{number}-{'or-later' if later else 'only'}", True


def _family(name: str) -> str:
    head = name.split("-")[0]
    return "GNU" if head in ("GPL", "LGPL", "AGPL") else head


def _declared(text: str, found: list[_Found]) -> list[str]:
    """The licences that a head names, in order, each once; a bare name beside the licence's words or its version is the same."""
    named: list[tuple[str, bool]] = []
    mentions = [place for place in found if place.phrase.kind in ("text", "family", "name")]
    for index, place in enumerate(mentions):
        limit = mentions[index + 1].begin if index + 1 < len(mentions) else len(text)
        if place.phrase.kind == "text":
            named.append((place.phrase.name, place.is_text))
        else:
            name, stated = _versioned(text, place, limit)
            named.append((name, stated and place.phrase.name in _VERSIONS))
    strong = {_family(name) for name, is_strong in named if is_strong}
    return list(dict.fromkeys(name for name, is_strong in named if is_strong or _family(name) not in strong))


def _with_exceptions(names: list[str], found: list[_Found]) -> list[str]:
    """The exceptions of a head, each added to the GNU licence that stands first."""
    exceptions = list(dict.fromkeys(place.phrase.name for place in found if place.phrase.kind == "exception"))
    first = next((index for index, name in enumerate(names) if _family(name) == "GNU"), None)
    if first is None or not exceptions:
        return names
    known = normalise(f"{names[first]} WITH {exceptions[0]}")
    return [*names[:first], known or names[first], *names[first + 1 :]]


def notice_of(text: str) -> str | None:
    """The licence that a file's head declares in words, as an SPDX expression; None where it says none of its own."""
    head = text[:HEAD].lower()
    if _GATHERED in head:
        head = text[:_WHOLE].lower()
    cues = {cue: at for cue in _CUES if (at := head.find(cue)) >= 0}
    if not cues and "creativecommons.org" not in head and " cc by" not in head:
        return None
    last = max((head.rfind(cue) for cue in cues), default=len(head))
    begin, end = max(0, min(cues.values(), default=0) - _BEFORE), last + _AFTER
    words = text[begin:end].lower() if end > len(head) else head[begin:end]
    normal = normal_form(words)
    found = _search(normal)
    kinds = {place.phrase.kind for place in found}
    names = _with_exceptions(_declared(normal, found), found)
    if "creative" in head or "cc by" in head or "cc-by" in head:
        names += licenses_in(words)
    if names and _of_a_part(head, names):
        names, kinds = [], kinds - {"grant"}
    restrictions = [place.phrase.name for place in found if place.phrase.kind == "restriction"]
    if any("NC" in name.split("-") for name in names):
        restrictions = [name for name in restrictions if name != "LicenseRef-noncommercial"]
    if not names and not restrictions:
        if "grant" not in kinds or "elsewhere" in kinds:
            return None
        names = [normalise(match.id) or UNKNOWN for match in identify_license(text[begin:end], 1.0)] or [UNKNOWN]
    several = combine(names, "OR" if len(names) > 1 and _may_choose(normal, found) else "AND")
    return combine([*([several] if several else []), *dict.fromkeys(restrictions)], "AND")


def _of_a_part(head: str, names: list[str]) -> bool:
    """Whether a head only names dedications to the public domain, and those behind a block of code that has ended."""
    at = _DEDICATION.search(head) if _DEDICATED.issuperset(names) else None
    return at is not None and _BLOCK_ENDS.search(head, 0, at.start()) is not None


def _may_choose(text: str, found: list[_Found]) -> bool:
    """Whether a head that names several licences lets one choose among them: it says so between them, or of all of them."""
    mentions = [place for place in found if place.phrase.kind in ("text", "family", "name")]
    if len(mentions) < 2 or any(other.begin - one.end > _NEAR for one, other in pairwise(mentions)):
        return False
    begin, end = mentions[0].begin, mentions[-1].begin
    around = text[max(0, begin - 100) : end + 2]
    return any(words in around for words in _CHOICE[:5] + _CHOICE[6:]) or any(
        " or " in (between := text[one.end - 1 : other.begin + 1]) and len(between) < 60 and "later" not in between
        for one, other in pairwise(mentions)
    )


# What adds terms to a licence whose text is known, in normal form: each is a licence of its own where it stands beside exactly one.
_TERMS = (
    "additional terms", "additional condition", "additional restriction", "additional requirement", "further restriction", "you may not",
    "shall not", "must not", "is prohibited", "not permitted", "are prohibited", "not allowed to", "modified version of the",
    "with the exception",
)  # fmt: skip
_TEMPLATE = ("year", "copyright holder", "organization", "copyright", "holder")


def restrictions_in(text: str, *, alone: bool) -> list[str]:
    """What the rest of a licence file says besides the texts of licences that are known; `alone`: there is one of them, so that whatever
    forbids something is about it, and not about what else is bundled."""
    normal = normal_form(text)
    found = [place.phrase.name for place in _search(normal) if place.phrase.kind == "restriction"]
    found += [place.phrase.name for place in _search(normal) if place.phrase.kind == "text" and place.phrase.name in _RESTRICTED]
    if not found and alone and any(f" {words}" in normal for words in _TERMS):
        return [UNKNOWN]
    return list(dict.fromkeys(found))


_RESTRICTED = frozenset(("SSPL-1.0", "BUSL-1.1", "Elastic-2.0", "PolyForm-Noncommercial-1.0.0", "JSON"))


def is_template(text: str) -> bool:
    """Whether a licence file has nothing but years and names (R's `YEAR: 2020`), or points to another file."""
    lines = [line.split(":")[0].strip().lower() for line in text.splitlines()[:20] if line.strip()]
    if all(line in _TEMPLATE for line in lines):
        return True
    return len(text) < 2000 and any(place.phrase.kind == "elsewhere" for place in _search(normal_form(text)))
