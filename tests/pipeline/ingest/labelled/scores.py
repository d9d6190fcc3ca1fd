"""Precision and recall of the masks on the labelled texts: `python -m tests.pipeline.ingest.labelled.scores [--wrong SET]`.

A mask counts as right where it begins and ends exactly where the label does. What it masks wrongly is counted, and what it leaves out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.ingest.personal import PersonalDataConfig, find
from pipeline.ingest.secrets import SecretsConfig, find_secrets

HERE = Path(__file__).parent
SETS = ("development", "held-out")
KINDS = ("email", "ip", "phone", "key", "password")
Place = tuple[str, int, int]  # kind, begin, end


@dataclass
class Score:
    """How many masks of a kind were right, how many wrong, and how many were missed."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    @property
    def precision(self) -> float:
        return self.right / max(1, self.right + self.wrong)

    @property
    def recall(self) -> float:
        return self.right / max(1, self.right + self.missed)


def read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (HERE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def labels(row: dict[str, Any]) -> set[Place]:
    return {(span["kind"], span["begin"], span["end"]) for span in row["spans"]}


def masks(row: dict[str, Any]) -> set[Place]:
    """What is masked in a text by default, in characters: personal data as its domain has it, secrets in code."""
    code = row["domain"] == "code"
    raw = row["text"].encode()
    secrets = [(span.placeholder.strip(), span.begin, span.end) for span in find_secrets(raw, SecretsConfig())] if code else []
    kinds = {"<KEY>": "key", "<PASSWORD>": "password"}
    places = [(kinds[placeholder], begin, end) for placeholder, begin, end in secrets]
    for span in find(raw, PersonalDataConfig().kinds(row["domain"]), code=code):
        if not any(span.begin < end and begin < span.end for _, begin, end in places):
            places.append((span.kind, span.begin, span.end))
    return {(kind, len(raw[:begin].decode()), len(raw[:end].decode())) for kind, begin, end in places}


def scores(rows: list[dict[str, Any]]) -> dict[str, Score]:
    """By kind, and of all."""
    found = {kind: Score() for kind in (*KINDS, "all")}
    for row in rows:
        expected, got = labels(row), masks(row)
        for group, field in ((expected & got, "right"), (got - expected, "wrong"), (expected - got, "missed")):
            for kind, _, _ in group:
                for score in (found[kind], found["all"]):
                    setattr(score, field, getattr(score, field) + 1)
    return found


def table() -> Iterator[str]:
    """The lines of the table in docs/security.md."""
    names = {
        "email": "e-mail addresses",
        "ip": "IP addresses",
        "phone": "telephone numbers",
        "key": "keys and tokens",
        "password": "passwords in URLs",
    }
    rows = {name: read(name) for name in SETS}
    by_set = {name: scores(rows[name]) for name in SETS}
    yield "| kind | shown to the rules | precision, recall | written last | precision, recall |"
    yield "|---|---|---|---|---|"
    for kind in (*KINDS, "all"):
        cells = [
            f"{score.right + score.missed:,} | {score.precision:.3f}, {score.recall:.3f}" for score in (by_set[name][kind] for name in SETS)
        ]
        yield f"| {names.get(kind, 'all of them')} | {' | '.join(cells)} |"
    negatives = [sum(not row["spans"] for row in rows[name]) for name in SETS]
    masked = [sum(bool(masks(row)) for row in rows[name] if not row["spans"]) for name in SETS]
    cells = [f"{count:,} | {wrong} of them masked" for count, wrong in zip(negatives, masked, strict=True)]
    yield f"| texts with nothing to mask | {' | '.join(cells)} |"


def wrong(name: str) -> Iterator[str]:
    for row in read(name):
        expected, got = labels(row), masks(row)
        for sign, group in (("wrong", got - expected), ("missed", expected - got)):
            for kind, begin, end in sorted(group):
                yield f"{sign} {kind} {row['text'][begin:end]!r} in {row['domain']}: {row['text'][:160]!r}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wrong", choices=SETS, help="list what is masked wrongly or missed in a set")
    options = parser.parse_args()
    print("\n".join(wrong(options.wrong) if options.wrong else table()))
