"""Deduplication against brute force, on documents whose duplicates are known."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pipeline.dataset import Manifest, Workdir
from pipeline.dedup import exact, minhash
from pipeline.dedup.components import anchor, components
from pipeline.dedup.shuffle import gather, scatter
from pipeline.dedup.verdict import duplicate_verdict_stage
from pipeline.documents import DOCUMENT_SCHEMA
from pipeline.errors import CorruptData
from pipeline.filters import filter_stage
from pipeline.measure import measure_stage
from tests.conftest import run_task
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


def run_dedup(workdir: Workdir, texts: list[str], config: minhash.NearConfig, parts: int = 3) -> tuple[list[dict], list[dict]]:
    """Exact and near verdicts of all documents, in order, over several partitions."""
    documents = write_documents(workdir, texts, parts)
    statistics = run_task(workdir, measure_stage(documents))["statistics"]
    verdicts: list[Manifest] = [run_task(workdir, filter_stage({}, statistics))["verdicts/filter"]]
    hashes = run_task(workdir, exact.hash_stage(documents, verdicts))[exact.HASHES]
    groups = run_task(workdir, exact.group_stage(hashes, documents))[exact.GROUPS]
    stage = duplicate_verdict_stage("exact", "verdicts/exact", groups, documents, statistics, verdicts, 1.0)
    verdicts.append(run_task(workdir, stage)["verdicts/exact"])
    signed = run_task(workdir, minhash.sign_stage(config, documents, verdicts))
    pairs = run_task(workdir, minhash.pair_stage(config, signed[minhash.BANDS], documents))[minhash.PAIRS]
    groups = run_task(workdir, minhash.group_stage(config, pairs, signed[minhash.SIGNATURES], documents))[minhash.GROUPS]
    run_task(workdir, duplicate_verdict_stage("near", "verdicts/near", groups, documents, statistics, verdicts, config.threshold))
    read = [pa.concat_tables(table for _, table in workdir.tables(f"verdicts/{name}")).to_pylist() for name in ("exact", "near")]
    return read[0], read[1]


def test_exact_duplicates_are_those_of_a_dictionary(workdir: Workdir) -> None:
    generator = random.Random(1)
    texts = [" ".join(document(generator.randrange(12), 30)) for _ in range(60)]
    texts = [text.replace(" ", generator.choice([" ", "  ", "\n", "\u00a0"])) for text in texts] + ["", " \n ", "Word1", "word1"]
    verdicts, _ = run_dedup(workdir, texts, minhash.NearConfig())
    first: dict[str, int] = {}
    for index, text in enumerate(texts):
        leader = first.setdefault(" ".join(text.split()), index)
        assert verdicts[index]["keep"] == (leader == index)
        assert verdicts[index]["duplicate_of"] == (None if leader == index else leader)


def test_planted_near_duplicates_are_found_and_strangers_are_kept(workdir: Workdir) -> None:
    originals = [document(seed) for seed in range(40)]
    copies = [edited(words, 0.01, seed) for seed, words in enumerate(originals)]
    texts = [" ".join(words) for words in originals + copies]
    exact_verdicts, near = run_dedup(workdir, texts, minhash.NearConfig(threshold=0.7))
    assert all(verdict["keep"] for verdict in near[:40])
    for index in range(40):
        true = jaccard(originals[index], copies[index])
        verdict = near[40 + index]
        if not exact_verdicts[40 + index]["keep"]:
            assert true == 1
            assert verdict["keep"] is None
        elif true > 0.85:
            assert verdict["duplicate_of"] == index
            assert abs(verdict["value"] - true) < 0.2
        elif true < 0.5:
            assert verdict["keep"]


def test_output_does_not_depend_on_how_documents_are_partitioned(tmp_path) -> None:
    texts = [" ".join(edited(document(seed % 7), 0.03, seed)) for seed in range(50)]
    results = [run_dedup(Workdir(str(tmp_path / str(parts))), texts, minhash.NearConfig(), parts) for parts in (1, 4, 11)]
    assert results[0] == results[1] == results[2]


def test_a_chain_of_near_duplicates_does_not_swallow_what_no_longer_resembles_its_beginning(workdir: Workdir) -> None:
    """Each link shares 90 % of its words with the next, the first and last share nothing."""
    base = [f"w{number}" for number in range(600)]
    chain = [base[start : start + 200] for start in range(0, 400, 15)]
    _, near = run_dedup(workdir, [" ".join(words) for words in chain], minhash.NearConfig(threshold=0.7, bands=28, rows=4))
    kept = [index for index, verdict in enumerate(near) if verdict["keep"]]
    assert jaccard(chain[0], chain[1]) > 0.85
    assert len(kept) > 4, "plain transitive closure would keep one"
    for index, verdict in enumerate(near):
        if not verdict["keep"]:
            assert jaccard(chain[index], chain[verdict["duplicate_of"]]) > 0.5
            assert verdict["duplicate_of"] in kept
            assert verdict["component_size"] == len(chain)


def test_documents_of_one_word_of_none_and_of_one_word_repeated(workdir: Workdir) -> None:
    texts = ["word", "other", "", "!!", "word " * 100_000, "word " * 90_000]
    exact_verdicts, near = run_dedup(workdir, texts, minhash.NearConfig())
    assert [verdict["keep"] for verdict in exact_verdicts] == [True] * 6
    assert [verdict["keep"] for verdict in near] == [True, True, True, True, True, False]
    assert near[5]["duplicate_of"] == 4


def test_all_documents_equal(workdir: Workdir) -> None:
    exact_verdicts, near = run_dedup(workdir, ["the same text"] * 500, minhash.NearConfig())
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


@given(st.integers(0, 2**32 - 1))
def test_every_dropped_document_is_similar_enough_to_one_that_stays(seed: int) -> None:
    random_ = np.random.default_rng(seed)
    signatures = random_.integers(0, 3, (12, 16)).astype(np.uint32)
    root = np.sort(random_.integers(0, 3, 12)).astype(np.int64)
    root = np.array([np.flatnonzero(root == value)[0] for value in root], np.int64)
    anchors, similarity = anchor(root, signatures, 0.5)
    for node in range(12):
        if anchors[node] != node:
            assert anchors[anchors[node]] == anchors[node] < node
            assert root[anchors[node]] == root[node]
            assert similarity[node] == (signatures[node] == signatures[anchors[node]]).mean() >= 0.5


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 99))), st.integers(1, 3))
def test_a_shuffle_brings_every_row_to_its_bucket_in_order(rows: list[tuple[int, int]], files: int) -> None:
    import tempfile

    import xxhash

    from pipeline.dataset import Partition

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
            assert gather(workdir, "shuffled", bucket)["value"].tolist() == [value for b, value in rows if b == bucket]


def test_a_damaged_bucket_is_found(workdir: Workdir) -> None:
    import xxhash

    from pipeline.dataset import Partition

    raw = scatter({"value": np.arange(1000)}, np.arange(1000) % 2, 2).to_pybytes()
    place = raw.index(np.arange(1, 1000, 2).tobytes())
    damaged = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
    workdir.write(damaged, "s", "0.arrow")
    partition = Partition("0.arrow", 1000, len(raw), xxhash.xxh3_128_hexdigest(raw))
    workdir.write(Manifest("s", "s", "f", (partition,)).to_json(), "s", "_manifest.json")
    assert len(gather(workdir, "s", 0)["value"]) == 500
    with pytest.raises(CorruptData, match=r"s/0\.arrow.*bucket 1"):
        gather(workdir, "s", 1)


def test_bands_and_rows_come_from_the_threshold_where_they_are_not_given() -> None:
    from datasketch import MinHashLSH

    config = minhash.NearConfig(bands=None, rows=None, threshold=0.6)
    theirs = MinHashLSH(threshold=0.6, num_perm=128)
    assert config.layout == (theirs.b, theirs.r)
    with pytest.raises(ValueError, match="both"):
        minhash.NearConfig(bands=None)


def test_recall_follows_the_lsh_curve(workdir: Workdir) -> None:
    """Pairs at Jaccard s share a band with probability 1 - (1 - s^rows)^bands."""
    config = minhash.NearConfig(bands=6, rows=4, threshold=0.01)
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
