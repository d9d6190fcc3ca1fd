r"""siunitx's numbers and units, as it prints them: `\SI{5.2e3}{\kilo\gram}` is 5.2 × 10^3 kg.

Departures, where its print depends on settings: units below `\per` come after a slash, ranges have a dash, digits are not grouped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.readers.tex.macros import Macro, defined_name
from pipeline.readers.tex.state import State
from pipeline.readers.tex.tokens import words

_PREFIXES = {
    "quecto": "q", "ronto": "r", "yocto": "y", "zepto": "z", "atto": "a", "femto": "f", "pico": "p", "nano": "n", "micro": "µ",
    "milli": "m", "centi": "c", "deci": "d", "deca": "da", "deka": "da", "hecto": "h", "kilo": "k", "mega": "M", "giga": "G",
    "tera": "T", "peta": "P", "exa": "E", "zetta": "Z", "yotta": "Y", "ronna": "R", "quetta": "Q", "kibi": "Ki", "mebi": "Mi",
    "gibi": "Gi", "tebi": "Ti", "pebi": "Pi", "exbi": "Ei",
}  # fmt: skip
_UNITS = {
    "ampere": "A", "candela": "cd", "kelvin": "K", "kilogram": "kg", "gram": "g", "metre": "m", "meter": "m", "mole": "mol", "second": "s",
    "becquerel": "Bq", "degreeCelsius": "°C", "celsius": "°C", "coulomb": "C", "farad": "F", "gray": "Gy", "hertz": "Hz", "henry": "H",
    "joule": "J", "lumen": "lm", "katal": "kat", "lux": "lx", "newton": "N", "ohm": "Ω", "pascal": "Pa", "radian": "rad", "siemens": "S",
    "sievert": "Sv", "steradian": "sr", "tesla": "T", "volt": "V", "watt": "W", "weber": "Wb", "astronomicalunit": "au", "bel": "B",
    "dalton": "Da", "day": "d", "decibel": "dB", "degree": "°", "electronvolt": "eV", "hectare": "ha", "hour": "h", "litre": "L",
    "liter": "L", "arcminute": "′", "arcmin": "′", "minute": "min", "arcsecond": "″", "arcsec": "″", "neper": "Np", "tonne": "t",
    "angstrom": "Å", "bar": "bar", "barn": "b", "knot": "kn", "mmHg": "mmHg", "nauticalmile": "M", "atomicmassunit": "u", "bohr": "a_0",
    "clight": "c_0", "electronmass": "m_e", "elementarycharge": "e", "hartree": "E_h", "planckbar": "ħ", "percent": "%", "bit": "bit",
    "byte": "B", "molar": "mol/L", "Molar": "M", "torr": "Torr", "gal": "Gal", "curie": "Ci", "rad": "rad", "rem": "rem", "roentgen": "R",
    "year": "a", "parsec": "pc", "lightyear": "ly", "gauss": "G", "erg": "erg", "dyne": "dyn", "poise": "P",
    # abbreviations
    "fg": "fg", "pg": "pg", "ng": "ng", "ug": "µg", "mg": "mg", "g": "g", "kg": "kg", "amu": "u", "pm": "pm", "nm": "nm", "um": "µm",
    "mm": "mm", "cm": "cm", "dm": "dm", "m": "m", "km": "km", "as": "as", "fs": "fs", "ps": "ps", "ns": "ns", "us": "µs", "ms": "ms",
    "s": "s", "fmol": "fmol", "pmol": "pmol", "nmol": "nmol", "umol": "µmol", "mmol": "mmol", "mol": "mol", "kmol": "kmol", "pA": "pA",
    "nA": "nA", "uA": "µA", "mA": "mA", "A": "A", "kA": "kA", "ul": "µL", "ml": "mL", "l": "L", "hl": "hL", "uL": "µL", "mL": "mL",
    "L": "L", "mHz": "mHz", "Hz": "Hz", "kHz": "kHz", "MHz": "MHz", "GHz": "GHz", "THz": "THz", "mN": "mN", "N": "N", "kN": "kN",
    "MN": "MN", "Pa": "Pa", "kPa": "kPa", "MPa": "MPa", "GPa": "GPa", "mohm": "mΩ", "kohm": "kΩ", "Mohm": "MΩ", "pV": "pV", "nV": "nV",
    "uV": "µV", "mV": "mV", "V": "V", "kV": "kV", "uW": "µW", "nW": "nW", "mW": "mW", "W": "W", "kW": "kW", "MW": "MW", "GW": "GW",
    "uJ": "µJ", "mJ": "mJ", "J": "J", "kJ": "kJ", "meV": "meV", "eV": "eV", "keV": "keV", "MeV": "MeV", "GeV": "GeV", "TeV": "TeV",
    "kWh": "kW h", "F": "F", "fF": "fF", "pF": "pF", "nF": "nF", "uF": "µF", "mF": "mF", "H": "H", "mH": "mH", "uH": "µH", "K": "K",
    "dB": "dB",
}  # fmt: skip
_SIGNS = {
    "pm": "±", "mp": "∓", "times": "×", "cdot": "·", "approx": "≈", "sim": "∼", "leq": "≤", "le": "≤", "geq": "≥", "ge": "≥", "gg": "≫",
    "ll": "≪", "pi": "π", "infty": "∞", "gt": ">", "lt": "<", "%": "%", ",": " ", " ": " ", "ldots": "…", "dots": "…",
}  # fmt: skip
_POWERS = {"squared": "2", "cubed": "3"}
_POWERS_AHEAD = {"square": "2", "cubic": "3"}
_MOST = 2_000  # tokens of an argument, with the author's macros expanded
_EXPONENT = re.compile(r" ?[eEdD] ?([-+−]? ?\d+)\Z")


def _expanded(state: State, tokens: list[str]) -> list[str]:
    """Tokens with the author's macros without parameters in the place of their names, as far as that is short."""
    ahead, given = list(reversed(tokens)), []
    left = _MOST
    while ahead and left:
        left -= 1
        token = ahead.pop()
        macro = state.macros.by_name.get(token[1:].rstrip()) if token[0] == "\\" else None
        if macro is not None and not macro.parameters:
            if state.tokens.pay(macro.cost):
                ahead.extend(reversed(macro.body))
        else:
            given.append(token)
    return given


def _number(state: State, tokens: list[str]) -> str:
    """A number as it is printed."""
    text = ""
    for token in _expanded(state, tokens):
        text += _SIGNS.get(token[1:].rstrip() or " ", "") if token[0] == "\\" else "" if token in "{}$" else token
    text = " ".join(text.replace("+-", "±").replace("~", " ").split())
    text = re.sub(r" ?([±×]) ?", r" \1 ", re.sub(r"(?<=[\d\s])x(?=[\d\s])", "×", text)).strip()
    exponent = _EXPONENT.search(text)
    if exponent is None:
        return text
    power = exponent[1].replace(" ", "").replace("−", "-").lstrip("+")
    mantissa = text[: exponent.start()].rstrip()
    if " ± " in mantissa:
        mantissa = f"({mantissa})"
    return f"{mantissa} × 10{_raised(power)}" if mantissa else f"10{_raised(power)}"


def _raised(power: str) -> str:
    return "" if power == "1" else f"^{power}" if len(power) == 1 else f"^{{{power}}}"


def _unit(state: State, tokens: list[str]) -> str:
    """A unit as it is printed, from its commands or as it is written out."""
    above: list[str] = []
    under: list[str] = []
    side = last = above  # where the next unit goes, and where the last one is
    prefix, power = "", ""
    rest = iter(_expanded(state, tokens))
    for token in rest:
        name = token[1:].rstrip() if token[0] == "\\" else ""
        if name in _POWERS or name == "tothe":
            raised = _raised(_POWERS.get(name) or _group(rest))
            last[-1:] = [unit + raised for unit in last[-1:]]
        elif name in _POWERS_AHEAD or name == "raiseto":
            power = _POWERS_AHEAD.get(name) or _group(rest)
        elif name == "per":
            side = under
        elif name == "of":
            last[-1:] = [f"{unit}({_group(rest)})" for unit in last[-1:]]
        elif name in _PREFIXES:
            prefix += _PREFIXES[name]
        elif symbol := _symbol(token, name):
            side.append(prefix + symbol + _raised(power or "1"))
            prefix, power = "", ""
            last, side = side, above if name else side
    if prefix:
        side.append(prefix)
    return _joined(above, under)


def _symbol(token: str, name: str) -> str:
    """What one token of a unit prints: a command by its `name`, or what is written out."""
    if name:
        return _UNITS.get(name) or (name if name.isalpha() else _SIGNS.get(name, "").strip())
    return token.replace("~", " ").replace("$", "").strip()


def _joined(above: list[str], under: list[str]) -> str:
    """Units with those below the slash after it; with a negative power where there are no others."""
    if not under:
        return _spelt(above)
    if not above:
        bare = [unit.partition("^") for unit in under]
        return " ".join(unit + _raised("-" + (power.strip("{}") or "1")) for unit, _, power in bare)
    return f"{_spelt(above)}/{under[0]}" if len(under) == 1 else f"{_spelt(above)}/({_spelt(under)})"


def _spelt(parts: list[str]) -> str:
    """Units side by side; what is written out ("m.s^{-1}") as it is, with spaces for its dots."""
    text = ""
    for part in parts:
        joins = not text or text[-1] in "^_/. " or part[0] in "^_/. )}" or (text[-1] == "{")
        text += part if joins else " " + part
    return " ".join(re.sub(r"(?<=[A-Za-zµΩ°}0-9])\.(?=[A-Za-zµΩ])", " ", text).split())


def _group(rest: Iterator[str]) -> str:
    """The content of the next group among tokens that are being gone through, as text."""
    text, depth = "", 0
    for token in rest:
        if token == "{":
            depth += 1
        elif token == "}":
            depth -= 1
        else:
            text += token[1:].rstrip() if token[0] == "\\" else token
        if depth <= 0:
            break
    return text.strip()


def _with_unit(number: str, unit: str) -> str:
    return f"{number}{unit}" if unit in ("°", "′", "″") else f"{number} {unit}".strip()


def _write(state: State, number: str, unit: str) -> None:
    """A quantity on the page; within mathematics its unit is text."""
    out = state.page.out
    if state.formula is None:
        out.append(_with_unit(number, unit))
    elif unit:
        out.append(f"{number}\\,\\text{{{unit}}}" if number else f"\\text{{{unit}}}")
    else:
        out.append(number.replace("×", "\\times ").replace("±", "\\pm "))


def quantity(state: State, name: str) -> None:
    r"""`\SI{1}{\metre}` and `\qty`, with a unit before the number where there is one in brackets (`\SI{5}[\$]{}`)."""
    tokens = state.tokens
    tokens.optional()
    number = _number(state, tokens.argument())
    before = tokens.optional()
    unit = _unit(state, tokens.argument())
    _write(state, (_unit(state, before) if before else "") + number, unit)


def number(state: State, name: str) -> None:
    r"""`\num{5.2e3}`."""
    state.tokens.optional()
    _write(state, _number(state, state.tokens.argument()), "")


def unit(state: State, name: str) -> None:
    r"""`\si{\kilo\gram}` and `\unit`."""
    state.tokens.optional()
    _write(state, "", _unit(state, state.tokens.argument()))


def angle(state: State, name: str) -> None:
    r"""`\ang{45}` and `\ang{1;2;3}`."""
    state.tokens.optional()
    parts = words(state.tokens.argument()).split(";")
    text = "".join(part.strip() + mark for part, mark in zip(parts, "°′″", strict=False) if part.strip())
    state.page.out.append(text)


def span(state: State, name: str) -> None:
    r"""`\SIrange{10}{20}{\celsius}`, `\qtyrange`, `\numrange`: from one number to another."""
    tokens = state.tokens
    tokens.optional()
    ends = [_number(state, tokens.argument()) for _ in range(2)]
    found = "" if name == "numrange" else _unit(state, tokens.argument())
    text = "–".join(_with_unit(end, found) for end in ends)
    state.page.out.append(text if state.formula is None else f"\\text{{{text}}}")


def enumeration(state: State, name: str) -> None:
    r"""`\SIlist{1;2;3}{cm}`, `\qtylist`, `\numlist`, and products (`\numproduct{2 x 3}`)."""
    tokens = state.tokens
    tokens.optional()
    given = words(_expanded(state, tokens.argument()))
    found = "" if name.startswith("num") else _unit(state, tokens.argument())
    if name.endswith("product"):
        text = " × ".join(_with_unit(part.strip(), found) for part in given.split("x"))
    else:
        each = [_with_unit(_number(state, [part]), found) for part in given.split(";") if part.strip()]
        text = ", ".join(each[:-1]) + (" and " if len(each) > 1 else "") + "".join(each[-1:])
    state.page.out.append(text if state.formula is None else f"\\text{{{text}}}")


def declare(state: State, name: str) -> None:
    r"""`\DeclareSIUnit\molal{mol/kg}`: a unit of the author's, which is as a macro."""
    tokens = state.tokens
    tokens.optional()
    command = defined_name(tokens)
    tokens.optional()
    state.macros.define(command, Macro([], tokens.argument()))
