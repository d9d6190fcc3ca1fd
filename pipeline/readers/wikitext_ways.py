"""How templates of wikis show their arguments, where that is more than one: quantities, dates, money, names, words of other scripts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.readers.data import rows

_MONTHS = {language: names for language, *names in rows("months.tsv")}
_DAY_OF_MONTH = {"es": "{} de {} de {}", "pt": "{} de {} de {}", "de": "{}. {} {}"}
# Words between the two ends of a range in `{{convert}}`.
_RANGES = frozenset({"to", "-", "–", "and", "x", "by", "or", "+/-", "±", "&ndash;", "and(-)", "to(-)", "to about", "×", "*"})
_SMALLER = {
    "ft": ("in",),
    "lb": ("oz",),
    "st": ("lb",),
    "mi": ("yd", "ft", "chain", "furlong", "ch", "fur"),
    "yd": ("ft", "in"),
    "hr": ("min",),
}
_NUMBER = re.compile(r"[-−+]?[0-9][0-9.,]{0,40}(?:[/e][-+]?[0-9]{1,9})?\Z")
_CENTURY = re.compile(r"[IVXLCivxlc]{1,8}\Z")
_CURRENCIES = {"usd": "US$", "eur": "€", "gbp": "£", "jpy": "¥", "cny": "¥", "inr": "₹", "krw": "₩", "rub": "₽", "aud": "A$", "cad": "C$"}
_AMOUNTS = {"k": "thousand", "m": "million", "b": "billion", "c": "crore", "l": "lakh", "lc": "lakh crore", "t": "trillion"}
_NAMED_SCRIPTS = {
    "c": "Chinese: ", "s": "simplified Chinese: ", "t": "traditional Chinese: ", "p": "pinyin: ", "tp": "Tongyong Pinyin: ",
    "w": "Wade–Giles: ",
    "j": "Jyutping: ", "y": "Yale: ", "poj": "Pe̍h-ōe-jī: ", "hangul": "Korean: ", "hanja": "Hanja: ", "rr": "RR: ", "mr": "MR: ",
    "l": "lit. ",
}  # fmt: skip


@dataclass(frozen=True)
class Arguments:
    """A template's name as it is written, its arguments in their order, and those that have names."""

    name: str
    values: list[str]
    named: dict[str, str]

    def get(self, *names: str) -> str:
        """The first that is given of several named arguments; empty where none is."""
        return next((self.named[name] for name in names if self.named.get(name)), "")

    def at(self, index: int) -> str:
        """An argument by its place from 0; empty where there is none."""
        return self.values[index] if index < len(self.values) else ""


def _words(*parts: str) -> str:
    return " ".join(part for part in parts if part)


# --- quantities ---------------------------------------------------------------------------------------------------------


def _converted(given: Arguments) -> str:
    """The quantity as its author gives it; what it is converted to is not said in the page's source."""
    values = given.values
    shown, rest = values[:1], values[1:]
    while len(rest) >= 2 and rest[0].lower() in _RANGES:
        shown += ["to" if rest[0].startswith("to") else rest[0], rest[1]]
        rest = rest[2:]
    shown += rest[:1]
    while len(rest) >= 3 and _NUMBER.match(rest[1]) and rest[2] in _SMALLER.get(rest[0], ()):
        shown += rest[1:3]
        rest = rest[2:]
    return _words(*shown)


def _power(number: str) -> str:
    base, mark, exponent = number.partition("e")
    return f"{base.strip()}×10^{exponent.strip()}" if mark and exponent.strip().lstrip("+-−").isdecimal() else number


def _value(given: Arguments) -> str:
    """`{{val|5.2|0.1|u=km}}`: a number, its uncertainty, its power of ten and its unit."""
    values = given.values
    number = _power(given.at(0))
    if len(values) == 2 and _NUMBER.match(values[1]):
        number = f"{number} ± {values[1]}"
    elif len(values) > 2:
        number = f"{number} +{values[1].lstrip('+')} −{values[2].lstrip('-−')}"
    elif len(values) == 2:
        number = _words(number, values[1])
    if exponent := given.get("e", "d"):
        number += f"×10^{exponent}"
    unit, below = given.get("u", "ul", "unit"), given.get("up", "upl")
    return given.get("p") + _words(number, f"{unit}/{below}" if below else unit) + given.get("s")


def _unit(given: Arguments) -> str:
    """`{{unité|25|km||h|-1}}`: a number, then units and their powers."""
    values = given.values
    units = [
        unit + (f"^{power}" if len(power) == 1 else f"^{{{power}}}" if power else "")
        for unit, power in zip(values[1::2], [*values[2::2], ""], strict=False)
        if unit
    ]
    number = values[0] if values else ""
    return _words(re.sub(r"\s{0,9}\be(-?[0-9]{1,9})", r"×10^\1", number), "⋅".join(units))


def _times(given: Arguments) -> str:
    numbers = [value for value in given.values if _NUMBER.match(value)]
    return _words(" × ".join(numbers), *(value for value in given.values if not _NUMBER.match(value)))


def _percent(given: Arguments) -> str:
    values = [value for value in given.values if _NUMBER.match(value)]
    if len(values) > 1 and given.name.lower() in ("percentage", "percent", "pct"):
        return f"{' of '.join(values[:2])}"
    return f"{values[0]} %" if values else ""


def _fraction(given: Arguments) -> str:
    values = given.values
    if len(values) == 2:
        return f"{values[0]}/{values[1]}"
    return f"{values[0]} {values[1]}/{values[2]}" if len(values) >= 3 else "1/" + "".join(values)


def money(sign: str) -> Callable[[Arguments], str]:
    def show(given: Arguments) -> str:
        amount = given.at(0)
        scale = _AMOUNTS.get(given.at(1).lower(), "") if len(given.values) > 1 else ""
        return _words(sign + amount, scale) if amount else sign

    return show


def _currency(given: Arguments) -> str:
    code = given.at(1)
    sign = _CURRENCIES.get(code.lower())
    return sign + given.at(0) if sign else _words(given.at(0), code)


def _hour(given: Arguments) -> str:
    hours, minutes = given.at(0), given.at(1)
    return f"{hours} h {minutes}".rstrip() if hours else ""


def _height(given: Arguments) -> str:
    parts = [f"{given.named[name]} {name}" for name in ("m", "cm", "ft", "in") if given.named.get(name)]
    return _words(*parts) or _words(*given.values[:2])


# --- dates --------------------------------------------------------------------------------------------------------------


def _number(value: str, most: int) -> int:
    return int(value) if value.isdecimal() and value.isascii() and len(value) < 3 and 1 <= int(value) <= most else 0


def _english_date(given: Arguments) -> str:
    """Year, month and day as the page shows them: the day first with `df`."""
    year, month, day = given.at(0), _number(given.at(1), 12), _number(given.at(2), 31)
    if not year or not month:
        return _words(*given.values[:3])
    if not day:
        return f"{_MONTHS['en'][month - 1]} {year}"
    name = _MONTHS["en"][month - 1]
    return f"{day} {name} {year}" if given.get("df", "dmy").lower() in ("y", "yes", "true") else f"{name} {day}, {year}"


def _day_month(language: str) -> Callable[[Arguments], str]:
    def show(given: Arguments) -> str:
        day, month, year = given.at(0), given.at(1), given.at(2)
        if (number := _number(month, 12)) and day and year:
            return _DAY_OF_MONTH.get(language, "{} {} {}").format(day, _MONTHS[language][number - 1], year)
        return _words(*given.values[:3])

    return show


def _french_date(given: Arguments) -> str:
    day, month, year = given.at(0), given.at(1), given.at(2)
    if number := _number(month, 12):
        month = _MONTHS["fr"][number - 1]
    return _words(day, month, year)


def _cjk_date(given: Arguments) -> str:
    if all(value.isdecimal() for value in given.values[:3]):
        return "".join(f"{value}{unit}" for value, unit in zip(given.values, "年月日", strict=False))
    return " – ".join("".join(given.values[at : at + 2]) for at in (0, 2) if "".join(given.values[at : at + 2]))


def _as_of(given: Arguments) -> str:
    year, month, day = given.at(0), _number(given.at(1), 12), given.at(2)
    date = _words(day, _MONTHS["en"][month - 1] if month else given.at(1), year)
    lead = "since" if given.get("since") else "as of"
    if alt := given.get("alt"):
        return alt
    return _words(lead if given.get("lc") else lead.capitalize(), date)


def _old_style(given: Arguments) -> str:
    return _words(given.at(0), f"[O.S. {given.at(2)}]" if given.at(2) else "", given.at(1))


def _century(before: str = "") -> Callable[[Arguments], str]:
    def show(given: Arguments) -> str:
        if not _CENTURY.match(given.at(0)):
            return given.at(0)
        return f"{given.at(0)}{given.at(1) or 'e'} siècle{before}"

    return show


def _centuries(given: Arguments) -> str:
    return f"{given.at(0)}{given.at(1)} et {given.at(2)}{given.at(3)} siècles"


def _century_to(given: Arguments) -> str:
    values = [*given.values, "", "", "", "", ""]
    return _words(values[0] + values[1], values[2] or "–", f"{values[3]}{values[4]} siècle" if values[3] else "siècle")


# --- names, words, marks ------------------------------------------------------------------------------------------------


def _link(given: Arguments) -> str:
    """A link to another wiki shows its label, which some wikis give by name and Russian's as the last of four."""
    label = given.get("lt", "texte", "label", "trad texte", "текст")
    if label:
        return label
    if given.name.lower().startswith(("нп", "не ", "iw")) and given.at(1):
        return given.at(1)
    return given.at(0) or given.get("fr", "trad")


def _quote(given: Arguments) -> str:
    text = given.get("text", "texte", "quote", "1") or given.at(0)
    author = given.get("author", "auteur", "sign", "autor", "by") or (given.at(1) if len(given.values) > 1 else "")
    return f"{text} — {author}" if author and text else text


def _nihongo(given: Arguments) -> str:
    first, *others = given.values[:3] or [""]
    within = ", ".join(value for value in others if value)
    return f"{first} ({within})" if first and within else first or within


def _named_scripts(given: Arguments) -> str:
    shown = [label + given.named[name] for name, label in _NAMED_SCRIPTS.items() if given.named.get(name)]
    return "; ".join([*(value for value in given.values if value), *shown])


def _ruby(given: Arguments) -> str:
    return f"{given.at(0)}({given.at(1)})" if given.at(1) else given.at(0)


def _ship(given: Arguments) -> str:
    name, number = given.at(0), given.at(1)
    return _words(given.name.upper(), name, f"({number})" if number else "")


def _section(given: Arguments) -> str:
    return _words(given.at(0), *(f"§ {section}" for section in given.values[1:] if section))


def _work(given: Arguments) -> str:
    *names, year = [value for value in given.values if value] or [""]
    return f"{' and '.join(names)} ({year})" if names else year


def _list(given: Arguments) -> str:
    text = given.at(0)
    return f"\n{text}\n" if text.lstrip().startswith(("*", "#")) else text


def all_of(given: Arguments) -> str:
    """All arguments, apart from each other."""
    return ", ".join(value for value in given.values if value)


def prefixed(before: str, after: str = "") -> Callable[[Arguments], str]:
    """The arguments, with ranges' ends joined, after or before what is always there."""
    return lambda given: before + "–".join(value for value in given.values[:2] if value) + after if given.values else ""


WAYS: dict[str, Callable[[Arguments], str]] = {
    "convert": _converted,
    "value": _value,
    "unit": _unit,
    "times": _times,
    "percent": _percent,
    "frac": _fraction,
    "e": lambda given: "×10^" + given.at(0),
    "age ago": lambda given: f"{given.at(0)} years ago",
    "million years ago": lambda given: f"{'–'.join(given.values[:2])} million years ago",
    "height": lambda given: f"{given.at(0)} m" if given.at(0) else "",
    "height of": _height,
    "hour": _hour,
    "currency": _currency,
    "gaps": lambda given: "".join(given.values),
    "date:en": _english_date,
    "date": _french_date,
    "cjk date": _cjk_date,
    "as of": _as_of,
    "since": lambda given: _words("Since", *given.values[:1]),
    "circa": lambda given: "c. " + "–".join(given.values[:2]),
    "old style": _old_style,
    "siècle": _century(),
    "siècle before": _century(" av. J.-C."),
    "siècle and": _centuries,
    "siècle to": _century_to,
    "ordinal e": lambda given: "".join(given.values[:2]),
    "nihongo": _nihongo,
    "chinese": _named_scripts,
    "named": _named_scripts,
    "ruby": _ruby,
    "ipac": lambda given: "/" + "".join(given.values) + "/",
    "verse": lambda given: "\n\n".join(value for value in given.values if value),
    "sic": lambda given: _words("".join(given.values), "" if given.get("hide", "nolink") == "y" else "[sic]"),
    "angle": lambda given: f"⟨{given.at(0)}⟩",
    "su": lambda given: "/".join(part for part in (given.get("p"), given.get("b")) if part) or "".join(given.values),
    "tex": lambda given: f"${given.at(0)}$" if given.at(0) else "",
    "quote": _quote,
    "quoted": lambda given: f"« {given.get('texte', '1') or given.at(0)} »" if given.name != '"' else f"„{given.at(0)}“",
    "link": _link,
    "all": all_of,
    "list": _list,
    "name": lambda given: _words(given.name, *given.values),
    "ship": _ship,
    "ship class": lambda given: _words(given.at(0), given.at(1), f"({given.at(2)})" if given.at(2) else ""),
    "work": _work,
    "section": _section,
    "nothing": lambda given: "",
    **{f"day month:{language}": _day_month(language) for language in _MONTHS},
}
