"""Training: byte-level BPE by the `tokenizers` library, over any stream of texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tokenizer.config import TokenizerConfig
from tokenizer.errors import TokenizerError
from tokenizer.layout import PLACEHOLDERS, learned_size

# OpenAI's cl100k pattern (GPT-4), which Llama 3, Qwen and OLMo 2 keep: with it, spaces before line ends, a mark before
# letters, and groups of up to three digits stay together.
CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

# The library looks through a whole pre-token for every merge that it makes in it: the time for one without end (DNA, encoded
# data, a script without spaces) grows with its square. No word is as long as this many characters.
LONGEST_RUN = 1000
_LONG_RUN = re.compile(rf"\S{{{LONGEST_RUN}}}(?=\S)")


def pretokenizer(config: TokenizerConfig) -> pre_tokenizers.PreTokenizer:
    """How text is cut before merges; bytes are mapped to visible characters as GPT-2 does."""
    if config.pretokenizer == "modernbert":
        return pre_tokenizers.ByteLevel(add_prefix_space=config.add_prefix_space, use_regex=True)
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CL100K), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def training_pretokenizer(config: TokenizerConfig) -> pre_tokenizers.PreTokenizer:
    """`pretokenizer` as it acts on what is left between the added words.

    In use, runs of spaces and placeholders are taken out of the text before it is cut; the library's trainer knows nothing of
    them. Without this, it would spend merges on indentation that can never occur, and count a word after a run of spaces
    with a leading space that it does not have.
    """
    added = [re.escape(word) for word in PLACEHOLDERS]
    if config.space_runs > 1:
        added.append(f" {{2,{config.space_runs}}}")
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex("|".join(added)), behavior="removed"), pretokenizer(config)])


def blank(config: TokenizerConfig) -> Tokenizer:
    """A tokenizer that has not learnt anything: NFC, the pre-tokenizer, byte-level decoding."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pretokenizer(config)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def pieces(text: str) -> Iterator[str]:
    """A text, cut within runs of more than `LONGEST_RUN` characters without a space; the pieces make up the text."""
    start = 0
    for run in _LONG_RUN.finditer(text):
        yield text[start : run.end()]
        start = run.end()
    yield text[start:]


def train(texts: Iterable[str], config: TokenizerConfig) -> Tokenizer:
    """Learn merges from texts. All 256 bytes are in the vocabulary, so that nothing is ever unknown.

    The tokenizer that comes back has bytes and merges only; `artifact.write` adds the rest. The order of the texts does not
    matter. Raises `TokenizerError` where there is no text, or where the vocabulary cannot hold the bytes and the added
    entries.
    """
    size = learned_size(config)
    tokenizer = blank(config)
    tokenizer.pre_tokenizer = training_pretokenizer(config)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=config.min_frequency,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[],
        show_progress=False,
    )
    seen = 0

    def counted() -> Iterator[str]:
        nonlocal seen
        for text in texts:
            seen += len(text)
            yield from pieces(text)

    tokenizer.train_from_iterator(counted(), trainer)
    if not seen:
        raise TokenizerError("tokenizer: no text to train on; the mix is empty, see the report for what the filters dropped")
    tokenizer.pre_tokenizer = pretokenizer(config)
    return tokenizer
