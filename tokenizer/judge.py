"""Tokenizers judged side by side on the same texts: figures for a table, as JSON and as one self-contained HTML page."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from jinja2 import Environment
from matplotlib.figure import Figure

from tokenizer.encode import Encoder
from tokenizer.inspect import Statistics, measure

ALL = "all"
_IDENTIFIER = re.compile(r"\b[A-Za-z_][A-Za-z0-9_]{2,63}\b")  # linear: one class after a boundary, bounded
_MOST_IDENTIFIERS = 20_000
_INDENTS = (1, 2, 4, 8, 12, 16, 20, 24, 32)
_PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c8c8c")  # Okabe and Ito 2008
_SHADES = ("#cfe3f5", "#fbe3bd", "#cdeadd", "#f3d6e6")  # of neighbouring tokens
_SHOWN = 1200  # characters of a text that are shown token by token


@dataclass(frozen=True)
class Token:
    """One token of a text as it is shown: what it stands for, and its id."""

    text: str
    number: int


@dataclass(frozen=True, eq=False)
class Judged:
    """One tokenizer's figures. `groups` has one entry for each domain and language, and `all`."""

    name: str
    vocab_size: int
    groups: dict[str, Statistics]
    number_tokens: dict[int, float]  # digits of a number -> tokens, on average
    indent_tokens: dict[str, float]  # indentation -> tokens that it takes
    identifier_tokens: float  # tokens for an identifier; nan without code
    identifiers_whole: float  # share of identifiers that are one token
    samples: dict[str, list[Token]]

    def to_json(self) -> dict[str, Any]:
        """Everything but the coloured tokens."""
        return {
            "name": self.name,
            "vocab_size": self.vocab_size,
            "groups": {
                name: {
                    "documents": s.texts,
                    "bytes": s.bytes,
                    "words": s.words,
                    "tokens": s.tokens,
                    "bytes_per_token": _figure(s.bytes_per_token),
                    "words_per_token": _figure(1 / s.tokens_per_word if s.words else float("nan")),
                    "tokens_per_word": _figure(s.tokens_per_word),
                    "renyi_efficiency": _figure(s.renyi_efficiency),
                    "vocabulary_used": _figure(s.used_share),
                    "single_byte_fallbacks": _figure(s.fallback_share),
                }
                for name, s in self.groups.items()
            },
            "tokens_of_a_number_by_digits": {str(digits): _figure(value) for digits, value in self.number_tokens.items()},
            "tokens_of_an_indentation": {name: _figure(value) for name, value in self.indent_tokens.items()},
            "tokens_of_an_identifier": _figure(self.identifier_tokens),
            "identifiers_that_are_one_token": _figure(self.identifiers_whole),
        }


def _figure(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 5)


def _lengths(encoder: Encoder, texts: Sequence[str]) -> npt.NDArray[np.int64]:
    offsets: npt.NDArray[np.int64] = encoder.encode(list(texts)).offsets.to_numpy().astype(np.int64)
    return np.diff(offsets)


def _beyond(encoder: Encoder, before: str, texts: Sequence[str], after: str) -> npt.NDArray[np.int64]:
    """How many tokens each text adds between two others."""
    base = int(_lengths(encoder, [before + after])[0])
    return _lengths(encoder, [before + text + after for text in texts]) - base


def _numbers() -> dict[int, list[str]]:
    """Numbers of one to twelve digits, the same for every tokenizer: 200 of each length, drawn evenly."""
    chance = random.Random(0)
    return {digits: [str(chance.randrange(10 ** (digits - 1), 10**digits)) for _ in range(200)] for digits in range(1, 13)}


def identifiers(texts: Sequence[str]) -> list[str]:
    """The different identifiers of some source code, in the order in which they come; at most 20,000."""
    found: dict[str, None] = {}
    for text in texts:
        for match in _IDENTIFIER.finditer(text):
            found[match.group()] = None
            if len(found) == _MOST_IDENTIFIERS:
                return list(found)
    return list(found)


def shown(encoder: Encoder, text: str) -> list[Token]:
    """The tokens of a text with what each stands for. Bytes of one character that are tokens of their own show it once."""
    encoding = encoder.tokenizer.encode(text, add_special_tokens=False)
    normal = encoder.tokenizer.normalizer.normalize_str(text) if encoder.tokenizer.normalizer else text
    source = text if len(normal) == len(text) else normal
    tokens, last = [], (-1, -1)
    for number, (begin, end) in zip(encoding.ids, encoding.offsets, strict=True):
        tokens.append(Token("·" if (begin, end) == last else source[begin:end], number))
        last = (begin, end)
    return tokens


def judge(name: str, encoder: Encoder, texts: Mapping[str, Sequence[str]], code: Sequence[str], samples: Mapping[str, str]) -> Judged:
    """One tokenizer's figures on `texts` (a text may be in several groups, `all` has each once), identifiers from `code`."""
    groups = {group: measure(encoder, pa.array(list(members), pa.large_string())) for group, members in texts.items()}
    numbers = {digits: float(_lengths(encoder, values).mean()) for digits, values in _numbers().items()}
    indents = [*(" " * width for width in _INDENTS), "\t", "\t\t", "\t\t\t\t"]
    widths = _beyond(encoder, "if x:\n", indents, "return")
    names = [f"{len(indent)} {'spaces' if indent[0] == ' ' else 'tabs'}" for indent in indents]
    found = identifiers(code)
    lengths = _lengths(encoder, [f" {word}" for word in found]) if found else np.zeros(0)
    return Judged(
        name,
        encoder.vocab_size,
        groups,
        numbers,
        dict(zip(names, map(float, widths), strict=True)),
        float(lengths.mean()) if found else float("nan"),
        float((lengths == 1).mean()) if found else float("nan"),
        {title: shown(encoder, text[:_SHOWN]) for title, text in samples.items()},
    )


# --- the page --------------------------------------------------------------------------------------------------------


def _svg(figure: Figure) -> str:
    sink = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "tokenizer", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = sink.getvalue()
    return text[text.index("<svg") :]


def _axes(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e3e7ec", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _bars(judged: Sequence[Judged], groups: Sequence[str], values: Any, label: str) -> str:
    figure, axes = _axes(9, 3)
    width = 0.8 / len(judged)
    for index, one in enumerate(judged):
        places = np.arange(len(groups)) + (index - (len(judged) - 1) / 2) * width
        axes.bar(places, [values(one, group) for group in groups], width * 0.94, color=_PALETTE[index % len(_PALETTE)], label=one.name)
    axes.set_xticks(np.arange(len(groups)), groups, rotation=0 if len(groups) < 9 else 40)
    axes.set_ylabel(label)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.18))
    return _svg(figure)


def _bytes_per_token(one: Judged, group: str) -> float:
    return one.groups[group].bytes_per_token


def _tokens_per_word(one: Judged, group: str) -> float:
    return one.groups[group].tokens_per_word


def _ranks(judged: Sequence[Judged]) -> str:
    figure, axes = _axes(9, 3)
    for index, one in enumerate(judged):
        used = np.sort(one.groups[ALL].used)[::-1]
        used = used[used > 0]
        axes.loglog(np.arange(1, len(used) + 1), used, color=_PALETTE[index % len(_PALETTE)], label=one.name)
        axes.axvline(one.vocab_size, color=_PALETTE[index % len(_PALETTE)], linewidth=0.8, linestyle=":")
    axes.set_xlabel("rank of the token (dotted: size of the vocabulary)")
    axes.set_ylabel("uses")
    axes.legend(frameon=False, fontsize=8)
    return _svg(figure)


def _lines(judged: Sequence[Judged]) -> str:
    figure, axes = _axes(9, 2.8)
    for index, one in enumerate(judged):
        digits = list(one.number_tokens)
        axes.plot(digits, [one.number_tokens[d] for d in digits], marker="o", color=_PALETTE[index % len(_PALETTE)], label=one.name)
    axes.set_xticks(range(1, 13))
    axes.set_xlabel("digits")
    axes.set_ylabel("tokens of a number")
    axes.legend(frameon=False, fontsize=8)
    return _svg(figure)


def page(judged: Sequence[Judged], about: str) -> str:
    """The HTML page: tables, plots, and the tokens of the samples in colour. It needs nothing from outside."""
    groups = list(judged[0].groups)
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        files("tokenizer").joinpath("judge.html.j2").read_text(encoding="utf-8")
    )
    return template.render(
        about=about,
        judged=[one.to_json() for one in judged],
        groups=groups,
        plots=[
            ("Bytes for a token", "Longer tokens make shorter sequences.", _bars(judged, groups, _bytes_per_token, "bytes")),
            ("Tokens for a word", "Fertility, of words between white space.", _bars(judged, groups, _tokens_per_word, "tokens")),
            ("How often tokens are used", "What lies right of a curve's end is never used in these texts.", _ranks(judged)),
            ("Numbers", "The average of 200 numbers of each length.", _lines(judged)),
        ],
        indents=list(judged[0].indent_tokens),
        samples=[(title, [(one.name, len(one.samples[title]), one.samples[title]) for one in judged]) for title in judged[0].samples],
        shades=_SHADES,
    )
