"""What of the split, the tokenizer and the mix is told: empty splits, a vocabulary that is not filled, missed shares."""

from __future__ import annotations

from typing import Any

from pipeline.mix.config import MixConfig
from pipeline.report.mix_alarms import mix_alarms
from pipeline.workdir.dataset import Manifest, Workdir


def write(workdir: Workdir, name: str, summary: dict[str, Any], configuration: dict[str, Any]) -> Manifest:
    manifest = Manifest(name, name, "test", (), configuration, summary)
    workdir.write(manifest.to_json(), name, "_manifest.json")
    return manifest


def told(workdir: Workdir) -> list[str]:
    return [alarm.text for alarm in mix_alarms(workdir)]


def split(workdir: Workdir, found: dict[str, dict[str, int]], left_out: int = 0, **config: Any) -> Manifest:
    sources = {domain: {domain: {name: {"documents": n, "bytes": n} for name, n in parts.items()}} for domain, parts in found.items()}
    summary = {"sources": sources, **({"left_out": {"web": {"web": {"documents": left_out, "bytes": 1}}}} if left_out else {})}
    return write(workdir, "split", summary, {"seed": 0, **MixConfig(**config).model_dump(mode="json")})


def test_an_empty_split_is_told_where_one_is_asked_for(workdir: Workdir) -> None:
    split(workdir, {"web": {"train": 30}, "code": {"train": 20}})
    assert told(workdir) == [
        "the validation split is empty: none of the documents is held out; raise mix.validation_share, add documents, or hold out smaller "
        "groups (mix.hold_out_by)"
    ]
    split(
        workdir, {"web": {"train": 30, "validation": 1}, "code": {"train": 20}}, hold_out_by={"code": "repository"}, test_share={"web": 0.1}
    )
    domain, test = told(workdir)
    assert domain.startswith(
        "no document of domain code is in the validation split: 1.00% of 20 documents, held out by repository, are none"
    )
    assert test.startswith("the test split is empty")
    split(workdir, {"web": {"train": 30}}, validation_share=0)
    assert told(workdir) == []
    split(workdir, {"web": {"train": 30, "validation": 1}}, left_out=3)
    assert told(workdir)[0].startswith("3 documents are in no split")


def test_a_vocabulary_that_the_corpus_cannot_fill_is_told(workdir: Workdir) -> None:
    settings = {"vocab_size": 1024, "unused": 83, "min_token_uses": 0}
    write(workdir, "tokenizer", {"learned": 700, "unused": 283}, settings)
    assert told(workdir) == [
        "the corpus fills 700 of 900 entries that the tokenizer may learn; 200 stay [unusedN]. Lower tokenizer.vocab_size and "
        "model.vocab_size from 1,024 to 832, or add text"
    ]
    write(workdir, "tokenizer", {"learned": 900, "unused": 83}, settings)
    assert told(workdir) == []
    write(workdir, "tokenizer", {"learned": 700, "unused": 283}, {**settings, "min_token_uses": 10})
    assert told(workdir) == [], "what is pruned on purpose"


def test_a_share_that_is_missed_by_more_than_two_points_is_told(workdir: Workdir) -> None:
    made_of = split(workdir, {"web": {"train": 30, "validation": 1}})
    groups = [{"group": "web", "share": 0.5, "wanted": 500}, {"group": "books", "share": 0.5, "wanted": 500}]
    configuration = {"split": made_of.content, "phases": [{"name": "long", "groups": groups}]}

    def made(web: int, books: int) -> None:
        counts = {"web": {"tokens": web, "documents": 9}, "books": {"tokens": books, "documents": 1}}
        write(workdir, "plan", {"phases": {"long": counts}}, configuration)

    made(510, 490)
    assert told(workdir) == []
    made(500, 400)
    assert told(workdir) == [
        "phase long: web has 55.6% of the tokens, asked are 50.0% (500 of 500 tokens, 9 documents), books has 44.4% of the tokens, asked "
        "are 50.0% (400 of 500 tokens, 1 documents); documents are drawn whole, so a larger pass (`tokens` of its mix) or more documents "
        "come nearer"
    ]
    configuration["split"] = "another"
    made(500, 400)
    assert told(workdir) == [], "a plan that is older than the split is not judged"
