"""Licences of Creative Commons by their addresses, their short names and their long ones, as publishers and datasets write them.

What is found is never more permissive than what is written: of a licence that names "non-commercial" anywhere NC is part, a licence whose
version is not said has none (`CC-BY`, a family and no SPDX name), and of two licences both count.
"""

from __future__ import annotations

import re

from license_expression import get_spdx_licensing

# Linear: bounded runs, and none beside another that takes the same characters.
_ADDRESS = re.compile(r"creativecommons\.org/licenses/(by(?:-(?:nc|nd|sa)){0,2})(?:/([0-9]\.[0-9])(?:/([a-z]{2,3})(?![a-z]))?)?")
_SHORT = re.compile(r"\bcc[ _-]{0,2}by((?:[ _/-]{0,2}(?:nc|nd|sa)){0,2})\b(?:[ ,_(-]{0,3}(?:v|ver|version)?[ .]{0,2}([0-9]\.[0-9]))?")
_LONG = re.compile(r"creative[ -]commons[ :,(-]{0,4}(?:public licen[cs]e )?attribution")
_TERMS = (
    ("nc", re.compile(r"non[ -]?commercial")),
    ("nd", re.compile(r"no[ -]?deriv(?:ative)?s?(?: works)?")),
    ("sa", re.compile(r"share[ -]?alike")),
)
_VERSION = re.compile(r"\b([1-4]\.[05])\b")
_ZERO = re.compile(r"publicdomain/zero|\bcc[ -]?(?:0|zero)\b|creative commons zero")
_MARK = re.compile(r"publicdomain/mark|public domain mark")
_AFTER = 250  # characters after a long name in which its terms and version stand
_FILLER = re.compile(
    r"https?://|www\.|legalcode|\b(?:creative commons|licen[cs]ed?|international|unported|generic|igo|deed(?:\.[a-z_]{2,5})?|under|the|"
    r"an?|universal|public domain dedication|version|terms|of|zero|cc)\b|[\s().,;:/\[\]|-]"
)


def _name(terms: list[str], version: str | None, port: str | None = None) -> str:
    """`CC-BY-NC-SA-4.0`, with the country of a version that was ported to one, where SPDX has it."""
    name = "-".join(["CC-BY", *(term.upper() for term in ("nc", "nd", "sa") if term in terms), *([version] if version else [])])
    ported = f"{name}-{port.upper()}" if port else name
    return ported if port and ported in get_spdx_licensing().known_symbols else name


def licenses_in(text: str) -> list[str]:
    """The licences that a text names, each once; addresses count before words, and CC0 (often of a paper's data) only by itself."""
    text = " ".join(text.lower().replace("\u2010", "-").replace("\u2011", "-").replace("–", "-").split())
    found = [_name(match[1].split("-")[1:], match[2], match[3]) for match in _ADDRESS.finditer(text)]
    if not found:
        for match in _SHORT.finditer(text):
            found.append(_name(re.findall("nc|nd|sa", match[1]), match[2]))
        for match in _LONG.finditer(text):
            after = text[match.end() : match.end() + _AFTER]
            version = _VERSION.search(after)
            found.append(_name([term for term, pattern in _TERMS if pattern.search(after)], version[1] if version else None))
    found = list(dict.fromkeys(found))
    # `CC-BY` beside `CC-BY-4.0` is the same licence, said twice
    found = [name for name in found if not any(other.startswith(name + "-") and other[len(name) + 1 :][:1].isdigit() for other in found)]
    if not found and _ZERO.search(text):
        return ["CC0-1.0"]
    return found or (["CC-PDM-1.0"] if _MARK.search(text) else [])


def license_named(text: str) -> str | None:
    """The licence that a text is the name or the address of; None where it says more than that, or names several."""
    found = licenses_in(text)
    if len(found) != 1:
        return None
    rest = " ".join(text.lower().split())
    for pattern in (_ADDRESS, _SHORT, _LONG, _ZERO, _MARK, *(pattern for _, pattern in _TERMS), _VERSION):
        rest = pattern.sub(" ", rest)
    return found[0] if not _FILLER.sub("", rest.replace("creativecommons.org", "").replace("publicdomain", "")).strip("10/") else None
