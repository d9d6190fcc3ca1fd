"""Write the labelled texts from their templates: `python -m tests.pipeline.ingest.labelled.write`."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.pipeline.ingest.labelled import development, held_out, second, third
from tests.pipeline.ingest.labelled.slots import SLOTS

HERE = Path(__file__).parent
# `«kind:slot»` is filled and is a span of that kind; `«kind=text»` is a span as it is written; `‹slot›` is filled and none.
_SLOT = re.compile(r"«(\w+)([:=])([^»]+)»|‹([^›]+)›", re.DOTALL)
Template = tuple[str, int, str]  # domain, how many texts are made of it, the text


def filled(template: str, draw: random.Random) -> dict[str, Any]:
    """The text of a template with its spans, in characters."""
    text, spans, at = "", [], 0
    for match in _SLOT.finditer(template):
        text += template[at : match.start()]
        kind, how, slot, neutral = match.groups()
        value = slot if how == "=" else SLOTS[slot or neutral](draw)
        if kind:
            spans.append({"kind": kind, "begin": len(text), "end": len(text) + len(value)})
        text += value
        at = match.end()
    return {"text": text + template[at:], "spans": spans}


def rows(templates: Sequence[Template], seed: str) -> Iterator[dict[str, Any]]:
    """All texts of the templates, each once."""
    seen: set[str] = set()
    for number, (domain, count, template) in enumerate(templates):
        draw = random.Random(f"{seed} {number} {template}")
        for _ in range(count):
            row = filled(template, draw)
            if row["text"] not in seen:
                seen.add(row["text"])
                yield {"domain": domain, **row}


def lines(name: str) -> str:
    """The whole file of a set, `development` or `held-out`."""
    templates = SETS[name]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(templates, name))


SETS: dict[str, Sequence[Template]] = {
    "development": [*development.TEMPLATES, *second.TEMPLATES, *third.TEMPLATES],
    "held-out": held_out.TEMPLATES,
}

if __name__ == "__main__":
    for each in SETS:
        (HERE / f"{each}.jsonl").write_text(lines(each), encoding="utf-8")
