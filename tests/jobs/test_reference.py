"""The generated recipe reference is that of the code, and complete."""

from __future__ import annotations

import json

from jobs import reference
from jobs.recipe import Recipe


def test_the_committed_reference_is_the_codes() -> None:
    assert (reference.DOCS / "recipe.md").read_text(encoding="utf-8") == reference.reference(), "run `python -m jobs.reference`"
    schema = json.loads((reference.DOCS / "recipe.schema.json").read_text(encoding="utf-8"))
    assert schema == json.loads(json.dumps(Recipe.model_json_schema()))


def test_every_field_has_a_description() -> None:
    sections, _ = reference.reference().split("\n## What may change")
    for line in sections.splitlines():
        if line.startswith("| `"):
            assert line.rstrip("| ").count("|") >= 4, f"no description: {line}"
