"""Which signs (@) are those of e-mail addresses.

What counts as an address follows Dolma and datatrove's `PIIFormatter`, with these departures:

- An address is found after any character that cannot be in one (datatrove needs a word boundary, and misses addresses that follow a
  letter of a script without spaces). The local part has the characters that mail providers allow, not all that RFC 5322 does, so that
  `mailto=`, `/` and quotes before it stay.
- The last label is a top-level domain of the root zone, as IANA lists them (`data/top-level-domains.txt`), in letters or in punycode: so
  neither `all@Seq.empty` nor `getty@tty1.service` nor `lodash@4.17.21` is an address. What has a meaning of its own for programs (members
  of objects, endings of files) and is a top-level domain too (`name`, `next`, `zip`) is one in code only where something beside it says so.
- Internationalised addresses (RFC 6531) and domains (IDNA) are found. A label, and a local part, is of one script: so is told where an
  address ends between letters of a language that has no spaces.
- What names a login, a place or a version is none: `user@host:path`, `https://user@host/`, `ssh user@host`, `this@Label`, `icon@2x.png`.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import pairwise

from pipeline.ingest.data import rows

_LOCAL_PART = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+'-"
_LOCAL_MOST = 64  # bytes before the sign that are looked at, RFC 5321
_WIDE_MOST = 4 * _LOCAL_MOST  # ... where they are of other scripts
# All patterns are matched at a sign and bounded in length: linear.
_DOMAIN = re.compile(rb"[A-Za-z0-9.-]{0,253}")  # RFC 1035: 253 at most
_WIDE_DOMAIN = re.compile(r"(?:[A-Za-z0-9.-]|[^\x00-\x7f])*")
_SCALE = re.compile(r"[1-9]x$")  # of a picture: icon@2x.png
_VERSION = re.compile(r"v?[0-9]{1,4}$")
_LABELLED = re.compile(rb"\A[Ee]-[Mm]ail(?=[A-Za-z0-9])")  # a word whose space was lost
_GLUED = re.compile(r"[a-z]{2,6}(?=[A-Z][a-z])")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*$")
_AFTER_COLON = re.compile(rb":(?::|[~/]|[^\s\"'<>]{0,100}(?:/|\.git\b))")
_PATH = re.compile(rb":[A-Za-z_.]")  # in code, where no password follows
_COMMENT = re.compile(rb"[ \t]*(?:#|//|/\*|\*|--|;|%|<!--|dnl |rem )[^=({\[]*\Z")
_TABLE = re.compile(rb"\b(?:FROM|JOIN|INTO|UPDATE|TABLE|LINK|SYNONYM|VIEW)\s{1,8}\Z")
_COMMANDS = frozenset((b"ssh", b"scp", b"sftp", b"rsync", b"mosh", b"sshfs", b"ssh-copy-id"))
_USER = re.compile(
    rb"(?:[A-Za-z+.-]{0,20}:)?//[^\s/@\"'<>:]{0,40}:[^\s/@\"'<>]{0,60}\Z|[A-Za-z+.-]{0,20}://[%+'.-]{0,4}\Z"
)  # what stands in a URL before the name of a machine
_SCHEMES = (b"mailto://", b"sip://", b"xmpp://")
_ADDRESSED = re.compile(
    rb"(?i)mail|author|admin|maintain|contact|copyright|\(c\)|signed-off|-by:|report|owner|bugs|feedback|questions|write to"
    rb"|\b(?:cc|from|to|reply):"
)
_BESIDE = {b"<": b">", b'"': b'"', b"'": b"'", b"`": b"`"}

# Top-level domains that mean nothing else to a program. Of two letters all are, but for those below.
_PLAIN = frozenset(["com", "org", "net", "edu", "gov", "mil", "biz", "info", "museum", "coop", "aero"])
_MEMBERS = frozenset(
    [
        "at",
        "in",
        "is",
        "it",
        "id",
        "to",
        "do",
        "be",
        "by",
        "no",
        "so",
        "as",
        "me",
        "my",
        "us",
        "im",
        "am",
        "ac",
        "ad",
        "al",
        "ap",
        "ml",
        "mm",
        "mt",
        "mv",
        "pm",
        "st",
        "ms",
        "ws",
        "vi",
        "tf",
        "tt",
        "va",
        "fm",
        "hm",
    ]
)
_FILES = frozenset(("zip", "mov"))
_LABELS = frozenset(("this", "super"))  # of Kotlin, before the name of what is meant
_JUMPS = frozenset(("return", "break", "continue"))


@cache
def top_level_domains() -> frozenset[str]:
    """All of them, in small letters: in letters of their own script and in punycode."""
    names = [name for (name,) in rows("top-level-domains.txt")]
    return frozenset([*names, *(name[4:].encode("ascii").decode("punycode") for name in names if name.startswith("xn--"))])


@cache
def _script(character: str) -> str:
    """The script of a letter, by the first word of its name; nothing of digits and marks. Han and Kana count as one."""
    if character.isascii():
        return "LATIN" if character.isalpha() else ""
    if unicodedata.category(character)[0] != "L":
        return ""
    name = unicodedata.name(character, "?").split(" ")[0]
    return "CJK" if name in ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA") else name


def _one_script(text: str) -> int:
    """How many characters at the beginning of a text are of one script."""
    first = ""
    for at, character in enumerate(text):
        script = _script(character)
        if script and first and script != first:
            return at
        first = first or script
    return len(text)


def _in_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LM" or unicodedata.category(character) == "Nd"


def _local(raw: bytes, sign: int, last: int) -> bytes:
    """The local part that ends at byte `sign`, none of it before `last`."""
    window = raw[max(last, sign - _LOCAL_MOST) : sign]
    local = window[len(window.rstrip(_LOCAL_PART)) :]
    if sign - len(local) > last and raw[sign - len(local) - 1] >= 0x80:
        text = raw[max(last, sign - _WIDE_MOST) : sign].decode("utf-8", "ignore")
        at = len(text)
        while at and (text[at - 1] in "._%+'-" or (text[at - 1].isascii() and text[at - 1].isalnum()) or _in_word(text[at - 1])):
            at -= 1
        found = text[at:]
        found = found[len(found) - _one_script(found[::-1]) :]
        while len(found.encode()) > _LOCAL_MOST:
            found = found[1:]
        local = found.encode()
    local = local[local.rfind(b"..") + 2 :] if b".." in local else local
    return _LABELLED.sub(b"", local.lstrip(b".'-+%"))


def _domain(raw: bytes, at: int, code: bool) -> list[str]:
    """The labels of the longest domain name that begins at a byte, or none."""
    found = _DOMAIN.match(raw, at)
    assert found is not None, "the pattern matches the empty text"
    end = found.end()
    if raw[end - 1 : end + 4] == b"E<gt>":  # Perl's documentation has E<lt>jane@example.orgE<gt>
        end -= 1
    if end < len(raw) and raw[end] >= 0x80:
        text = _WIDE_DOMAIN.match(raw[at : at + 253].decode("utf-8", "ignore"))[0]  # type: ignore[index]
        text = text[: next((place for place, each in enumerate(text) if not (each.isascii() or _in_word(each))), len(text))]
    else:
        text = raw[at:end].decode("ascii")
    labels: list[str] = []
    for label in text.split("."):
        whole = len(label) if label.isascii() else _one_script(label)
        if not 0 < len(label) < 64 or label[0] == "-" or whole == 0:
            break
        labels.append(label[:whole].rstrip("-"))
        if len(labels[-1]) < len(label):
            break
    dropped: list[str] = []
    while labels and not _is_top(labels, code):
        dropped.append(labels.pop())
    if dropped and labels and not (dropped[-1][:1].isupper() or labels[-1].lower() in _PLAIN or not dropped[-1].isascii()):
        return []  # of a sentence whose space is missing only where a capital follows: else it is a longer path, of members
    return labels if len(labels) > 1 else []


def _is_top(labels: list[str], code: bool) -> bool:
    """Whether the last label is a top-level domain; a longer one is cut to one: of a script without spaces, or where a capital follows, as
    of a word whose space was lost."""
    label = labels[-1]
    known = top_level_domains()
    if label.isascii():
        glued = None if code else _GLUED.match(label)
        if glued and (glued[0] in _PLAIN or len(glued[0]) == 2) and glued[0] in known:
            labels[-1] = glued[0]
            return True
        return label.lower() in known and (label in (label.lower(), label.upper(), label.title()))
    for end in range(len(label), 1, -1):
        if label[:end].lower() in known:
            labels[-1] = label[:end]
            return True
        if _script(label[0]) not in ("CJK", "HANGUL", "THAI"):
            break
    return False


def _is_login(raw: bytes, begin: int, end: int, code: bool) -> bool:
    """Whether it is a login at a machine: before a path, in a URL, or after a command that takes one."""
    if (
        _AFTER_COLON.match(raw, end)
        or (code and _PATH.match(raw, end))
        or (raw[begin : begin + 4] in (b"git@", b"hg@") and raw[end : end + 1] in (b":", b"/"))
    ):
        return True
    if user := _USER.search(raw[max(0, begin - 120) : begin]):
        return user[0].lower() not in _SCHEMES
    words = raw[max(0, begin - 80) : begin].rpartition(b"\n")[2].split()
    if raw[begin - 1 : begin] not in (b" ", b"\t") or not words or not _COMMANDS & set(words):
        return False
    after = words[len(words) - 1 - next(at for at, word in enumerate(reversed(words)) if word in _COMMANDS) :]
    return all(word[:1] == b"-" or one[:1] == b"-" or set(word) & set(b"/.~:=*") for one, word in pairwise(after))


def _is_addressed(raw: bytes, begin: int, end: int) -> bool:
    """Whether something beside it says that it is an address: marks around it, or a word before it."""
    before = raw[max(0, begin - 60) : begin]
    if _BESIDE.get(before[-1:], b"\0") == raw[end : end + 1]:
        return True
    line = raw[max(0, begin - 160) : begin].rpartition(b"\n")[2]
    return _ADDRESSED.search(line[-60:]) is not None or _COMMENT.match(line) is not None


def _is_code(raw: bytes, begin: int, end: int, local: str, labels: list[str], code: bool) -> bool:
    """Whether it is a piece of a program: a label, a version, a picture's scale, a member of an object, a table at another database."""
    top = labels[-1].lower()
    plain = not top.isascii() or top in _PLAIN or (len(top) == 2 and top not in _MEMBERS and top not in _FILES)
    if (
        local in _LABELS
        or (local in _JUMPS and (code or not plain))
        or _SCALE.match(labels[0])
        or (len(labels) > 2 and _VERSION.match(labels[0]))
    ):
        return True
    if raw[end : end + 1] in (b"(", b"[") and (code or not plain):
        return True
    if plain:
        return False
    if _TABLE.search(raw[max(0, begin - 24) : begin]):
        return True
    named = all(_NAME.match(label) for label in labels)
    if raw[begin - 1 : begin] in (b"/", b"\\") and begin:
        return named
    if code or (top in _FILES and not named):
        return (named or top in _FILES) and not _is_addressed(raw, begin, end)
    return False


def email(raw: bytes, sign: int, last: int, code: bool) -> tuple[int, int] | None:
    """Where the address around the sign at byte `sign` begins and ends, none of it before `last`; None where it is no address.

    `code`: the text is a program's, so that a name alone is a member sooner than a domain.
    """
    if raw[sign - 1] >= 0x80 and not _in_word(raw[max(0, sign - 4) : sign].decode("utf-8", "ignore")[-1:] or " "):
        return None
    stop = sign - 1 if raw[sign - 1 : sign] == b"\\" else sign  # Perl and shells: jane\@example.org
    local = _local(raw, stop, last)
    labels = _domain(raw, sign + (1 if raw[sign] < 0x80 else 3), code)  # the other is a full-width sign
    if not local or local[-1:] == b"." or not labels:
        return None
    begin = stop - len(local)
    end = sign + (1 if raw[sign] < 0x80 else 3) + len(".".join(labels).encode())
    if local[:1] == b"_" == raw[end : end + 1] and len(local) > 1:  # of Markdown's emphasis
        begin, local = begin + 1, local[1:]
    if _is_login(raw, begin, end, code) or _is_code(raw, begin, end, local.decode("utf-8", "replace"), labels, code):
        return None
    return begin, end
