"""The scan of UTF-8 buffers against Python's own decoder."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tokenizer.scan import CODE_POINTS, all_allowed

ASCII_RUNS = st.text(st.characters(max_codepoint=0x7F), max_size=80)
TEXTS = st.lists(st.lists(st.one_of(st.text(max_size=5), ASCII_RUNS), max_size=5).map("".join), max_size=6)


def flags(refused: set[int]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    allowed = np.ones(CODE_POINTS, bool)
    allowed[list(refused)] = False
    return allowed


@given(TEXTS, st.sets(st.characters(codec="utf-8").map(ord), max_size=3), st.data())
def test_a_text_passes_if_every_code_point_of_it_is_allowed(texts: list[str], refused: set[int], data: st.DataObject) -> None:
    if any(texts):  # some that occur, too
        refused |= {ord(data.draw(st.sampled_from("".join(texts))))}
    expected = [not refused & set(map(ord, text)) for text in texts]
    assert all_allowed(pa.array(texts, pa.large_string()), flags(refused)).tolist() == expected


ASCII_ONLY = flags(set(range(0x80, CODE_POINTS)))


@given(TEXTS.filter(lambda texts: len(texts) > 2))
def test_a_slice_of_an_array_is_read_as_the_slice(texts: list[str]) -> None:
    sliced = pa.array(texts, pa.large_string())[1:-1]
    expected = [text.isascii() for text in texts[1:-1]]
    assert all_allowed(sliced, ASCII_ONLY).tolist() == expected


def utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


TRUNCATED = st.text(st.characters(min_codepoint=0x80, codec="utf-8"), min_size=1, max_size=3).map(lambda text: text.encode()[:-1])
HOSTILE = st.sampled_from([b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\x80", b"\xff"])


@given(st.lists(st.lists(st.one_of(st.binary(max_size=8), TRUNCATED, HOSTILE, st.text().map(str.encode)), max_size=4).map(b"".join)))
def test_bytes_that_are_not_utf8_are_refused(raw: list[bytes]) -> None:
    texts = pa.array(raw, pa.large_binary()).view(pa.large_string())
    assert all_allowed(texts, flags(set())).tolist() == [utf8(text) for text in raw]
