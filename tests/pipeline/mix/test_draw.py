"""The draw of a mix: what is asked of a group is hit to half a document, whoever is drawn and however the corpus is cut."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.random import uniform
from pipeline.mix.draw import Pass, Wanted, draw, is_taken, last_taken, numbers, parts, times_taken
from pipeline.mix.quality import groups_of
from pipeline.workdir.dataset import Workdir
from tests.conftest import here
from tests.pipeline.corpus import write_dataset

Ints = npt.NDArray[np.int64]


def drawn(sizes: Sequence[int], domains: Sequence[str], ids: Sequence[str], wants: dict[str, Wanted], pieces: int, seed: int) -> Ints:
    """How often a draw by bytes takes each document of a corpus that is cut into so many partitions."""
    with tempfile.TemporaryDirectory() as folder:
        workdir = Workdir(folder)
        documents = write_dataset(workdir, "documents", pa.table({"id": pa.array(ids, pa.string())}), pieces)
        columns = {"domain": pa.array(domains, pa.string()), "source": pa.array(domains, pa.string())}
        columns |= {"split": pa.array(["train"] * len(sizes), pa.string()), "bytes": pa.array(sizes, pa.int64())}
        split = write_dataset(workdir, "split", pa.table(columns), pieces)
        found = draw(here(workdir), "test", "draws", seed, {"p": Pass("p", (), wants)}, documents, split, (), "bytes")
        times = []
        for partition in documents.partitions:
            table = workdir.read_table("split", split.by_name[partition.name], ["domain", "source"])
            groups = groups_of(table["domain"].to_pylist(), table["source"].to_pylist(), ())
            entry = found.manifest.by_name[partition.name]
            times.append(times_taken(workdir, found, entry, documents.starts[partition.name], groups, "p")[0])
        return np.concatenate(times)


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from(["web", "code"]), st.sampled_from("abcdefgh")), min_size=1, max_size=40),
    st.floats(0, 4),
    st.floats(0, 4),
    st.integers(2, 7),
    st.integers(0, 1000),
)
def test_a_group_gets_what_is_asked_to_half_a_document(
    corpus: list[tuple[int, str, str]], web: float, code: float, pieces: int, seed: int
) -> None:
    sizes, domains, ids = ([*column] for column in zip(*corpus, strict=True))  # ids may be equal, and so the numbers
    total = {name: sum(size for size, domain, _ in corpus if domain == name) for name in ("web", "code")}
    epochs = {"web": web, "code": code}
    wants = {name: Wanted(epochs[name], round(epochs[name] * total[name])) for name in total}
    times = drawn(sizes, domains, ids, wants, 1, seed)
    for name, want in wants.items():
        of = np.array([domain == name for domain in domains])
        largest = max([size for size, domain, _ in corpus if domain == name], default=0)
        assert abs(int((times * np.array(sizes))[of].sum()) - want.amount) <= largest / 2 + 1
        assert set(times[of].tolist()) <= {int(np.floor(want.epochs + 1e-9)), int(np.ceil(want.epochs - 1e-9))}
    assert drawn(sizes, domains, ids, wants, pieces, seed).tolist() == times.tolist()


@given(st.lists(st.tuples(st.integers(0, 1000), st.floats(0, 0.999), st.floats(0, 3)), min_size=1, max_size=60), st.integers(-100, 40_000))
def test_the_last_that_is_taken_ends_the_prefix_that_comes_nearest(documents: list[tuple[int, float, float]], need: int) -> None:
    sizes, chance, wanted = (np.array(column) for column in zip(*documents, strict=True))
    whole, fraction = parts(wanted)
    assert np.all((whole == np.floor(wanted + 1e-9)) & (fraction >= 0) & (fraction < 1))
    number, ordinal = numbers(chance, fraction), np.arange(len(sizes))
    drawn_ = fraction > 0
    order = sorted(np.flatnonzero(drawn_), key=lambda row: (number[row], row))
    sums = [0, *accumulate(int(sizes[row]) for row in order)]
    taken = is_taken(number, ordinal, last_taken(number[drawn_], ordinal[drawn_], sizes[drawn_], need))
    assert not taken[~drawn_].any()
    assert abs(int(sizes[taken].sum()) - need) == min(abs(one - need) for one in sums)
    assert [bool(taken[row]) for row in order] == sorted((bool(taken[row]) for row in order), reverse=True), "a prefix of the order"


def test_the_chance_of_a_document_is_its_fraction_whatever_its_length() -> None:
    """Of 4,000 draws of 40 documents; the standard error of a frequency is 0.008 at most."""
    wanted = np.tile([0.1, 0.3, 0.5, 0.9], 10)
    sizes = np.repeat([100, 100, 200, 200, 300, 300, 400, 400, 500, 500], 4)
    hits = np.zeros(40)
    ordinal, need = np.arange(40), round(float((wanted * sizes).sum()))
    for seed in range(4000):
        number = numbers(uniform(seed, "p", map(str, range(40))), wanted)
        hits += is_taken(number, ordinal, last_taken(number, ordinal, sizes, need))
    assert hits / 4000 == pytest.approx(wanted, abs=0.05)
    assert [float(np.mean(hits[wanted == share])) / 4000 for share in (0.1, 0.3, 0.5, 0.9)] == pytest.approx([0.1, 0.3, 0.5, 0.9], abs=0.02)


def test_few_long_documents_beside_many_short_ones_get_their_share() -> None:
    generator = np.random.default_rng(0)
    sizes = [*generator.integers(20, 200, 600).tolist(), *generator.integers(7_000, 9_000, 16).tolist()]
    domains, ids = ["web"] * 600 + ["books"] * 16, [f"d:{number}" for number in range(616)]
    total = {"web": sum(sizes[:600]), "books": sum(sizes[600:])}
    for seed in range(3):
        times = drawn(sizes, domains, ids, {name: Wanted(20_000 / size, 20_000) for name, size in total.items()}, 3, seed)
        assert abs(int((times * np.array(sizes))[600:].sum()) - 20_000) <= 4_500
        assert abs(int((times * np.array(sizes))[:600].sum()) - 20_000) <= 100
