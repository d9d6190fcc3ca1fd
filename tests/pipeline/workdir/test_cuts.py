"""Cuts against plain Python on bytes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.workdir.cuts import Cuts, all_of, apply, from_column, no_cuts, original, unite

SPANS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12), st.integers(0, 12)), max_size=12)


def arrays(spans: list[tuple[int, int, int]]) -> list[np.ndarray]:
    return [np.array([span[part] for span in spans], np.int64) for part in range(3)]


def as_sets(cuts: Cuts) -> list[set[int]]:
    places: list[set[int]] = []
    for row in range(cuts.documents):
        spans = range(cuts.offsets[row], cuts.offsets[row + 1])
        places.append({place for span in spans for place in range(cuts.begin[span], cuts.end[span])})
    return places


@given(SPANS)
def test_united_spans_cover_the_same_bytes_and_are_disjoint(spans: list[tuple[int, int, int]]) -> None:
    cuts = unite(4, *arrays(spans))
    wanted = [{place for row, begin, end in spans if row == number for place in range(begin, end)} for number in range(4)]
    assert as_sets(cuts) == wanted
    assert sum(map(len, wanted)) == cuts.sizes.sum()
    for row in range(4):
        part = slice(cuts.offsets[row], cuts.offsets[row + 1])
        assert (cuts.begin[part] < cuts.end[part]).all()
        assert (cuts.begin[part][1:] > cuts.end[part][:-1]).all()


@given(SPANS, SPANS)
def test_cuts_survive_their_column_and_unite_with_others(one: list[tuple[int, int, int]], other: list[tuple[int, int, int]]) -> None:
    first, second = unite(4, *arrays(one)), unite(4, *arrays(other))
    again = from_column(pa.chunked_array([first.to_column()]))
    assert as_sets(again) == as_sets(first)
    assert as_sets(all_of([first, second], 4)) == [a | b for a, b in zip(as_sets(first), as_sets(second), strict=True)]
    assert as_sets(all_of([], 4)) == as_sets(no_cuts(4))


@given(st.lists(st.text(alphabet="aé中 \n", max_size=12), min_size=4, max_size=4), SPANS, st.data())
def test_applied_cuts_leave_the_other_bytes_and_places_can_be_traced_back(
    texts: list[str], spans: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    raw = [text.encode() for text in texts]
    # on character boundaries, as the stages cut
    bounds = [[len(text[:n].encode()) for n in range(len(text) + 1)] for text in texts]
    spans = [(row, bounds[row][min(b, len(texts[row]))], bounds[row][min(e, len(texts[row]))]) for row, b, e in spans]
    cuts = unite(4, *arrays(spans))
    left = apply(pa.chunked_array([texts[:2], texts[2:]]), cuts)
    places = [[place for place in range(len(raw[row])) if place not in cut] for row, cut in enumerate(as_sets(cuts))]
    assert left.to_pylist() == [bytes(raw[row][place] for place in places[row]).decode() for row in range(4)]
    row = data.draw(st.integers(0, 3))
    if places[row]:
        at = data.draw(st.integers(0, len(places[row]) - 1))
        document = np.array([row], np.int64)
        assert original(cuts, document, np.array([at], np.int64))[0] == places[row][at]
        assert original(cuts, document, np.array([at + 1], np.int64), is_end=True)[0] == places[row][at] + 1


def test_rows_can_be_taken_in_any_order() -> None:
    cuts = unite(3, np.array([0, 2, 2]), np.array([1, 0, 5]), np.array([2, 3, 9]))
    assert as_sets(cuts.take(np.array([2, 1, 0, 2]))) == [{0, 1, 2, 5, 6, 7, 8}, set(), {1}, {0, 1, 2, 5, 6, 7, 8}]
