"""Deduplication against brute force, on documents whose duplicates are known."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from jobs.explain import explain
from pipeline.dedup.components import components
from pipeline.dedup.exact import ExactConfig, exact_deduplicate, text_hashes
from pipeline.dedup.near import NearConfig, near_deduplicate
from pipeline.dedup.representatives import Rule, decide
from pipeline.dedup.shingles import shingle_sets
from pipeline.dedup.shuffle import gather, scatter
from pipeline.filters.stage import filter_stage
from pipeline.measure.stage import measure_stage
from pipeline.workdir.dataset import Manifest, Workdir
from pipeline.workdir.documents import DOCUMENT_SCHEMA
from pipeline.workdir.engine import Engine
from pipeline.workdir.errors import CorruptData
from tests.conftest import here
from tests.pipeline.corpus import write_documents

WORDS = [f"word{number}" for number in range(500)]


def document(seed: int, words: int = 120) -> list[str]:
    return random.Random(seed).choices(WORDS, k=words)


def edited(words: list[str], share: float, seed: int) -> list[str]:
    generator = random.Random(seed)
    return [generator.choice(WORDS) if generator.random() < share else word for word in words]


def jaccard(one: list[str], other: list[str], width: int = 5) -> float:
    a, b = ({tuple(text[i : i + width]) for i in range(len(text) - width + 1)} for text in (one, other))
    return len(a & b) / len(a | b)


def judge(workdir: Workdir, texts: list[str], config: NearConfig, parts: int = 3, sources: list[str] | None = None) -> Engine:
    """Exact and near deduplication of the texts, spread over several partitions."""
    engine = here(workdir)
    documents = write_documents(workdir, texts, parts, sources=sources)
    statistics = engine.run(measure_stage(documents)).manifests["statistics"]
    verdicts = [engine.run(filter_stage({}, statistics)).manifests["verdicts/filter"]]
    verdicts.append(exact_deduplicate(engine, ExactConfig(drop=config.drop), documents, statistics, verdicts))
    near_deduplicate(engine, config, documents, statistics, verdicts)
    return engine


def verdicts_of(workdir: Workdir, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pa.concat_tables(table for _, table in workdir.tables(f"verdicts/{name}")).to_pylist()
    return rows


def run_dedup(workdir: Workdir, texts: list[str], config: NearConfig, parts: int = 3) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Exact and near verdicts of all documents, in order."""
    judge(workdir, texts, config, parts)
    return verdicts_of(workdir, "exact"), verdicts_of(workdir, "near")


def test_exact_duplicates_are_those_of_a_dictionary(workdir: Workdir) -> None:
    generator = random.Random(1)
    texts = [" ".join(document(generator.randrange(12), 30)) for _ in range(60)]
    texts = [text.replace(" ", generator.choice([" ", "  ", "\n", "\u00a0"])) for text in texts] + ["", " \n ", "Word1", "word1"]
    verdicts, _ = run_dedup(workdir, texts, NearConfig())
    first: dict[str, int] = {}
    for index, text in enumerate(texts):
        leader = first.setdefault(" ".join(text.split()), index)
        assert verdicts[index]["keep"] == (leader == index)
        assert verdicts[index]["duplicate_of"] == (None if leader == index else leader)


def test_with_drop_all_no_copy_stays_and_each_names_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["alone", "same  text", "same text", "so", "same\ntext", "ﬁsh", "fish", "“so”", '"so"', "Same text"]
    exact_verdicts, _ = run_dedup(Workdir(str(tmp_path / "exact")), texts, NearConfig(drop="all"))
    assert [row["keep"] for row in exact_verdicts] == [True, False, False, True, False, False, False, False, False, True]
    assert [row["duplicate_of"] for row in exact_verdicts] == [None, 2, 1, None, 1, 6, 5, 8, 7, None]
    assert [row["component_size"] for row in exact_verdicts] == [None, 3, 3, None, 3, 2, 2, 2, 2, None]
    explain(str(tmp_path / "exact"), "1")
    said = " ".join(capsys.readouterr().out.split())
    assert "a copy of it is test:2, and no copy stays, of a cluster of 3" in said
    words = [document(seed, 100) for seed in range(6)]
    copies = [[*words[0][:-1], "x"], [*words[0][:-3], "x"], [*words[1], "y"]]
    texts = [" ".join(each) for each in [*words, *copies]]
    _, near = run_dedup(Workdir(str(tmp_path / "near")), texts, NearConfig(drop="all"))
    assert [row["keep"] for row in near] == [False, False, True, True, True, True, False, False, False]
    assert [row["duplicate_of"] for row in near] == [6, 8, None, None, None, None, 0, 0, 1]
    assert near[0]["value"] == near[6]["value"] == pytest.approx(jaccard(words[0], copies[0]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ｆｕｌｌ　ｗｉｄｔｈ　ｌｅｔｔｅｒｓ", "Full width letters"),
        ("an eﬃcient ﬂow", "an efficient flow"),
        ("cafe\u0301 a\u0300 la cre\u0300me", "café à la crème"),
        ("\u1106\u1162\u110b\u1175\u11af", "매일"),
        ("“so” — ‘he’ said…", "\"so\" - 'he' said..."),
        ("soft\u00adly", "softly"),
        ("①②③ ㍿", "123 株式会社"),
        ("ｶﾞｷﾞ", "ガギ"),
    ],
)
def test_texts_that_read_the_same_are_exact_and_near_duplicates(one: str, other: str) -> None:
    assert (text_hashes(pa.array([one])) == text_hashes(pa.array([other]))).all()
    np.testing.assert_array_equal(shingle_sets(pa.array([one]), 2)[1], shingle_sets(pa.array([other]), 2)[1])


@pytest.mark.parametrize(("one", "other"), [("resume", "résumé"), ("Word", "word"), ("one, two", "one two"), ("東京", "京東")])
def test_accents_case_and_marks_tell_texts_apart(one: str, other: str) -> None:
    assert (text_hashes(pa.array([one])) != text_hashes(pa.array([other]))).any()


def test_planted_near_duplicates_are_found_and_strangers_are_kept(workdir: Workdir) -> None:
    originals = [document(seed) for seed in range(40)]
    copies = [edited(words, 0.01, seed) for seed, words in enumerate(originals)]
    texts = [" ".join(words) for words in originals + copies]
    exact_verdicts, near = run_dedup(workdir, texts, NearConfig(threshold=0.7, bands=14, rows=8))
    assert all(verdict["keep"] for verdict in near[:40])
    for index in range(40):
        true = jaccard(originals[index], copies[index])
        verdict = near[40 + index]
        if not exact_verdicts[40 + index]["keep"]:
            assert true == 1
            assert verdict["keep"] is None
        elif true > 0.85:
            assert verdict["duplicate_of"] == index
            assert verdict["value"] == pytest.approx(true, abs=1e-9)
            assert abs(verdict["estimate"] - true) < 0.2
        elif true < 0.7:
            assert verdict["keep"]


def test_output_does_not_depend_on_how_documents_are_partitioned(tmp_path: Path) -> None:
    texts = [" ".join(edited(document(seed % 7), 0.03, seed)) for seed in range(50)]
    results = [run_dedup(Workdir(str(tmp_path / str(parts))), texts, NearConfig(), parts) for parts in (1, 4, 11)]
    assert results[0] == results[1] == results[2]


def test_a_chain_of_near_duplicates_does_not_swallow_what_no_longer_resembles_its_beginning(workdir: Workdir) -> None:
    """Each link shares 90 % of its words with the next, the first and last share nothing."""
    base = [f"w{number}" for number in range(600)]
    chain = [base[start : start + 200] for start in range(0, 400, 15)]
    _, near = run_dedup(workdir, [" ".join(words) for words in chain], NearConfig(threshold=0.7, bands=28, rows=4))
    kept = [index for index, verdict in enumerate(near) if verdict["keep"]]
    assert jaccard(chain[0], chain[1]) > 0.85
    assert len(kept) > 4, "plain transitive closure would keep one"
    for index, verdict in enumerate(near):
        if not verdict["keep"]:
            assert jaccard(chain[index], chain[verdict["duplicate_of"]]) >= 0.7
            assert verdict["duplicate_of"] in kept
            assert verdict["component_size"] == len(chain)


def test_documents_of_one_word_of_none_and_of_one_word_repeated(workdir: Workdir) -> None:
    texts = ["word", "other", "", "!!", "word " * 100_000, "word " * 90_000]
    exact_verdicts, near = run_dedup(workdir, texts, NearConfig())
    assert [verdict["keep"] for verdict in exact_verdicts] == [True] * 6
    assert [verdict["keep"] for verdict in near] == [True, True, True, True, True, False]
    assert near[5]["duplicate_of"] == 4


def test_all_documents_equal(workdir: Workdir) -> None:
    exact_verdicts, near = run_dedup(workdir, ["the same text"] * 500, NearConfig())
    assert [verdict["keep"] for verdict in exact_verdicts] == [True] + [False] * 499
    assert {verdict["component_size"] for verdict in exact_verdicts[1:]} == {500}
    assert [verdict["keep"] for verdict in near] == [True] + [None] * 499


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))))))
def test_components_are_scipys(graph: tuple[int, list[tuple[int, int]]]) -> None:
    nodes, edges = graph
    left, right = (np.array([edge[side] for edge in edges], np.int64) for side in (0, 1))
    ours = components(left, right, nodes)
    _, labels = connected_components(coo_matrix((np.ones(len(edges)), (left, right)), shape=(nodes, nodes)), directed=False)
    for node in range(nodes):
        assert ours[node] == np.flatnonzero(labels == labels[node])[0]


def test_a_long_path_is_one_component_with_its_first_node_as_root() -> None:
    order = np.random.default_rng(0).permutation(99_999)
    assert set(components(order, order + 1, 100_000)) == {0}


@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_decisions_are_those_of_a_walk_over_all_pairs(seed: int, transitive: bool, with_index: bool) -> None:
    """Where every pair shares a band, the kernel is the plain algorithm on Python sets."""
    generator = np.random.default_rng(seed)
    members = 14
    sets = [np.unique(generator.integers(0, 12, generator.integers(1, 10))).astype(np.uint32) for _ in range(members)]
    root = np.sort(generator.integers(0, 3, members))
    order = np.lexsort((generator.permutation(members), root)).astype(np.int64)
    fixed = np.zeros(members, bool)
    if with_index:
        first = [int(np.flatnonzero(root[order] == value)[0]) for value in np.unique(root)]
        fixed[order[first]] = True
    hashes = np.stack([root.astype(np.uint64) + np.uint64(7)] * 2, axis=1)
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in sets])]).astype(np.int64)
    rule = Rule(0.5, True, transitive, 100)
    signatures = np.zeros((members, 4), np.uint32)  # all agree: no pair is spared the comparison
    decided = decide(order, fixed, hashes, signatures, offsets[:-1], offsets[1:], np.concatenate(sets), rule)

    def similarity(a: int, b: int) -> float:
        one, other = set(sets[a].tolist()), set(sets[b].tolist())
        return len(one & other) / len(one | other)

    if transitive:
        pairs = [(a, b) for a in range(members) for b in range(a) if root[a] == root[b] and similarity(a, b) >= 0.5]
        matrix = coo_matrix((np.ones(len(pairs)), ([a for a, _ in pairs], [b for _, b in pairs])), shape=(members, members))
        labels = connected_components(matrix, directed=False)[1]
        for node in range(members):
            leader = next(other for other in order if labels[other] == labels[node])
            assert decided.representative[node] == (node if fixed[node] else leader)
        return
    stays: list[int] = []
    for node in order:
        rivals = [(similarity(node, other), -place) for place, other in enumerate(stays) if root[other] == root[node]]
        best = max(rivals, default=(0.0, 0))
        if not fixed[node] and best[0] >= 0.5:
            assert decided.representative[node] == stays[-best[1]]
            assert decided.similarity[node] == pytest.approx(best[0])
        else:
            assert decided.representative[node] == node
            stays.append(int(node))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 99))), st.integers(1, 3))
def test_a_shuffle_brings_every_row_to_its_bucket_in_order(rows: list[tuple[int, int]], files: int) -> None:
    import tempfile

    import xxhash

    from pipeline.workdir.dataset import Partition

    with tempfile.TemporaryDirectory() as folder:
        workdir = Workdir(folder)
        partitions = []
        for number in range(files):
            part = rows[number * len(rows) // files : (number + 1) * len(rows) // files]
            columns = {"value": np.array([value for _, value in part], np.int64)}
            raw = scatter(columns, np.array([bucket for bucket, _ in part], np.int64), 5)
            workdir.write(raw, "shuffled", f"{number}.arrow")
            partitions.append(Partition(f"{number}.arrow", len(part), raw.size, xxhash.xxh3_128_hexdigest(raw)))
        workdir.write(Manifest("shuffled", "s", "f", tuple(partitions)).to_json(), "shuffled", "_manifest.json")
        for bucket in range(5):
            found = gather(workdir, "shuffled", bucket, 5)
            assert found is not None
            assert found["value"].to_pylist() == [value for b, value in rows if b == bucket]


def test_a_damaged_bucket_is_found(workdir: Workdir) -> None:
    import xxhash

    from pipeline.workdir.dataset import Partition

    raw = scatter({"value": np.arange(1000)}, np.arange(1000) % 2, 2).to_pybytes()
    place = raw.index(np.arange(1, 1000, 2).tobytes())
    damaged = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
    workdir.write(damaged, "s", "0.arrow")
    partition = Partition("0.arrow", 1000, len(raw), xxhash.xxh3_128_hexdigest(raw))
    workdir.write(Manifest("s", "s", "f", (partition,)).to_json(), "s", "_manifest.json")
    gathered = gather(workdir, "s", 0, 2)
    assert gathered is not None
    assert len(gathered) == 500
    with pytest.raises(CorruptData, match=r"s/0\.arrow.*bucket 1"):
        gather(workdir, "s", 1, 2)


def test_bands_and_rows_come_from_the_threshold_where_they_are_not_given() -> None:
    from datasketch import MinHashLSH

    config = NearConfig(threshold=0.6)
    theirs = MinHashLSH(threshold=0.6, num_perm=128)
    assert config.layout == (theirs.b, theirs.r)
    with pytest.raises(ValueError, match="both"):
        NearConfig(bands=3)
    assert NearConfig().layout == (14, 8)
    assert NearConfig(shingles="characters").layout == (20, 13)
    assert NearConfig.model_validate(NearConfig(threshold=0.6).model_dump()) == config


def test_recall_follows_the_lsh_curve(workdir: Workdir) -> None:
    """Pairs at Jaccard s share a band with probability 1 - (1 - s^rows)^bands."""
    config = NearConfig(bands=6, rows=4, threshold=0.01)
    originals = [document(seed, 200) for seed in range(300)]
    copies = [edited(words, 0.05, 1000 + seed) for seed, words in enumerate(originals)]
    _, near = run_dedup(workdir, [" ".join(words) for words in originals + copies], config)
    found = np.array([verdict["duplicate_of"] == index for index, verdict in enumerate(near[300:])])
    true = np.array([jaccard(one, other) for one, other in zip(originals, copies, strict=True)])
    expected = 1 - (1 - true**4) ** 6
    deviation = np.sqrt((expected * (1 - expected)).sum())
    assert abs(found.sum() - expected.sum()) < 4 * deviation


def test_document_schema_is_what_the_corpus_helper_writes(workdir: Workdir) -> None:
    manifest = write_documents(workdir, ["a"], 1)
    assert workdir.read_table("documents", manifest.partitions[0]).schema.equals(DOCUMENT_SCHEMA)
