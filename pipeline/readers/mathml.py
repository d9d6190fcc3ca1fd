"""Presentation MathML as light TeX: scripts, fractions, roots and matrices by their commands; letters and signs as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.readers.elements import name_of

_MAX_DEPTH = 200  # of elements; deeper ones give their words alone
# Among them the invisible signs of multiplication, application and separation.
_SIGNS = {
    "−": "-", "\u2062": "", "\u2061": "", "\u2063": "", "\u200b": "", "{": "\\{", "}": "\\}", "%": "\\%",
    "&": "\\&", "#": "\\#",
}  # fmt: skip
_SPACED = frozenset(("=", "<", ">", "≤", "≥", "≈", "∼", "→", "±", "∈", "≠", "+", "-", "×", "≡", "∝"))
_FUNCTIONS = frozenset(("sin", "cos", "tan", "log", "ln", "exp", "max", "min", "lim", "det", "sup", "inf"))
_ACCENTS = {
    "¯": "bar", "‾": "bar", "ˉ": "bar", "_": "bar", "^": "hat", "ˆ": "hat", "˜": "tilde", "~": "tilde", "→": "vec", "˙": "dot",
    "¨": "ddot",
}  # fmt: skip
_NOTHING = frozenset(("annotation", "annotation-xml", "mphantom", "maligngroup", "malignmark"))
_ROWS = frozenset(("mrow", "math", "mstyle", "mpadded"))  # lines, of which the spaces count; others are constructs of parts


def to_tex(element: Any, depth: int = 0) -> str:
    """A `math` element, or one within, as TeX without dollars."""
    name = name_of(element)
    if depth > _MAX_DEPTH:
        return "".join(element.itertext())
    if name in _LEAVES:
        return _LEAVES[name]("".join(element.itertext()))
    if name in _NOTHING:
        return ""
    parts = [to_tex(child, depth + 1) for child in element if name_of(child)]
    if name not in _ROWS:
        parts = [part.strip() for part in parts]
    if name in _CONSTRUCTS and len(parts) >= 2:
        return _CONSTRUCTS[name](parts)
    if name == "msqrt":
        return f"\\sqrt{{{''.join(parts)}}}"
    if name == "mfenced":
        separator = (element.get("separators") or ",")[:1]
        return f"{element.get('open') or '('}{separator.join(parts)}{element.get('close') or ')'}"
    if name in ("mtr", "mlabeledtr"):
        return " & ".join(parts)
    if name == "mtable" and len(parts) > 1:
        return "\\begin{matrix} " + " \\\\ ".join(parts) + " \\end{matrix}"
    if name == "mtable" or parts:
        return "".join(parts)
    return (element.text or "").strip()


# --- letters, numbers and signs -----------------------------------------------------------------------------------------


def _collapsed(text: str) -> str:
    return " ".join(text.split())


def _operator(text: str) -> str:
    text = _collapsed(text)
    text = _SIGNS.get(text, text)
    return f" {text} " if text in _SPACED else text


def _identifier(text: str) -> str:
    text = _collapsed(text)
    if len(text) > 1 and text.isalpha() and text.isascii():
        return f"\\{text} " if text in _FUNCTIONS else f"\\mathrm{{{text}}}"
    return text


def _words(text: str) -> str:
    text = text.strip()
    return f"\\text{{{text}}}" if text else " "


_LEAVES: dict[str, Callable[[str], str]] = {
    "mi": _identifier,
    "mn": _collapsed,
    "mo": _operator,
    "ms": _collapsed,
    "mtext": _words,
    "mspace": lambda _text: " ",
}


# --- constructs of several parts ----------------------------------------------------------------------------------------


def _base(text: str) -> str:
    return text if len(text) <= 1 or (text.startswith("\\") and "{" not in text) else f"{{{text}}}"


def _braced(text: str) -> str:
    return text if len(text) == 1 else f"{{{text}}}"


def _below(parts: list[str]) -> str:
    return f"{_base(parts[0])}_{_braced(parts[1])}"


def _above(parts: list[str]) -> str:
    return f"{_base(parts[0])}^{_braced(parts[1])}"


def _below_and_above(parts: list[str]) -> str:
    return _below(parts) + (f"^{_braced(parts[2])}" if len(parts) > 2 else "")


def _over(parts: list[str]) -> str:
    accent = _ACCENTS.get(parts[1])
    return f"\\{accent}{{{parts[0]}}}" if accent else f"\\overset{{{parts[1]}}}{{{parts[0]}}}"


_CONSTRUCTS: dict[str, Callable[[list[str]], str]] = {
    "msub": _below,
    "munder": _below,
    "msup": _above,
    "msubsup": _below_and_above,
    "munderover": _below_and_above,
    "mover": _over,
    "mfrac": lambda parts: f"\\frac{{{parts[0]}}}{{{parts[1]}}}",
    "mroot": lambda parts: f"\\sqrt[{parts[1]}]{{{parts[0]}}}",
}
