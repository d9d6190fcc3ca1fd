"""To evaluate a subject on sets: each is done once, and again only where its items, its settings or the model changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from evaluation import results
from evaluation.results import Result
from evaluation.sets.measured import SETS, Asked, MeasuredSet
from evaluation.subject import Subject
from kernel.random import derive
from kernel.sections import check_name
from model import MaskedLM, ModelError
from model.bridge import from_transformers_config
from pipeline.held_out import HeldOut
from pipeline.workdir.dataset import fingerprint
from pipeline.workdir.errors import UserError

TOKENS = 16_384  # that go through a model at once


def chosen_sets(names: Sequence[str]) -> list[MeasuredSet]:
    """The sets of these names; all where there is none. Raises `UserError` for a name that is none."""
    for name in names:
        try:
            check_name(name, SETS, "set")
        except ValueError as error:
            raise UserError(f"--set {name}: {error}") from error
    return [SETS[name] for name in names or SETS]


def evaluate(
    subject: Subject,
    sample: HeldOut,
    sets: Sequence[MeasuredSet],
    folder: Path,
    *,
    strict: bool = True,
    said: Callable[[str], None] = lambda _: None,
) -> Iterator[Result]:
    """The results of a subject on sets, made where they are not in `folder` yet. `said` gets a line for each that is up to date.

    Raises `UserError` where there is nothing to evaluate on, or the model takes other ids, and `ModelError` where it cannot be read. A set
    that no document of the sample is long enough for is such an error; unless `strict`, it is told and passed over.
    """
    if not sample.pieces:
        raise UserError("the held-out sample is empty; raise mix.validation_share, so that some documents are held out, and pack again")
    if subject.tokenizer != sample.info.tokenizer:
        raise UserError(
            f"{subject.folder}: takes the ids of another tokenizer than the workdir's, so that their losses cannot be compared; "
            "evaluate it in the workdir that it comes from"
        )
    model: MaskedLM | None = None
    asked = Asked(sample, min(sample.info.length, _longest(subject)), TOKENS)
    for each in sets:
        settings = {"version": each.version, "sample": sample.fingerprint, **each.settings(asked)}
        key = fingerprint(settings, subject.weights, each.metrics, each.by)
        known = results.read(folder, each.name)
        if known is not None and known.key == key:
            said(f"{each.name:<16} up to date")
            yield known
            continue
        model = model if model is not None else subject.load()
        rows, passed_over, numbers = each.measure(model, asked)
        if not rows.num_rows:
            empty = f"set {each.name}: has no item, since no document of the held-out sample is long enough"
            if strict:
                raise UserError(f"{empty}; hold out more (mix.validation_share), or take another set")
            said(empty)
            continue
        scores = results.scores_of(rows, each.metrics, each.by, derive(sample.seed, each.name))
        found = Result(each.name, key, settings, passed_over, each.metrics, rows, scores, numbers, each.scored)
        results.write(folder, found)
        yield found


def _longest(subject: Subject) -> int:
    """The longest sequences that a subject's model takes."""
    try:
        return from_transformers_config(json.loads((subject.folder / "config.json").read_text(encoding="utf-8"))).max_length
    except (OSError, ValueError) as error:
        raise ModelError(f"{subject.folder}: is no model (its config.json cannot be read); give a folder with config.json") from error
