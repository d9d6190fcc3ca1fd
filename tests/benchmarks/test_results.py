"""Benchmark results, and the page that is made from them."""

from __future__ import annotations

import json

from benchmarks.performance import PAGE, page
from benchmarks.results_file import RESULTS, Peer, Row


def test_the_performance_page_is_what_the_committed_results_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m benchmarks.performance`"


def test_committed_results_have_the_form_and_judge_their_goals_rightly() -> None:
    for path in RESULTS.glob("*.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        assert {"benchmark", "machine", "versions", "rows"} <= set(result)
        for row in result["rows"]:
            peer = Peer(**row["peer"]) if row["peer"] else None
            again = Row(row["name"], row["unit"], row["value"], peer, row["goal"], row.get("at_most", False)).to_dict()
            assert (again["ratio"], again["met"]) == (row["ratio"], row["met"])


def test_a_value_that_should_be_small_is_judged_so() -> None:
    assert Row("memory", "GB", 2.0, goal=3.0, at_most=True).to_dict()["met"] is True
    assert Row("memory", "GB", 4.0, goal=3.0, at_most=True).to_dict()["met"] is False
    faster = Row("time", "s", 2.0, Peer("p", "1", 10.0), 5.0, at_most=True).to_dict()
    assert (faster["ratio"], faster["met"]) == (5.0, True)
    assert Row("speed", "MB/s", 2.0, Peer("p", "1", 10.0), 5.0).to_dict()["met"] is False
    assert Row("speed", "MB/s", 2.0).to_dict()["met"] is None
