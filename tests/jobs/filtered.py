"""A small corpus of two domains, three sources and two languages, filtered and deduplicated by a recipe."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import yaml

from jobs.recipe import load_recipe
from jobs.run import judge
from pipeline.ingest.stage import ingest_stage
from pipeline.workdir.dataset import Workdir
from tests.conftest import here, run_task

ENGLISH = "The house stood at the end of the road, and nobody had lived in it for many years, that is what people said to me."
GERMAN = "Das Haus stand am Ende der Straße, und niemand hatte seit vielen Jahren darin gewohnt, so sagten es die Leute."
RULES: dict[str, Any] = {
    "web": {
        "language": {"allow": ["en"], "min_score": 0.3},
        "gopher_quality": {"min_words": 40, "max_words": 260, "min_stop_words": 1},
        "limits": {"characters": {"max": 1400}},
    },
    "blog": {"c4": {"min_sentences": 2, "citations": False}, "length": {"min_words": 20}},
    "science": {"length": {"min_words": 60}},
}


def rows(source: str, count: int) -> list[dict[str, Any]]:
    """Documents of a source: of many lengths, some in German, some that repeat an earlier one."""
    draw = random.Random(source)
    found: list[dict[str, Any]] = []
    for number in range(count):
        words = (GERMAN if draw.random() < 0.2 else ENGLISH).split()
        length = int(10 ** draw.uniform(0.9, 2.5))
        text = " ".join(f"{word}{draw.randrange(9)}" if draw.random() < 0.1 else word for word in (words * 20)[:length])
        if source == "blog":
            text += "".join(f"\n{' '.join(ENGLISH.split()[: draw.randrange(1, 9)])}{draw.choice('.,')}" for _ in range(draw.randrange(5)))
        if found and draw.random() < 0.15:
            text = draw.choice(found)["text"]
        site = draw.choice(["www.one.example", "two.example", "three.example:80"])
        found.append({"id": f"d{number}", "text": text, "url": f"https://{site}/{source}/{number}"})
    return found


def recipe(folder: Path, filter_: dict[str, Any] | None = None, **more: Any) -> Path:
    """A recipe over the corpus, which is written beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = []
    for name, domain, count in (("news", "web", 120), ("blog", "web", 60), ("papers", "science", 40)):
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows(name, count)))
        sources.append({"name": name, "domain": domain, "format": "jsonl", "path": str(path), "fields": {"url": "url"}})
    body = {
        "name": "tried",
        "workdir": str(folder / "workdir"),
        "sources": sources,
        "ingest": {"partition_bytes": 20_000, "personal": None},
        "filter": RULES if filter_ is None else filter_,
        "tokenizer": {"vocab_size": 1024},
        "model": {"vocab_size": 1024, "hidden_size": 64, "layers": 2, "heads": 2, "intermediate_size": 96},
        "phases": [{"name": "only", "length": 128, "tokens": 4096, "batch_size": 4, "learning_rate": 1e-3}],
        **more,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(body))
    return path


def curated(path: Path, overrides: dict[str, Any] | None = None) -> Workdir:
    """The recipe's workdir, curated in this process."""
    loaded = load_recipe(path, overrides)
    workdir = Workdir(loaded.workdir)
    documents = run_task(workdir, ingest_stage(loaded.ingest, loaded.sources, path.parent))["documents"]
    judge(loaded, here(workdir), path.parent, documents)
    return workdir
