"""Templates that stand for words of the sentence, as `{{lang|fr|mot}}` and `{{convert|5|km}}`; all others are left out."""

from __future__ import annotations

from collections.abc import Callable

# Which of a template's arguments to show: a number (negative: from the last), a way of `_WAYS`, or the text that it stands for.
_WORDS: dict[str, int | str] = {
    "birth date": "day", "birth date and age": "day", "death date": "day", "death date and age": "day", "start date": "day",
    "end date": "day", "lang": 2, "langx": 2, "transl": -1, "transliteration": -1, "nowrap": 1, "nobr": 1, "nobreak": 1, "small": 1,
    "big": 1, "nihongo": 1, "math": 1, "mvar": 1, "var": 1, "em": 1, "strong": 1, "code": 1, "tt": 1, "kbd": 1, "samp": 1, "mono": 1,
    "quote": 1, "blockquote": 1, "quotation": 1, "cquote": 1, "abbr": 1, "tooltip": 1, "val": 1, "formatnum": 1, "smallcaps": 1, "sc": 1,
    "sup": 1, "sub": 1, "convert": "convert", "cvt": "convert", "ill": 1, "interlanguage link": 1, "as of": "as of", "circa": "circa",
    "c.": "circa", "frac": "frac", "sfrac": "frac", "angbr": 1, "IPA": -1, "script": 2, "unicode": 1, "vanchor": 1, "visible anchor": 1,
    "linktext": "all", "green": 1, "red": 1, "color": 2, "font color": 2, "u": 1, "underline": 1, "gap": "space", "spaces": "space",
    "snd": "dash", "spnd": "dash", "ndash": "dash", "mdash": "—", "spaced ndash": "dash", "endash": "–", "emdash": "—", "nbsp": "space",
    "!": "bar", "=": "=", "'": "'", "'s": "'s", "\"": '"', "dash": "dash", "·": "·", "dot": "·", "bull": "•", "ordinal": 1,
    "plainlist": 1, "unbulleted list": "all", "ubl": "all", "hlist": "all", "flatlist": 1, "center": 1, "date": 1, "en": 1,
    "ship": "all", "uss": "all", "hms": "all", "sc2": 1, "e": "e", "chem": "join", "chem2": 1,
}  # fmt: skip
_WORDS = {name.lower(): what for name, what in _WORDS.items()}


def to_words(parts: list[str]) -> str:
    """What a template shows: its name and arguments, as they stand between its bars."""
    name = " ".join(parts[0].replace("_", " ").split()).lower()
    head, colon, _rest = name.partition(":")
    if colon and head in ("formatnum", "lc", "uc", "lcfirst", "ucfirst"):
        return parts[0].partition(":")[2].strip()
    what = _WORDS.get(name)
    if what is None:
        if len(parts) == 1 or not name.startswith(("lang-", "ipa")):
            return ""
        what = 1
    values = _values(parts[1:])
    if isinstance(what, int):
        index = what - 1 if what > 0 else len(values) + what
        return values[index] if 0 <= index < len(values) else values[-1] if values else ""
    way = _WAYS.get(what)
    return way(values) if way is not None else what


def _values(parts: list[str]) -> list[str]:
    """The arguments in their order; of those with a name the numbered ones and texts, at the end."""
    named: dict[str, str] = {}
    values: list[str] = []
    for part in parts:
        key, equals, value = part.partition("=")
        if equals and len(key) < 30 and "<" not in key and "\0" not in key and key.strip().replace(" ", "").isalnum():
            named[key.strip()] = value.strip()
        else:
            values.append(part.strip())
    return values + [named[key] for key in ("1", "2", "3", "text", "quote") if key in named]


def _converted(values: list[str]) -> str:
    is_range = len(values) >= 4 and values[1] in ("to", "-", "–", "and", "x", "by")
    return " ".join(values[: 4 if is_range else 2])


def _fraction(values: list[str]) -> str:
    if len(values) == 2:
        return f"{values[0]}/{values[1]}"
    return f"{values[0]} {values[1]}/{values[2]}" if len(values) == 3 else "1/" + "".join(values)


_WAYS: dict[str, Callable[[list[str]], str]] = {
    "convert": _converted,
    "frac": _fraction,
    "as of": lambda values: "As of " + "-".join(values[:3]) if values else "",
    "day": lambda values: "-".join(value.zfill(2) for value in values[:3] if value.isdecimal()),
    "circa": lambda values: "c. " + "–".join(values[:2]),
    "all": lambda values: ", ".join(value for value in values if value),
    "join": "".join,
    "e": lambda values: "×10^" + "".join(values[:1]),
    "space": lambda values: " ",
    "dash": lambda values: " – ",
    "bar": lambda values: "|",
}
