"""Two statistics: how well a text compresses, which tells boilerplate from prose, and how many addresses it has a word."""

from __future__ import annotations

import re
import zlib
from typing import Any

import pyarrow as pa

from pipeline.measure.added import Statistic

_LINK = re.compile(r"https?://")


def measure(texts: pa.ChunkedArray) -> dict[str, Any]:
    """Both numbers of each text; null of an empty one."""
    ratios: list[float | None] = []
    links: list[float | None] = []
    for text in texts.to_pylist():
        raw, words = text.encode(), len(text.split())
        ratios.append(len(zlib.compress(raw, 6)) / len(raw) if raw else None)
        links.append(len(_LINK.findall(text)) / words if words else None)
    return {"compression": pa.array(ratios, pa.float64()), "links": pa.array(links, pa.float64())}


COMPRESSION = Statistic(
    columns={"compression": "bytes compressed by zlib / bytes", "links": "addresses / words"},
    measure=measure,
    version=1,
)
