"""Two engines that encode: `tokenizers`, whose result counts, and gigatoken, where it was proved to give the same.

The proof is made once, when an artifact is written. The engines' Unicode tables may differ in what is a letter, a number, a
mark or a space, and in how text is normalised, so every assigned code point is encoded by both in several surroundings.
Documents with a code point on which they differ, or that was not compared, go through `tokenizers`.
"""

from __future__ import annotations

import os
import unicodedata
from typing import Any

import awkward as ak
import gigatoken
import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tokenizers import Tokenizer

CODE_POINTS = 0x110000
Ids = npt.NDArray[np.uint32]
_BATCH = 16_384


def slow_encode(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    """Ids of each text by `tokenizers`, on this thread alone if `TOKENIZERS_PARALLELISM` says so."""
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def fast_engine(tokenizer_json: str) -> tuple[gigatoken.Tokenizer | None, str]:
    """Gigatoken's engine for a tokenizer.json, and "" or why there is none."""
    try:
        return gigatoken.Tokenizer.from_json(tokenizer_json), ""
    except Exception as error:  # whatever it cannot load, it says in its own ways; `tokenizers` does the work then
        return None, " ".join(f"{type(error).__name__}: {error}".split())


def _buffers(texts: pa.LargeStringArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """A large_string array without nulls as `(offsets, bytes)`, not copied."""
    if len(texts) == 0:
        return np.zeros(1, np.int64), np.zeros(0, np.uint8)
    _, raw, data = texts.buffers()
    offsets = np.frombuffer(raw, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return offsets, np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)


def fast_encode(engine: gigatoken.Tokenizer, texts: pa.LargeStringArray) -> tuple[npt.NDArray[np.int64], Ids]:
    """Ids by gigatoken, straight from and to buffers: `(offsets int64 (texts + 1,), ids uint32)`. One thread.

    `texts` is a large_string array without nulls.
    """
    if len(texts) == 0:
        return np.zeros(1, np.int64), np.zeros(0, np.uint32)
    offsets, data = _buffers(texts)
    characters = ak.contents.NumpyArray(data, parameters={"__array__": "char"})
    strings = ak.contents.ListOffsetArray(ak.index.Index64(offsets), characters, parameters={"__array__": "string"})
    result: Any = engine.encode_batch(ak.Array(strings), parallel=False)
    layout = ak.to_packed(result).layout
    return np.asarray(layout.offsets, dtype=np.int64), np.asarray(layout.content.data, dtype=np.uint32)


def surroundings(character: str) -> str:
    """A text that shows what the engines take a character for: by itself, beside letters, digits, marks, spaces, itself."""
    c = character
    return f"{c} a{c}b A{c}{c} 1{c}2 {c}.{c}\n{c}'s {c}  {c}x e{c}\u0301 \u00e9{c}9"


def compared() -> list[int]:
    """The code points that are compared: all that are assigned, but for surrogates and private use."""
    return [code for code in range(CODE_POINTS) if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")]


def differences(tokenizer: Tokenizer, engine: gigatoken.Tokenizer) -> list[int]:
    """The compared code points on which the two engines give different ids."""
    codes = compared()
    found: list[int] = []
    for begin in range(0, len(codes), _BATCH):
        batch = codes[begin : begin + _BATCH]
        texts = [surroundings(chr(code)) for code in batch]
        offsets, ids = fast_encode(engine, pa.array(texts, pa.large_string()))
        for index, expected in enumerate(slow_encode(tokenizer, texts)):
            if expected != ids[offsets[index] : offsets[index + 1]].tolist():
                found.append(batch[index])
    return found


def safe_table(different: list[int]) -> npt.NDArray[np.bool_]:
    """Which code points gigatoken may be given: bool (0x110000,)."""
    safe = np.zeros(CODE_POINTS, bool)
    safe[compared()] = True
    safe[different] = False
    return safe


@numba.njit(cache=True, nogil=True)
def _all_safe(
    offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8], safe: npt.NDArray[np.bool_], out: npt.NDArray[np.bool_]
) -> None:  # pragma: no cover - compiled
    for document in range(len(offsets) - 1):
        at, end, good = offsets[document], offsets[document + 1], True
        while at < end and good:
            first = np.int64(data[at])
            if first < 0x80:
                code, width = first, 1
            elif first < 0xE0:
                code, width = first & 0x1F, 2
            elif first < 0xF0:
                code, width = first & 0x0F, 3
            else:
                code, width = first & 0x07, 4
            for index in range(1, width):
                code = (code << 6) | np.int64(data[at + index] & 0x3F)
            good = safe[code]
            at += width
        out[document] = good


def all_safe(texts: pa.LargeStringArray, safe: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which texts have safe code points only: bool (texts,). `texts` is a large_string array without nulls."""
    out = np.ones(len(texts), bool)
    if len(texts):
        _all_safe(*_buffers(texts), safe, out)
    return out


def single_threaded() -> None:
    """Keep `tokenizers` to the calling thread: the pipeline runs one worker a core."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
