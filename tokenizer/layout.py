"""Which id is what. The order is the reference's, whatever the size of the vocabulary:

    bytes and merges | runs of spaces, longest first | placeholders for personal data | specials | unused

With 50,368 entries the specials are 50,280 to 50,284 and `[unused0]` is 50,285, as in ModernBERT's own tokenizer. (Its
base, from OLMo, has `|||IP_ADDRESS|||` at 0 and a padding token at 1; ours keeps the placeholders together.) A corpus too
small to give all merges leaves more `[unusedN]` at the end, so that the size is always the one asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

from tokenizer.config import TokenizerConfig
from tokenizer.errors import TokenizerError

SPECIALS = ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")
PLACEHOLDERS = ("|||EMAIL_ADDRESS|||", "|||PHONE_NUMBER|||", "|||IP_ADDRESS|||")
BYTES = 256


@dataclass(frozen=True)
class Layout:
    """The added entries of a vocabulary, in order of their ids, which follow those of bytes and merges."""

    learned: int  # bytes and merges
    words: tuple[str, ...]  # runs of spaces and placeholders: matched in text
    specials: tuple[str, ...]
    unused: tuple[str, ...]

    def id_of(self, special: str) -> int:
        """The id of one of `SPECIALS`."""
        return self.ordinary_end + self.specials.index(special)

    @property
    def ordinary_end(self) -> int:
        """Ids below this one are ordinary: what a random replacement may be."""
        return self.learned + len(self.words)


def added_words(config: TokenizerConfig) -> tuple[str, ...]:
    """Entries that are matched in text before merges: runs of spaces, longest first, then placeholders."""
    return (*(" " * run for run in range(config.space_runs, 1, -1)), *PLACEHOLDERS)


def learned_size(config: TokenizerConfig) -> int:
    """How many entries are bytes and merges. Raises `TokenizerError` where not even the bytes fit."""
    size = config.vocab_size - len(added_words(config)) - len(SPECIALS) - config.unused
    if size < BYTES:
        least = -(-(BYTES + config.vocab_size - size) // 64) * 64
        raise TokenizerError(
            f"tokenizer.vocab_size {config.vocab_size}: too small for {BYTES} bytes and {config.vocab_size - size} added entries; "
            f"give at least {least}, or fewer `unused`"
        )
    return size


def layout(config: TokenizerConfig, learned: int) -> Layout:
    """The layout of a vocabulary of which `learned` entries came out of training."""
    words = added_words(config)
    unused = config.vocab_size - learned - len(words) - len(SPECIALS)
    return Layout(learned, words, SPECIALS, tuple(f"[unused{number}]" for number in range(unused)))
