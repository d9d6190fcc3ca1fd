"""ModernBERT's logits and gradients beside transformers', every head, float32, on ragged lengths.

    python -m benchmarks.equality [--size small|base|large]

Base and large on segments of 1 to 2048 tokens, four layers of 64 on segments up to 8192. Random weights of the published spread;
ours on all segments laid end to end, transformers' sdpa on one segment after another, so that nothing is padded. The gradients are
those of the logits' product with random numbers. Large takes 12 GB and, on two cores, a quarter of an hour. `tests/model` does the same
at base size for the masked language model, and at small sizes for all.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.results_file import RESULTS, Row, show, write
from model import (
    ModernBertConfig,
    ModernBertForMaskedLM,
    MultipleChoice,
    QuestionAnswering,
    SequenceClassification,
    TokenClassification,
    bridge,
)
from model.check import bounds_of
from model.cpu import prepare_process

HEADS: tuple[type[nn.Module], ...] = (
    ModernBertForMaskedLM,
    SequenceClassification,
    TokenClassification,
    QuestionAnswering,
    MultipleChoice,
)
SPECIAL: dict[str, Any] = {"attention_out_dropout": 0.0, "cls_token_id": 1, "sep_token_id": 2, "pad_token_id": 3}
SIZES = {
    "small": (ModernBertConfig(hidden_size=64, layers=4, heads=4, intermediate_size=96, vocab_size=1024, **SPECIAL), [8192, 1, 777, 130]),
    "base": (ModernBertConfig.base(**SPECIAL), [2048, 1, 700, 129, 64, 2]),
    "large": (ModernBertConfig.large(**SPECIAL), [2048, 1, 700, 129, 64, 2]),
}
# Of the masked language model's tokens, every so many-th is predicted: 50,368 logits each would not fit into memory.
EVERY = 17
LOGITS, GRADIENTS = 1e-4, 1e-3


def _ours(model: Any, ids: Tensor, edges: Tensor) -> list[Tensor]:
    """Answers, a row a segment or a token."""
    longest = int(edges.diff().max())
    if isinstance(model, ModernBertForMaskedLM):
        return bridge.answers(model(ids, edges, longest, torch.arange(0, len(ids), EVERY)))
    if isinstance(model, MultipleChoice):
        return bridge.answers(model(ids, edges, longest, choices=2))
    return bridge.answers(model(ids, edges, longest))


def _theirs(kind: type[nn.Module], theirs: Any, pieces: list[Tensor]) -> list[Tensor]:
    """The same of transformers' model: of one segment, or of the two choices of one question, which are padded to be alike."""
    ids = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(piece) for piece in pieces], batch_first=True)
    if kind is MultipleChoice:
        return bridge.answers(theirs(input_ids=ids[None], attention_mask=mask[None]))
    return bridge.answers(theirs(input_ids=ids, attention_mask=mask))


def compare(kind: type[nn.Module], config: ModernBertConfig, lengths: list[int], folder: Path) -> tuple[float, float]:
    """Largest difference of logits, and largest relative difference of a parameter's gradient."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    made: Any = kind
    model = made(config).train()
    bridge.save(model, folder)
    theirs = getattr(transformers, bridge.ARCHITECTURES[kind]).from_pretrained(folder, attn_implementation="sdpa", dtype=torch.float32)
    theirs.eval()  # there is no dropout; this keeps it from asking for labels
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, config.vocab_size, (sum(lengths),), generator=generator)
    ids[ids == config.pad_token_id] = 0  # transformers' embedding of padding has no gradient
    edges = bounds_of(lengths, ids.device)
    found = _ours(model, ids, edges)
    slopes = [torch.randn(answer.shape, generator=generator) for answer in found]
    torch.autograd.backward(found, slopes)
    mine = [answer.detach() for answer in found]
    del found
    worst, begin, taken = 0.0, 0, 0
    pieces = list(torch.split(ids, lengths))
    groups = [pieces[at : at + 2] for at in range(0, len(pieces), 2)] if kind is MultipleChoice else [[piece] for piece in pieces]
    for group in groups:
        if kind is ModernBertForMaskedLM:
            places = torch.arange(len(group[0]))
            wanted = places[(places + begin) % EVERY == 0]
            begin += len(group[0])
            if not len(wanted):
                continue
            hidden = theirs.model(input_ids=group[0][None], attention_mask=torch.ones_like(group[0])[None])[0][0]
            others = [theirs.decoder(theirs.head(hidden[wanted]))]
        else:
            others = [answer[0] if kind in (TokenClassification, QuestionAnswering) else answer for answer in _theirs(kind, theirs, group)]
        rows = slice(taken, taken + len(others[0]))
        taken = rows.stop
        for answer, other in zip(mine, others, strict=True):
            worst = max(worst, float((answer[rows] - other).detach().abs().max()))
        torch.autograd.backward(others, [slope[rows] for slope in slopes])
    assert taken == len(mine[0]), "every answer has one to be compared with"
    gradients = dict(theirs.named_parameters())
    relative = 0.0
    for name, parameter in model.named_parameters():
        other = gradients[name].grad
        relative = max(relative, float((parameter.grad - other).norm() / other.norm()))
    return worst, relative


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=[*SIZES, "all"], default="all")
    parser.add_argument("--out", type=Path, help="where to write the JSON (default: benchmarks/results/equality.json)")
    options = parser.parse_args(arguments)
    prepare_process()
    rows: list[Row] = []
    for size in SIZES if options.size == "all" else (options.size,):
        for kind in HEADS:
            with tempfile.TemporaryDirectory() as folder:
                logits, gradients = compare(kind, *SIZES[size], Path(folder))
            name = f"{size}, up to {max(SIZES[size][1])}, {bridge.ARCHITECTURES[kind]}"
            rows.append(Row(f"{name}: largest difference of logits", "absolute", logits, goal=LOGITS, at_most=True))
            rows.append(Row(f"{name}: largest difference of a gradient", "relative", gradients, goal=GRADIENTS, at_most=True))
            print(f"{name}: {logits:.2g}, {gradients:.2g}", file=sys.stderr)
    show(rows)
    print(f"written: {write('equality', rows, ('torch', 'transformers'), path=options.out or RESULTS / 'equality.json')}")
    return 0 if all(row.to_dict()["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
