"""How well a tokenizer fits texts: counts that add up over partitions, and the figures that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tokenizer.alphabet import visible_bytes
from tokenizer.encode import Encoder

_ORDER = 2.5  # of the Rényi entropy that correlates best with what models make of a tokenizer (the same paper)


@dataclass(frozen=True, eq=False)
class Statistics:
    """Counts over some texts. They add: measure partitions apart, and sum."""

    texts: int
    bytes: int  # of UTF-8
    words: int  # runs of characters without white space
    used: npt.NDArray[np.int64]  # (vocab,): how often each id was used
    fallback: int  # tokens that are a single byte of a longer character, or unknown

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(
            self.texts + other.texts,
            self.bytes + other.bytes,
            self.words + other.words,
            self.used + other.used,
            self.fallback + other.fallback,
        )

    @property
    def tokens(self) -> int:
        """How many tokens the texts became."""
        return int(self.used.sum())

    @property
    def bytes_per_token(self) -> float:
        """Bytes of UTF-8 for a token; nan without tokens."""
        return self.bytes / self.tokens if self.tokens else float("nan")

    @property
    def tokens_per_word(self) -> float:
        """Fertility: tokens for a word; nan without words."""
        return self.tokens / self.words if self.words else float("nan")

    @property
    def fallback_share(self) -> float:
        """Share of tokens that are a single byte of a longer character, or unknown: text that the vocabulary does not know."""
        return self.fallback / self.tokens if self.tokens else float("nan")

    @property
    def renyi_efficiency(self) -> float:
        """Rényi entropy of order 2.5 of the tokens' frequencies, as a share of the most there can be (Zouhar et al. 2023)."""
        shares = self.used[self.used > 0] / max(1, self.tokens)
        return float(np.log((shares**_ORDER).sum()) / (1 - _ORDER) / np.log(len(self.used))) if len(shares) else float("nan")

    @property
    def used_share(self) -> float:
        """Share of the vocabulary's entries that occur."""
        return float((self.used > 0).mean())


def fallback_ids(encoder: Encoder) -> npt.NDArray[np.int64]:
    """The ids that stand for a single byte past ASCII, and that of the unknown token."""
    bytes_past_ascii = (*visible_bytes()[0x80:], *(f"<0x{byte:02X}>" for byte in range(0x80, 0x100)))
    names = bytes_past_ascii if _is_byte_level(encoder) else bytes_past_ascii[0x80:]
    found = [encoder.tokenizer.token_to_id(name) for name in (*names, getattr(encoder.tokenizer.model, "unk_token", None) or "[UNK]")]
    return np.array(sorted(number for number in found if number is not None), np.int64)


def _is_byte_level(encoder: Encoder) -> bool:
    return all(encoder.tokenizer.token_to_id(name) is not None for name in visible_bytes())


def measure(encoder: Encoder, texts: pa.StringArray | pa.LargeStringArray) -> Statistics:
    """Encode texts, and count. Nulls count as empty texts."""
    ids = np.asarray(encoder.encode(texts).flatten())
    used = np.bincount(ids, minlength=encoder.vocab_size).astype(np.int64)
    words = pc.sum(pc.count_substring_regex(texts, r"[^\s\p{Z}]+")).as_py() or 0
    size = pc.sum(pc.binary_length(texts)).as_py() or 0
    return Statistics(len(texts), int(size), int(words), used, int(used[fallback_ids(encoder)].sum()))
