"""Masking for masked language modelling, keyed by (seed, sample): the same on every rank, at any world size.

Of the ordinary tokens `rate` are to be predicted; of those 80 % become `[MASK]`, 10 % a random ordinary token, 10 % stay
(Devlin et al. 2018). Special tokens are neither predicted nor drawn.

What is chosen at once is a token (ModernBERT), a whole word (BERT's later variant: all tokens of a word, each replaced by its
own draw), or a span (Joshi et al. 2020, SpanBERT: a geometric number of tokens, p = 0.2, at most 10, replaced alike; SpanBERT's
are of whole words, ours begin anywhere, and end before a special token).
"""

from __future__ import annotations

from typing import Any, Literal

import numba
import numpy as np
import numpy.typing as npt

from trainer.keyed import draw, mix

_UNIT = 1.0 / (1 << 53)
Masking = Literal["tokens", "words", "spans"]
MODES: dict[Masking, int] = {"tokens": 0, "words": 1, "spans": 2}
SPAN_P, LONGEST_SPAN = 0.2, 10
MEAN_SPAN = (1 - (1 - SPAN_P) ** LONGEST_SPAN) / SPAN_P  # of a geometric length that is cut off


def span_start(rate: float) -> float:
    """The chance that a span starts at a token outside one, so that a share `rate` of the tokens lies in spans."""
    return 1 / (1 + MEAN_SPAN * (1 - rate) / rate)


@numba.njit(cache=True, nogil=True, inline="always")
def _unit(bits: np.uint64) -> float:  # pragma: no cover - compiled
    """Random bits as a number in [0, 1)."""
    return np.float64(bits >> np.uint64(11)) * _UNIT


@numba.njit(cache=True, nogil=True)
def mask_row(
    ids: npt.NDArray[Any],
    key: np.uint64,
    rate: float,
    first: int,
    end: int,
    mask: int,
    mode: int,
    starts: npt.NDArray[np.bool_],
    out: npt.NDArray[np.int64],
    positions: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
) -> int:  # pragma: no cover - compiled
    """Mask one row: ids with replacements into `out`, which to predict into `positions` and `labels`; returns how many.

    `ids` (tokens,) of any unsigned kind; ordinary tokens are first <= id < end. `mode`: see `MODES`; `starts` bool (vocabulary,)
    says which tokens begin a word, for whole words. The draws of token t are the numbers 2 t and 2 t + 1 of the stream `key`, so
    they do not depend on the other tokens.
    """
    count = 0
    if rate <= 0:
        for token in range(len(ids)):
            out[token] = np.int64(ids[token])
        return 0
    chosen = False  # the current word, or span
    left = 0  # tokens of the current span
    bits_of_span = np.uint64(0)
    start = 1 / (1 + MEAN_SPAN * (1 - rate) / rate)  # as `span_start` has it
    inside = False  # a word has begun
    for token in range(len(ids)):
        word = np.int64(ids[token])
        out[token] = word
        if word < first or word >= end:
            inside, left = False, 0
            continue
        draw_of_token = draw(key, np.uint64(2 * token))
        bits = draw(key, np.uint64(2 * token + 1))
        if mode == 0:
            chosen = _unit(draw_of_token) < rate
        elif mode == 1:
            if not inside or starts[word]:
                chosen = _unit(draw_of_token) < rate
            inside = True
        elif left > 0:
            left -= 1
            bits = bits_of_span
        else:
            chosen = _unit(draw_of_token) < start
            if chosen:
                # a geometric length by inversion, from bits that the comparison above did not settle
                length = 1 + int(np.log(1.0 - _unit(mix(draw_of_token))) / np.log(1.0 - SPAN_P))
                left = min(length, LONGEST_SPAN) - 1
                bits_of_span = bits
        if not chosen:
            continue
        positions[count] = token
        labels[count] = word
        count += 1
        kind = _unit(bits)
        if kind < 0.8:
            out[token] = mask
        elif kind < 0.9:
            out[token] = first + np.int64(mix(bits + np.uint64(token) * np.uint64(mode == 2)) % np.uint64(end - first))
        if mode == 2 and left == 0:
            chosen = False
    return count


@numba.njit(cache=True, nogil=True)
def mask_rows(
    ids: npt.NDArray[np.int64],
    row_at: npt.NDArray[np.int64],
    samples: npt.NDArray[np.int64],
    key: np.uint64,
    rate: float,
    first: int,
    end: int,
    mask: int,
    mode: int,
    starts: npt.NDArray[np.bool_],
    positions: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
) -> int:  # pragma: no cover - compiled
    """Mask rows that lie end to end, in place: row `r` is `ids[row_at[r]:row_at[r + 1]]`, and its stream that of `samples[r]`.

    Returns how many tokens are to be predicted, over all rows; their places in `ids` go to `positions`.
    """
    count = 0
    for row in range(len(samples)):
        at = row_at[row]
        part = ids[at : row_at[row + 1]]
        stream = draw(key, np.uint64(samples[row]))
        made = mask_row(part, stream, rate, first, end, mask, mode, starts, part, positions[count:], labels[count:])
        for index in range(count, count + made):
            positions[index] += at
        count += made
    return count
