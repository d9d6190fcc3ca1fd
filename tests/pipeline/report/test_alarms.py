"""What deserves a look: one rule that takes nearly all of a language, a source or a site, and extractors that leave pages empty."""

from __future__ import annotations

import pyarrow as pa
import xxhash

from pipeline.filters.language import LanguageRules
from pipeline.filters.length import LengthRules
from pipeline.filters.limits import Bounds
from pipeline.filters.stage import Rules, filter_stage
from pipeline.measure.stage import measure_stage
from pipeline.report.alarms import Alarm, alarms
from pipeline.report.funnel import funnel
from pipeline.workdir.dataset import Manifest, Partition, Workdir, to_parquet
from pipeline.workdir.documents import DOCUMENT_SCHEMA
from tests.conftest import run_task

ENGLISH = "The house stood at the end of the road, and nobody had lived in it for many years. "
GERMAN = "Das Haus stand am Ende der Straße, und niemand hatte seit vielen Jahren darin gewohnt. "


def filtered(workdir: Workdir, rows: list[dict[str, str]], rules: dict[str, Rules], parts: int = 3, **source: str) -> list[Alarm]:
    """The alarms of a workdir of documents with `text`, `source` and `url`."""
    partitions = []
    for number in range(parts):
        some = rows[number * len(rows) // parts : (number + 1) * len(rows) // parts]
        table = pa.Table.from_pylist(
            [{"id": f"d{number}.{place}", "domain": "web", "source": "one", **row} for place, row in enumerate(some)],
            schema=DOCUMENT_SCHEMA,
        )
        raw, name = to_parquet(table), f"one-{number:05d}-000.parquet"
        workdir.write(raw, "documents", name)
        partitions.append(Partition(name, len(some), raw.size, xxhash.xxh3_128_hexdigest(raw)))
    sources = [{"name": name, "domain": "web", "format": "html", **source} for name in sorted({row.get("source", "one") for row in rows})]
    documents = Manifest("documents", "ingest", "test", tuple(partitions), {"sources": sources})
    workdir.write(documents.to_json(), "documents", "_manifest.json")
    statistics = run_task(workdir, measure_stage(documents))["statistics"]
    run_task(workdir, filter_stage(rules, statistics))
    return alarms(workdir)


MIN_STOP = {"web": Rules(limits={"stop_words": Bounds(min=1)})}


def test_a_rule_that_takes_a_language_is_told_with_three_samples(workdir: Workdir) -> None:
    rows = [{"text": GERMAN * 3}] * 25 + [{"text": ENGLISH * 3}] * 25
    (found,) = filtered(workdir, rows, MIN_STOP)
    assert found.text == "rule limit_stop_words drops 25 of 25 documents of language de in web (100%, over 90%; of the others in web 0%)"
    assert [sample.rule for sample in found.samples] == ["limit_stop_words"] * 3
    assert all(sample.text.startswith("Das Haus") for sample in found.samples)
    assert found.samples[0].measured == "0, limit 1"
    assert funnel(workdir).warnings == (found,), "the summary and the page have the same"


def test_fewer_documents_a_smaller_share_or_the_same_everywhere_is_no_alarm(workdir: Workdir, tmp_path: object) -> None:
    few = [{"text": GERMAN * 3}] * 19 + [{"text": ENGLISH * 3}] * 40
    assert filtered(workdir, few, MIN_STOP) == []
    mixed = [{"text": ENGLISH * 3, "source": "s"}] * 3 + [{"text": GERMAN, "source": "s"}] * 20 + [{"text": ENGLISH * 3}] * 40
    assert [alarm.text.split(" in web")[0] for alarm in filtered(workdir, mixed, MIN_STOP)] == [
        "rule limit_stop_words drops 20 of 20 documents of language de"
    ], "of source s it drops 87 %"
    everything = [{"text": ENGLISH, "source": name} for name in ("a", "b") for _ in range(30)]
    assert filtered(workdir, everything, {"web": Rules(length=LengthRules(min_words=50))}) == []


def test_a_source_and_a_site_are_told_whatever_their_letters_and_ports(workdir: Workdir) -> None:
    short, long = ENGLISH, ENGLISH * 5
    rows = [{"text": short, "source": "bad", "url": "https://a.example/x"}] * 30
    rows += [{"text": long, "source": "good", "url": "https://b.example/"}] * 60
    rows += [{"text": short, "source": "good", "url": url} for url in ("http://www.C.example:8080/y", "https://user@c.EXAMPLE?q")] * 12
    found = [alarm.text.split(" (")[0] for alarm in filtered(workdir, rows, {"web": Rules(length=LengthRules(min_words=50))})]
    assert sorted(found) == [
        "rule length_words drops 24 of 24 documents of site c.example in web",
        "rule length_words drops 30 of 30 documents of site a.example in web",
        "rule length_words drops 30 of 30 documents of source bad in web",
    ]


def test_what_a_rule_is_for_is_no_alarm_but_a_whole_source_is(workdir: Workdir) -> None:
    rows = [{"text": GERMAN * 3, "source": "german", "url": "https://de.example/"}] * 25 + [{"text": ENGLISH * 3}] * 25
    (found,) = filtered(workdir, rows, {"web": Rules(language=LanguageRules(allow=["en"], min_score=0.1))})
    assert found.text.startswith("rule language drops 25 of 25 documents of source german in web")


def test_of_many_sites_the_largest_are_told_and_the_others_counted(workdir: Workdir) -> None:
    rows = [{"text": ENGLISH, "url": f"https://s{site}.example/"} for site in range(8) for _ in range(20 + site)]
    rows += [{"text": ENGLISH * 5, "url": "https://long.example/"}] * 400
    found = [alarm.text for alarm in filtered(workdir, rows, {"web": Rules(length=LengthRules(min_words=50))}, 5)]
    assert len(found) == 5
    assert "27 of 27 documents of site s7.example" in found[0]
    assert found[-1].endswith("; so it is with 3 more sites")


def test_an_extractor_that_leaves_pages_empty_is_told(workdir: Workdir) -> None:
    rows = [{"text": ENGLISH}] * 97 + [{"text": "Cookies?"}] * 2 + [{"text": ""}]
    (found,) = filtered(workdir, rows, {}, extractor="resiliparse")
    assert found.text == "extractor resiliparse leaves 3 of 100 pages of source one under 50 characters (3.0%, over 1%)"
    assert sorted(sample.text for sample in found.samples) == ["", "Cookies?", "Cookies?"]
    assert {sample.rule for sample in found.samples} == {""}
    assert filtered(workdir, [{"text": ENGLISH}] * 99 + [{"text": ""}], {}, extractor="resiliparse") == [], "1 % is not more than 1 %"
    assert filtered(workdir, rows, {}) == [], "a source without an extractor"
