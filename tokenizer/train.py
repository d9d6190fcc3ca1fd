"""Training: byte-level BPE by the `tokenizers` library, over any stream of texts."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tokenizer.config import TokenizerConfig
from tokenizer.errors import TokenizerError
from tokenizer.layout import learned_size

# OpenAI's cl100k pattern (GPT-4), which Llama 3, Qwen and OLMo 2 keep: with it, spaces before line ends, a mark before
# letters, and groups of up to three digits stay together.
CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def pretokenizer(config: TokenizerConfig) -> pre_tokenizers.PreTokenizer:
    """How text is cut before merges; bytes are mapped to visible characters as GPT-2 does."""
    if config.pretokenizer == "modernbert":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CL100K), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def blank(config: TokenizerConfig) -> Tokenizer:
    """A tokenizer that has not learnt anything: NFC, the pre-tokenizer, byte-level decoding."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pretokenizer(config)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def train(texts: Iterable[str], config: TokenizerConfig) -> Tokenizer:
    """Learn merges from texts. All 256 bytes are in the vocabulary, so that nothing is ever unknown.

    The tokenizer that comes back has bytes and merges only; `artifact.write` adds the rest. Raises `TokenizerError` where
    there is no text, or where the vocabulary cannot hold the bytes and the added entries.
    """
    size = learned_size(config)
    tokenizer = blank(config)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=config.min_frequency,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[],
        show_progress=False,
    )
    seen = 0

    def counted() -> Iterable[str]:
        nonlocal seen
        for text in texts:
            seen += len(text)
            yield text

    tokenizer.train_from_iterator(counted(), trainer)
    if not seen:
        raise TokenizerError("tokenizer: no text to train on; the mix is empty, see the report for what the filters dropped")
    return tokenizer
