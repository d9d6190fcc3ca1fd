"""Fine-tuning on a CPU beside sentence-transformers: contrastive tuning by its own trainer, and encoding texts of all lengths.

    python -m benchmarks.finetune [--quick]

Both begin with the same random weights of a small ModernBERT and learn from the same pairs, docstrings and bodies of functions of
Python's own library, in batches of the same size, with AdamW at the same rates, without dropout; then one and the same function takes the
losses of both models on held-out pairs. Those must be within a tenth of one another (each library has its own order of batches), or
nothing was measured. sentence-transformers pads each batch, and its trainer does not sort. Encoding is of texts whose lengths are spread as
those pairs' are; sentence-transformers sorts them by length there. Vectors must be equal. Both are of one process, and take turns. Needs
`datasets` and `accelerate`, which sentence-transformers' trainer does (extra `[bench]`).
"""

from __future__ import annotations

import argparse
import ast
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from benchmarks.results_file import RESULTS, Peer, Row, show, versions, write
from model import Embedding, ModernBertConfig, bridge
from model.cpu import prepare_process
from tokenizer import Encoder, special_ids
from tokenizer.folder import ROLES, dump
from trainer.tuning.config import DenseConfig, TuningConfig
from trainer.tuning.encode import encode
from trainer.tuning.texts import TextTokens
from trainer.tuning.tune import tune

THREADS, LENGTH, RATE, BATCH = 2, 512, 2e-4, 32
GOALS = {"tuning": 2.0, "encoding": 2.5}
_APART = 0.1  # how much of the held-out loss the two may be apart


def pairs(most: int) -> list[tuple[str, str]]:
    """Docstrings' first paragraphs and the bodies of their functions, without the docstring, from Python's own library."""
    return list(dict(_pairs(most)).items())[:most]


def _pairs(most: int) -> Iterator[tuple[str, str]]:
    found = 0
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            text = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
            if text and len(text.split()) >= 3 and isinstance(node, ast.FunctionDef) and len(node.body) > 1:
                node.body = node.body[1:]
                found += 1
                yield text.split("\n\n")[0], ast.unparse(node)
        if found > 2 * most:
            return


def write_start(folder: Path, texts: list[str]) -> TextTokens:
    """A small model of random weights, and a tokenizer of these texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=8000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(list(ROLES.values()))
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", cls), ("[SEP]", sep)])
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": LENGTH, "model_input_names": ["input_ids", "attention_mask"]}
    dump(folder / "tokenizer_config.json", {**names, **ROLES})
    ids = special_ids(folder)
    sizes: dict[str, Any] = {
        "hidden_size": 256,
        "layers": 6,
        "heads": 4,
        "intermediate_size": 384,
        "max_length": LENGTH,
        "attention_out_dropout": 0.0,
    }
    specials: dict[str, Any] = {"cls_token_id": ids.cls, "sep_token_id": ids.sep, "pad_token_id": ids.pad}
    torch.manual_seed(0)
    bridge.save(Embedding(ModernBertConfig(vocab_size=-(-ids.vocab_size // 64) * 64, **sizes, **specials)), folder)
    return TextTokens(Encoder(folder, compare=False), ids)


def held_out_loss(queries: Any, texts: Any) -> float:
    """In-batch loss of held-out pairs' vectors, whoever made them."""
    one, other = torch.from_numpy(np.asarray(queries)), torch.from_numpy(np.asarray(texts))
    return float(F.cross_entropy(one @ other.T / 0.05, torch.arange(len(one))))


def ours(folder: Path, tokens: TextTokens, train: list[tuple[str, str]], held: list[tuple[str, str]]) -> tuple[float, float]:
    """Seconds, and the loss on held-out pairs."""
    rows = [(query, text, "train") for query, text in train] + [(query, text, "validation") for query, text in held[:2]]
    columns = {name: [row[place] for row in rows] for place, name in enumerate(("query", "text", "split"))}
    settings = TuningConfig(
        learning_rates=[RATE], epochs=1, batch_size=BATCH, warmup=0.1, weight_decay=0.0, optimizer="adamw", beta2=0.999, epsilon=1e-8
    )
    begin = time.perf_counter()
    found = tune(folder, tokens, DenseConfig(cut=True), pa.table(columns), settings)
    seconds = time.perf_counter() - begin
    model: Any = found.model
    sides = [encode(model, tokens, [pair[side] for pair in held], cut=True) for side in (0, 1)]
    return seconds, held_out_loss(*sides)


def theirs(folder: Path, train: list[tuple[str, str]], held: list[tuple[str, str]]) -> tuple[float, float]:
    """The same by sentence-transformers' trainer."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"attn_implementation": "sdpa"})
    data = Dataset.from_dict({"anchor": [query for query, _ in train], "positive": [text for _, text in train]})
    with tempfile.TemporaryDirectory() as output:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=output,
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            learning_rate=RATE,
            warmup_ratio=0.1,
            weight_decay=0.0,
            max_grad_norm=0.0,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            logging_strategy="no",
        )
        trainer = SentenceTransformerTrainer(model=model, args=arguments, train_dataset=data, loss=MultipleNegativesRankingLoss(model))
        begin = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - begin
    sides = [model.encode([pair[side] for pair in held], batch_size=32, show_progress_bar=False) for side in (0, 1)]
    return seconds, held_out_loss(*sides)


def tuning(folder: Path, tokens: TextTokens, found: list[tuple[str, str]], repeats: int) -> Row:
    """The row of contrastive tuning."""
    train, held = found[128:], found[:128]
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    losses: dict[str, float] = {}
    for _ in range(repeats):
        for who, (seconds, loss) in (("ours", ours(folder, tokens, train, held)), ("theirs", theirs(folder, train, held))):
            times[who].append(len(train) / seconds)
            losses[who] = loss
    print(f"held-out loss: ours {losses['ours']:.4f}, sentence-transformers {losses['theirs']:.4f}")
    if abs(losses["ours"] - losses["theirs"]) > _APART * losses["theirs"]:
        raise SystemExit(f"benchmarks.finetune: the losses differ, {losses}; nothing was measured")
    name = f"contrastive tuning, batch {BATCH}, {THREADS} threads"
    peer = Peer(
        "sentence-transformers' trainer", versions("sentence-transformers")["sentence-transformers"], statistics.median(times["theirs"])
    )
    return Row(name, "pairs/s", statistics.median(times["ours"]), peer, GOALS["tuning"])


def encoding(folder: Path, tokens: TextTokens, texts: list[str], repeats: int) -> Row:
    """The row of encoding."""
    from sentence_transformers import SentenceTransformer

    peer = SentenceTransformer(str(folder), device="cpu", model_kwargs={"attn_implementation": "sdpa"})
    own: Any = bridge.load_any(folder)
    rates: dict[str, list[float]] = {"ours": [], "theirs": []}
    for number in range(repeats + 1):
        begin = time.perf_counter()
        mine = encode(own, tokens, texts, cut=True)
        middle = time.perf_counter()
        others = peer.encode(texts, batch_size=32, show_progress_bar=False)
        end = time.perf_counter()
        if number:  # the first is to warm up
            rates["ours"].append(len(texts) / (middle - begin))
            rates["theirs"].append(len(texts) / (end - middle))
    if not np.abs(mine - others).max() < 1e-4:
        raise SystemExit(f"benchmarks.finetune: the vectors differ by {np.abs(mine - others).max()}; nothing was measured")
    beside = Peer("sentence-transformers", versions("sentence-transformers")["sentence-transformers"], statistics.median(rates["theirs"]))
    return Row(f"encoding ragged texts, {THREADS} threads", "texts/s", statistics.median(rates["ours"]), beside, GOALS["encoding"])


def main() -> None:
    """Measure, show and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer pairs, once; results go to finetune-quick.json")
    arguments = parser.parse_args()
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torch.set_num_threads(THREADS)
    prepare_process()
    found = pairs(400 if arguments.quick else 2200)
    if len(found) < 300:
        raise SystemExit("benchmarks.finetune: this Python's library has no source files; run another one")
    repeats = 1 if arguments.quick else 5
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "start"
        tokens = write_start(folder, [text for pair in found for text in pair])
        rows = [
            encoding(folder, tokens, [text for _, text in found[: 128 if arguments.quick else 512]], max(2, repeats)),
            tuning(folder, tokens, found, repeats),
        ]
    show(rows)
    path = RESULTS / "finetune-quick.json" if arguments.quick else None
    write("finetune", rows, ("torch", "transformers", "sentence-transformers", "datasets", "accelerate"), path=path)


if __name__ == "__main__":
    main()
