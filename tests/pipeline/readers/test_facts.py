"""What stands beside a text, of any type: it is kept as text of its kind or in `meta`, and never costs the text. Licences by their names."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from license_expression import get_spdx_licensing
from pydantic import ValidationError

from pipeline.filters.license import LicenseRules
from pipeline.ingest.stage import IngestConfig, ingest_stage
from pipeline.readers import Record, source_config
from pipeline.readers.creative_commons import licenses_in
from pipeline.readers.facts import as_json, fact
from pipeline.readers.json_records import to_record
from pipeline.readers.license_expressions import normalise
from pipeline.workdir.dataset import Workdir
from tests.conftest import run_task

DAY = datetime.date(2020, 1, 2)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("date", DAY, "2020-01-02"),
        ("date", datetime.datetime(2020, 1, 2), "2020-01-02"),
        ("date", datetime.datetime(2020, 1, 2, 3, 4, tzinfo=datetime.UTC), "2020-01-02T03:04:00+00:00"),
        ("date", 1_577_934_245, "2020-01-02T03:04:05Z"),
        ("date", 1_577_934_245_000, "2020-01-02T03:04:05Z"),
        ("date", 2020, "2020"),
        ("date", "Thu, 02 Jan 2020 03:04:05 GMT", "2020-01-02T03:04:05+00:00"),
        ("date", "2 January 2020", "2 January 2020"),
        ("id", decimal.Decimal("12"), "12"),
        ("id", uuid.UUID(int=2**127).bytes, str(uuid.UUID(int=2**127))),
        ("id", b"\xff\x00", "ff00"),
        ("title", b"A \xc3\xa9", "A é"),
        ("title", b"\xff", None),
        ("title", {"a": 1}, None),
        ("title", True, None),
        ("title", ["one"], "one"),
        ("language", ["en", "de"], "en"),
        ("language", float("nan"), None),
        ("license", ["MIT", "bsd-3-clause"], "MIT AND BSD-3-Clause"),
        ("license", ["MIT", "my own"], "MIT; my own"),
        ("license", "my own", "my own"),
        ("license", [], None),
        ("license", [{"name": "MIT"}], None),
    ],
)
def test_facts_as_text(name: str, value: Any, text: str | None) -> None:
    assert fact(name, value) == text


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=20) | st.dates() | st.datetimes() | st.decimals() | st.uuids() | st.timedeltas(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["id", "date", "language", "license", "title", "url", "path", "other"]), ANYTHING))
def test_no_fact_costs_a_text_or_is_lost(facts: dict[str, Any]) -> None:
    source = source_config(name="s", domain="web", format="jsonl", path="x")
    record = to_record({"text": "words", **facts}, "place", source)  # type: ignore[arg-type]
    assert isinstance(record, Record)
    assert record.text == "words"
    json.loads(json.dumps(as_json(record.meta), allow_nan=False))
    for name, value in facts.items():
        if value is not None:
            assert (name in record.meta) != (name != "other" and fact(name, value) is not None)


@given(ANYTHING)
def test_any_value_of_a_record_is_json(value: Any) -> None:
    json.loads(json.dumps(as_json(value), allow_nan=False))


def test_rows_of_parquet_are_kept_whatever_their_columns_hold(workdir: Workdir, tmp_path: Path) -> None:
    table = pa.table({
        "text": pa.array([b"one", b"two"]),  # as Impala and Spark write strings
        "date": pa.array([datetime.datetime(2020, 1, 2, 3), None], pa.timestamp("us")),
        "license": pa.array([["mit", "apache-2.0"], None]),
        "id": pa.array([decimal.Decimal("7"), decimal.Decimal("8")]),
        "score": pa.array([float("nan"), 1.5]),
        "day": pa.array([DAY, DAY]),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet")
    source = source_config(name="s", domain="web", format="parquet", path=str(tmp_path / "a.parquet"))
    manifests = run_task(workdir, ingest_stage(IngestConfig(), [source], tmp_path))
    assert manifests["quarantine"].rows == 0
    rows = pa.concat_tables(table for _, table in workdir.tables("documents")).to_pylist()
    assert [row["text"] for row in rows] == ["one", "two"]
    assert [row["id"] for row in rows] == ["s:7", "s:8"]
    assert (rows[0]["date"], rows[0]["license"]) == ("2020-01-02T03:00:00", "MIT AND Apache-2.0")
    assert json.loads(rows[0]["meta"]) == {"score": None, "day": "2020-01-02"}


# --- licences ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("MIT License", "MIT"),
        ("Apache License 2.0", "Apache-2.0"),
        ("http://www.apache.org/licenses/LICENSE-2.0", "Apache-2.0"),
        ("https://opensource.org/licenses/MIT", "MIT"),
        ("https://www.gnu.org/licenses/gpl-3.0.html", "GPL-3.0-only"),
        ("https://spdx.org/licenses/BSD-3-Clause.html", "BSD-3-Clause"),
        ("CC BY 4.0", "CC-BY-4.0"),
        ("CC_BY", "CC-BY"),
        ("CCBY", "CC-BY"),
        ("CCBYNCND", "CC-BY-NC-ND"),
        ("cc-by-nc-sa-3.0", "CC-BY-NC-SA-3.0"),
        ("http://creativecommons.org/licenses/by/4.0/", "CC-BY-4.0"),
        ("https://creativecommons.org/licenses/by-nc-nd/4.0/deed.de", "CC-BY-NC-ND-4.0"),
        ("http://creativecommons.org/licenses/by/3.0/us/", "CC-BY-3.0-US"),
        ("Creative Commons Attribution 4.0", "CC-BY-4.0"),
        ("Creative Commons Attribution-NonCommercial-NoDerivatives 4.0 International License", "CC-BY-NC-ND-4.0"),
        ("Creative Commons Attribution-ShareAlike 3.0 Unported", "CC-BY-SA-3.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("CC0 1.0 Universal (CC0 1.0) Public Domain Dedication", "CC0-1.0"),
        ("CC BY 4.0 except for the images", None),
        ("CC BY 4.0, non-members: all rights reserved", None),
        ("http://arxiv.org/licenses/nonexclusive-distrib/1.0/", None),
        ("proprietary", None),
    ],
)
def test_licences_by_the_names_that_people_write(written: str, name: str | None) -> None:
    assert normalise(written) == name


def test_a_family_of_licences_has_the_versions_that_it_says() -> None:
    def kept(allow: Any) -> list[str]:
        names = ["CC-BY", "CC-BY-4.0", "CC-BY-3.0-US", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC", "CC-BY-4.0 AND CC-BY-ND-4.0", None]
        rules = LicenseRules.model_validate({"allow": allow})
        failed = rules.apply(pa.table({"license": names})).judgements[0].failed
        return [name for name, dropped in zip(names, failed, strict=True) if not dropped and name]

    assert kept([{"family": "CC-BY"}]) == ["CC-BY", "CC-BY-4.0", "CC-BY-3.0-US"]
    assert kept([{"family": "CC-BY", "versions": ["4.0"]}, "CC-BY-SA-4.0"]) == ["CC-BY-4.0", "CC-BY-SA-4.0"]
    assert kept([{"family": "CC-BY"}, {"family": "CC-BY-ND"}])[-1] == "CC-BY-4.0 AND CC-BY-ND-4.0"
    with pytest.raises(ValidationError):
        LicenseRules.model_validate({"allow": [{"family": "MIT"}]})


CC = [key for key in get_spdx_licensing().known_symbols if key.startswith("CC-BY") and key.count("-") >= 2 and key[-3:-2].isdigit()]


@pytest.mark.parametrize("name", sorted(CC))
def test_every_licence_of_creative_commons_by_address_and_words(name: str) -> None:
    terms, version = name.removeprefix("CC-").rsplit("-", 1)
    spelt = "-".join({"BY": "Attribution", "NC": "NonCommercial", "ND": "NoDerivs", "SA": "ShareAlike"}[term] for term in terms.split("-"))
    assert normalise(f"https://creativecommons.org/licenses/{terms.lower()}/{version}/") == name
    assert normalise(f"CC {terms} {version}") == name
    assert normalise(f"Creative Commons {spelt} {version} International License") == name
    assert licenses_in(f"This is distributed under the Creative Commons {spelt} License, version {version}.") == [name]


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("Creative Commons Attribution License, which permits unrestricted non-commercial use", ["CC-BY-NC"]),
        ("the Creative Commons Attribution License (CC BY 4.0). The CC0 waiver applies to the data.", ["CC-BY-4.0"]),
        (
            "Attribution Non-Commercial-NoDerivs: Creative Commons Attribution Non-Commercial-NoDerivs (CC BY-NC-ND 4.0)",
            ["CC-BY-NC-ND-4.0"],
        ),
        ("http://creativecommons.org/licenses/by/4.0/ or http://creativecommons.org/licenses/by-nc/4.0/", ["CC-BY-4.0", "CC-BY-NC-4.0"]),
        ("All rights reserved.", []),
    ],
)
def test_statements_of_papers(statement: str, names: list[str]) -> None:
    assert licenses_in(statement) == names
