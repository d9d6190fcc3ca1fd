"""The language of a source file, by its name, its first line and its content, as github-linguist names languages.

The order is linguist's: an editor's mode line, the whole file name, the interpreter that a `#!` line names, the ending;
an ending that several languages share is settled by what the text holds, and a name that says nothing by the content alone.
Names, endings and interpreters are facts of github-linguist's `languages.yml`: `linguist-languages.tsv` has them all, and our own tables,
which come first, are for those that hold nearly all text (The Stack v2's top languages, and what ordinary repositories keep beside them),
checked against Pygments' lexers in the tests. What tells two languages of one ending apart follows the idea of linguist's
`heuristics.yml` in patterns of our own; where none is found, and no language is the usual one, the file has no language. All of them are
tables in `data/`.

Departures: dialects of SQL, JSON with comments, kinds of assembly and of Roff are not told apart;
no statistical classifier: content without a name is settled by tokens that one language has and others lack.
"""

from __future__ import annotations

import re

from pipeline.readers.data import rows

HEAD = 1 << 15  # characters that are looked at: enough to meet a language's own words, and a bound on every pattern

_ENDINGS = dict(rows("language-endings.tsv"))
_NAMES = dict(rows("language-file-names.tsv"))
_INTERPRETERS = dict(rows("language-interpreters.tsv"))
_MODES = dict(rows("language-editor-modes.tsv"))


# Linguist's whole list, which counts where our own tables say nothing.
_LINGUIST = [[cell if cell != "-" else "" for cell in row] for row in rows("linguist-languages.tsv")]


def _by_key(table: dict[str, str], column: int | None = None) -> dict[str, str]:
    """By ending, name or interpreter its language: our own table's, else linguist's where no two of its languages share it."""
    inverted: dict[str, str] = {}
    for language, keys in table.items():
        for key in keys.split():
            inverted.setdefault(key, language)
    if column is not None:
        theirs: dict[str, list[str]] = {}
        for row in _LINGUIST:
            for key in row[column].split():
                # of `blade.php` the last part is a language's already
                if key not in inverted and key.rsplit(".", 1)[-1] not in inverted:
                    theirs.setdefault(key, []).append(row[0])
        inverted |= {key: languages[0] for key, languages in theirs.items() if len(languages) == 1}
    return inverted


LANGUAGES = _by_key(_ENDINGS, 2)
NAMES = _by_key(_NAMES, 3)
INTERPRETERS = _by_key(_INTERPRETERS, 4)
MODES = _by_key(_MODES)


def _known() -> dict[str, str]:
    """Languages by their names in small letters, and by their other names where that is nobody's own."""
    names = {name.lower(): name for name in (*_ENDINGS, *_NAMES, *_INTERPRETERS, *_MODES)}
    for row in _LINGUIST:
        names.setdefault(row[0].lower(), row[0])
    for name, *_, others in _LINGUIST:
        for other in others.split("|"):
            names.setdefault(other, name)
    names.pop("", None)
    return names


KNOWN = _known()
_DOUBLE = frozenset(ending for ending in LANGUAGES if "." in ending)

# Lists that packagers write: no language, whatever their words look like.
_LISTS = frozenset((
    "pkg-info", "metadata", "record", "wheel", "installer", "requested", "top_level", "sources", "manifest", "entry_points",
    "direct_url.json", "zip-safe",
))  # fmt: skip

Rule = tuple[str, re.Pattern[str]]
Sign = tuple[int, re.Pattern[str]]


def _shared_endings() -> dict[str, list[Rule]]:
    """By ending, the languages that share it and what each is known by, in the order of trial."""
    found: dict[str, list[Rule]] = {}
    for endings, language, pattern in rows("language-of-shared-endings.tsv"):
        rule = language, re.compile(pattern, re.MULTILINE)
        for ending in endings.split():
            found.setdefault(ending, []).append(rule)
    return found


def _signs() -> dict[str, list[Sign]]:
    """By language, what a text without a name is known by, each with its weight."""
    found: dict[str, list[Sign]] = {}
    for language, weight, pattern in rows("language-signs.tsv"):
        found.setdefault(language, []).append((int(weight), re.compile(pattern, re.MULTILINE)))
    return found


_AMBIGUOUS = _shared_endings()
# The weight of a pattern counts once for each of its first hits, so that one odd line decides nothing.
_SIGNS = _signs()
_LEAST, _HITS = 6, 4  # the weight that a guess by content alone must reach, and hits of one pattern that count

_EMACS = re.compile(r"-\*-[ \t]*(?:mode:[ \t]*)?([\w+#.-]{1,40})[ \t]*(?:;[^\n]{0,200})?-\*-", re.IGNORECASE)
_EMACS_MODE = re.compile(r"-\*-[^\n]{0,200}?\bmode:[ \t]*([\w+#.-]{1,40})", re.IGNORECASE)
_VIM = re.compile(r"\b(?:vi|vim|ex):[^\n]{0,200}?\b(?:ft|filetype|syntax)=([\w+#.-]{1,40})")
_SHEBANG = re.compile(r"#![ \t]*(\S{1,200})([^\n]{0,200})")
_EXEC = re.compile(r"^[ \t]*(?:':'[ \t]*)?exec[ \t]+(?:/\S{1,100}/)?(\w+)\b[^\n]{0,100}\$0", re.MULTILINE)


_VERSION = "0123456789."  # what follows an interpreter's name


def _mode(text: str) -> str | None:
    """The language that an Emacs or Vim mode line names, in the first or last five lines (editors look there)."""
    if "-*-" not in text[:1000] and "vim:" not in text and "ft=" not in text and "vi:" not in text:
        return None
    first = "\n".join(text[:2000].split("\n", 5)[:5])
    last = "\n".join(text[-1000:].rsplit("\n", 5)[-5:])
    match = _EMACS_MODE.search(first) or _EMACS.search(first) or _VIM.search(first) or _VIM.search(last)
    if match is None:
        return None
    name = match.group(1).lower()
    return MODES.get(name) or KNOWN.get(name)


def _shebang(text: str) -> str | None:
    """The language of the interpreter that the first line names, through `env`, versions and a shell that calls another."""
    match = _SHEBANG.match(text)
    if match is None:
        return None
    words = [match.group(1), *match.group(2).split()]
    if words[0].rsplit("/", 1)[-1] == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word] or [""]
    name = words[0].rsplit("/", 1)[-1].lower().rstrip(_VERSION) if words else ""
    if name == "sh" and (other := _EXEC.search(text[:1000])):  # a polyglot: sh that hands the file to its real interpreter
        return INTERPRETERS.get(other.group(1).lower().rstrip(_VERSION)) or "Shell"
    return INTERPRETERS.get(name)


def ending_of(path: str) -> str:
    """The ending of a path's last part in small letters, without the dot; templates' own (`.in`, `.tmpl`) are looked through."""
    name = path.rpartition("/")[2].lower()
    for template in (".in", ".tmpl", ".template", ".dist", ".sample", ".example", ".orig"):
        if name.endswith(template) and "." in name[: -len(template)].lstrip("."):
            name = name[: -len(template)]
    stem, dot, ending = name.rpartition(".")
    if (double := f"{stem.rpartition('.')[2]}.{ending}") in _DOUBLE and double != name:
        return double
    return ending if dot and (stem or ending) else ""


def by_content(text: str) -> str | None:
    """The language that a text's own words give away; None where none stands out."""
    head = text[:HEAD]
    best, top, second = None, 0, 0
    for language, signs in _SIGNS.items():
        score = 0
        for weight, pattern in signs:
            found = pattern.finditer(head)
            for _ in zip(range(_HITS), found, strict=False):
                score += weight
        if score > top:
            best, top, second = language, score, top
        elif score > second:
            second = score
    return best if top >= _LEAST and top > second else None


def language_of(path: str, text: str | None = None) -> str | None:
    """The language of a file, or None where it is none we know. `text` (its beginning suffices) may be None: by name alone."""
    name = path.rpartition("/")[2]
    head = text[:HEAD] if text is not None else ""
    if head and (mode := _mode(head if len(head) < HEAD or text is None else head + text[-1000:])):
        return mode
    if whole := NAMES.get(name.lower()):
        return whole
    if name.lower() in _LISTS:
        return None
    if name.lower().startswith(("dockerfile.", "makefile.", "jenkinsfile.", "vagrantfile.")):
        return NAMES[name.lower().split(".", 1)[0]]
    ending = ending_of(path)
    if head.startswith("#!") and (found := _shebang(head)) and ending in ("", "in", "cgi", "fcgi", "command", "t", "pl", "tool"):
        return found
    if ending in _AMBIGUOUS and head:
        for language, pattern in _AMBIGUOUS[ending]:
            if pattern.search(head):
                return language
        return None if ending.isdigit() else LANGUAGES.get(ending)
    if ending in LANGUAGES and not (ending.isdigit() and text is None):
        return LANGUAGES[ending]
    if ending or not head:
        return None
    return by_content(head)


def is_binary(data: bytes) -> bool:
    """Whether bytes are no text: a NUL in the first 8,000 (git's rule), unless a byte order mark says UTF-16 or UTF-32."""
    return b"\0" in data[:8000] and not data.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff"))
