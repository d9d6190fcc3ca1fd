"""Texts to train and to encode: what installed packages ship, and real documents where a developer has them."""

from __future__ import annotations

import io
import json
import sysconfig
from functools import cache
from pathlib import Path

import pytest

DATA = Path(__file__).parents[3] / "shared" / "data"
_SITE = Path(sysconfig.get_path("purelib"))
# Code, prose, markup and tables, all shipped by what the project depends on.
_SHIPPED = ("numpy/lib/*.py", "pydantic/*.py", "*.dist-info/METADATA", "transformers/models/modernbert/*.py", "torch/*.pyi", "jinja2/*.py")
SAMPLES = (
    "The quick brown fox, aged 12345, didn't jump over 3.14159 lazy dogs; we're sure they'll mind.",
    "def f(x):\n    if x:\n        return [1, 2,   3]\n\n\n\treturn None  # done\r\n",
    "Ünïcödé naïve cafe\u0301 Ελληνικά русский язык 漢字かな交じり文 한국어 हिन्दी ภาษาไทย עברית العربية",
    "𝒳 ∈ ℝⁿ, ½ ⅓ ² ³ № ™ 😀👩‍👩‍👧‍👦🇫🇷 ﬁ ſ İ ı ß K",
    "\u00a0\u2003wide\u3000spaces\u2028line\u2029paragraph\x85next\x1c\x0bvertical",
    "|||EMAIL_ADDRESS||| wrote to |||IP_ADDRESS|||" + " " * 30 + "end",
)


@cache
def shipped(limit: int = 3_000_000) -> tuple[str, ...]:
    """Text files of installed packages: at most so many bytes of each kind."""
    found: list[str] = []
    for pattern in _SHIPPED:
        size = 0
        for path in sorted(_SITE.glob(pattern)):
            found.append(path.read_text(encoding="utf-8"))
            size += path.stat().st_size
            if size > limit // len(_SHIPPED):
                break
    return tuple(found)


def real(name: str, documents: int) -> list[str]:
    """The first documents of a file of real data; the test is skipped, saying so, where it is not there."""
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{path} is not there; real documents are for developers who have them")
    import zstandard

    texts: list[str] = []
    with path.open("rb") as file:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8"):
            texts.append(json.loads(line)["text"])
            if len(texts) == documents:
                break
    return texts
