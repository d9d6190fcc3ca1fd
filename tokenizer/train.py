"""Training: byte-level BPE from counted pre-tokens, or by the `tokenizers` library; the result is the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from kernel.compile import kernel
from tokenizer.alphabet import visible_bytes
from tokenizer.classes import classes
from tokenizer.config import TokenizerConfig
from tokenizer.count import Counter, checked, merge_counts, normalised
from tokenizer.errors import TokenizerError
from tokenizer.layout import PLACEHOLDERS, learned_size
from tokenizer.merges import learn, prune
from tokenizer.scan import buffers
from tokenizer.splits import LEFT_GROUPS, RIGHT_GROUPS, piece_end

# OpenAI's cl100k pattern (GPT-4), which Llama 3 and OLMo 2 keep: with it, spaces before line ends, a sign before letters, and
# groups of up to three digits stay together. `modern_pattern` changes its third alternative and what counts as a letter.
CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

_BATCH = 16 << 20  # bytes of text that are counted at a time
_NO_TEXT = "tokenizer: no text to train on; the mix is empty, see the report for what the filters dropped"


def modern_pattern(config: TokenizerConfig) -> str:
    """The pattern of `modern` with its options: with `digits: left` it is cl100k's, with `digits: one` Qwen 2's."""
    pattern = CL100K.replace(LEFT_GROUPS, {"left": LEFT_GROUPS, "one": r"\p{N}", "right": RIGHT_GROUPS}[config.digits])
    if config.marks:  # as Qwen 3.5 has it
        pattern = pattern.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")
    return pattern


def pretokenizer(config: TokenizerConfig) -> pre_tokenizers.PreTokenizer:
    """How text is cut before merges; bytes are mapped to visible characters as GPT-2 does."""
    if config.pretokenizer == "modernbert":
        return pre_tokenizers.ByteLevel(add_prefix_space=config.add_prefix_space, use_regex=True)
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(modern_pattern(config)), behavior="isolated"),
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
    return _around(models.BPE(), config)


def _around(model: models.BPE, config: TokenizerConfig) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pretokenizer(config)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


@kernel
def _piece_ends(data: npt.NDArray[np.uint8], table: npt.NDArray[np.uint8]) -> list[int]:  # pragma: no cover - compiled
    ends, at = [0], 0
    while at < len(data):
        at = piece_end(data, at, len(data), table)
        ends.append(at)
    return ends


def pieces(text: str) -> Iterator[str]:
    """A text, cut within runs of more than `LONGEST_RUN` characters without a space; the pieces make up the text."""
    raw = text.encode()
    for begin, end in pairwise(_piece_ends(np.frombuffer(raw, np.uint8), classes()) if raw else [0, 0]):
        yield raw[begin:end].decode()


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def train(texts: Iterable[str], config: TokenizerConfig) -> Tokenizer:
    """Learn merges from texts. All 256 bytes are in the vocabulary, so that nothing is ever unknown.

    The tokenizer that comes back has bytes and merges only; `artifact.write` adds the rest. The order of the texts does not
    matter. Raises `TokenizerError` where there is no text, or where the vocabulary cannot hold the bytes and the added
    entries.
    """
    learned_size(config)
    if config.method == "huggingface":
        return train_by_library(texts, config)
    counter = Counter(config)
    seen = sum(counter.add(batch) for batch in _batches(texts))
    if not seen:
        raise TokenizerError(_NO_TEXT)
    return train_from_counts(merge_counts(counter.take()[0]), config)[0]


def train_from_counts(words: pa.Table, config: TokenizerConfig) -> tuple[Tokenizer, npt.NDArray[np.int64]]:
    """`train` from counts of different pre-tokens (`count.WORDS`), and how often they use each token. Raises `TokenizerError`."""
    size = learned_size(config)
    offsets, data, counts = np.zeros(1, np.int64), np.zeros(0, np.uint8), np.zeros(0, np.int64)
    if words.num_rows:  # else there is nothing but runs of spaces and placeholders
        column = pa.concat_arrays(words["word"].chunks)
        offsets, data, counts = *buffers(column), words["count"].to_numpy()
    tokens, merges, uses = learn(offsets, data, counts, size, config.min_frequency)
    if config.min_token_uses:
        tokens, merges, uses = prune(tokens, merges, uses, config.min_token_uses)
    visible = visible_bytes()
    shown = ["".join(visible[byte] for byte in token) for token in tokens]
    vocabulary = {token: number for number, token in enumerate(shown)}
    return _around(models.BPE(vocabulary, [(shown[left], shown[right]) for left, right in merges]), config), uses


def train_by_library(texts: Iterable[str], config: TokenizerConfig) -> Tokenizer:
    """`train` by the library's own trainer. Raises `TokenizerError`."""
    tokenizer = blank(config)
    tokenizer.pre_tokenizer = training_pretokenizer(config)
    trainer = trainers.BpeTrainer(
        vocab_size=learned_size(config),
        min_frequency=config.min_frequency,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[],
        show_progress=False,
    )
    seen = 0

    def counted() -> Iterator[str]:
        nonlocal seen
        for text in chain.from_iterable(normalised(checked(batch)).to_pylist() for batch in _batches(texts)):
            seen += len(text)
            yield from pieces(text)

    tokenizer.train_from_iterator(counted(), trainer)
    if not seen:
        raise TokenizerError(_NO_TEXT)
    tokenizer.pre_tokenizer = pretokenizer(config)
    return tokenizer
