"""What near deduplication promises beyond the basic verdicts: verification, clusters, preferences, indexes, rounds."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datasketch import MinHash, MinHashLSH
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pipeline.dedup import components as components_module
from pipeline.dedup.bloom import bloom_size
from pipeline.dedup.components import large_star, small_star
from pipeline.dedup.index import open_index
from pipeline.dedup.near import NearConfig, near_deduplicate
from pipeline.dedup.representatives import GROUPS, Rule, decide
from pipeline.dedup.seen import Seen
from pipeline.dedup.shingles import shingle_sets
from pipeline.dedup.shuffle import buckets_for
from pipeline.dedup.signing import SIGNATURES, matrix
from pipeline.measure.stage import measure_stage
from pipeline.report.alarms import alarms
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.engine import Engine
from pipeline.workdir.errors import CorruptData, UserError
from tests.conftest import here
from tests.pipeline.corpus import write_documents
from tests.pipeline.dedup.shingled import shingle_hashes
from tests.pipeline.dedup.test_dedup import document, edited, jaccard, judge, run_dedup, verdicts_of
from tests.profiles import share, thorough

ALL = {"bands": 64, "rows": 1}  # nearly every pair with anything in common is a candidate


def chain(links: int = 12, step: int = 8, size: int = 80) -> list[list[str]]:
    """Each resembles the next, and the last has nothing of the first."""
    return [[f"w{number}" for number in range(start, start + size)] for start in range(0, links * step, step)]


def test_shingle_sets_are_the_sorted_sets_of_shingle_hashes() -> None:
    texts = ["", "one", "a b a b a b a b", " ".join(document(1)), "中文字符没有空格 and words"]
    for unit, width in (("words", 5), ("characters", 7)):
        ends, sets = shingle_sets(pa.array(texts), width, unit)  # type: ignore[arg-type]
        for number, text in enumerate(texts):
            ours = sets[ends[number] : ends[number + 1]].tolist()
            assert ours == sorted(set(shingle_hashes(text, width, unit).tolist()))  # type: ignore[arg-type]


@given(st.text(alphabet="aB é中1.,\n", max_size=60), st.integers(1, 9))
def test_character_shingles_are_runs_of_the_normalised_text(text: str, width: int) -> None:
    normal = " ".join(re.findall(r"[abé1中]+", text.lower()))
    span = min(width, len(normal))
    runs = [normal[start : start + span] for start in range(len(normal) - span + 1)] if normal else []
    hashes = shingle_hashes(text, width, "characters").tolist()
    assert len(hashes) == len(runs)
    assert len(set(hashes)) == len(set(runs))
    assert [hashes.index(value) for value in hashes] == [runs.index(run) for run in runs]


def test_verification_keeps_pairs_that_the_estimate_takes_for_duplicates(tmp_path: Path) -> None:
    """At a true similarity just under the threshold, many estimates are over it."""
    originals = [document(seed, 100) for seed in range(150)]
    copies = [edited(words, 0.034, seed + 999) for seed, words in enumerate(originals)]
    texts = [" ".join(words) for words in originals + copies]
    true = [jaccard(one, other) for one, other in zip(originals, copies, strict=True)]
    _, verified = run_dedup(Workdir(str(tmp_path / "verified")), texts, NearConfig(threshold=0.75, **ALL))
    _, estimated = run_dedup(Workdir(str(tmp_path / "estimated")), texts, NearConfig(threshold=0.75, verify=False, **ALL))
    dropped = {number for number in range(150) if verified[150 + number]["keep"] is False}
    assert dropped == {number for number in range(150) if 0.75 <= true[number] < 1}
    wrong = [n for n in range(150) if estimated[150 + n]["keep"] is False and true[n] < 0.75]
    assert wrong, "else this test shows nothing"
    for number in dropped:
        assert verified[150 + number]["value"] == pytest.approx(true[number])
    row = next(row for row in estimated if row["keep"] is False)
    assert row["value"] == row["estimate"]


def test_the_chain_that_shows_the_difference_between_representative_and_transitive(tmp_path: Path) -> None:
    texts = [" ".join(words) for words in chain()]
    _, by_representative = run_dedup(Workdir(str(tmp_path / "representative")), texts, NearConfig(threshold=0.7, **ALL))
    _, transitive = run_dedup(Workdir(str(tmp_path / "transitive")), texts, NearConfig(threshold=0.7, cluster="transitive", **ALL))
    kept = [number for number, row in enumerate(by_representative) if row["keep"]]
    assert kept == list(range(0, 12, 2)), "a link resembles its neighbours alone"
    assert [row["keep"] for row in transitive] == [True] + [False] * 11
    assert transitive[11]["duplicate_of"] == 0
    assert transitive[11]["value"] < 0.05, "the evidence says how little the last resembles what stays"
    assert {row["component_size"] for row in transitive[1:]} == {12}


@pytest.mark.parametrize(
    ("config", "stays"),
    [
        ({}, 0),
        ({"keep": "longest"}, 2),
        ({"keep": "best", "statistic": "words"}, 2),
        ({"keep": "best", "statistic": "-words"}, 1),
        ({"prefer": ["good", "fair"]}, 3),
        ({"prefer": ["fair"], "keep": "longest"}, 1),
    ],
)
def test_which_copy_stays(workdir: Workdir, config: dict[str, Any], stays: int) -> None:
    words = document(1, 300)
    texts = [" ".join(each) for each in (words, words[:-10], [*words, "and", "more"], [*words[:-1], "other"])]
    judge(workdir, [*texts, "a stranger"], NearConfig(**config), sources=["poor", "fair", "poor", "good", "poor"])
    rows = verdicts_of(workdir, "near")
    assert [number for number in range(4) if rows[number]["keep"]] == [stays]
    assert {row["duplicate_of"] for row in rows[:4] if not row["keep"]} == {stays}


def test_an_unknown_statistic_is_named(workdir: Workdir) -> None:
    with pytest.raises(UserError, match=r"no statistic that is a number is named beauty; there are: .*words"):
        judge(workdir, ["a text"], NearConfig(keep="best", statistic="beauty"))
    with pytest.raises(ValueError, match="go together"):
        NearConfig(keep="best")


@settings(max_examples=share(1.5))
@given(
    st.integers(2, 60).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=90))
    )
)
def test_stars_settle_on_scipys_components(graph: tuple[int, list[tuple[int, int]]]) -> None:
    nodes, edges = graph
    edges = [(min(edge), max(edge)) for edge in edges if edge[0] != edge[1]]
    left, right = (np.array([edge[side] for edge in edges], np.int64) for side in (0, 1))
    _, labels = connected_components(coo_matrix((np.ones(len(edges)), (left, right)), shape=(nodes, nodes)), directed=False)
    for _ in range(50):
        left, right, changed = large_star(np.concatenate([left, right]), np.concatenate([right, left]))
        left, right, again = small_star(left, right)
        if not changed and not again:
            break
    else:
        pytest.fail("did not settle")
    root = np.arange(nodes)
    root[left] = right
    for node in range(nodes):
        assert root[node] == np.flatnonzero(labels == labels[node])[0]


def test_rounds_over_partitions_give_what_union_find_in_memory_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random.Random(1)
    texts = [" ".join(edited(document(generator.randrange(20)), 0.05, number)) for number in range(120)] + [" ".join(w) for w in chain(40)]
    monkeypatch.setattr(components_module, "buckets_for", lambda rows: 8)
    files = {}
    for pairs in (10**6, 0):
        workdir = Workdir(str(tmp_path / str(pairs)))
        run_dedup(workdir, texts, NearConfig(threshold=0.6, pairs_in_memory=pairs, bands=32, rows=2))
        files[pairs] = [(verdicts_of(workdir, "near")), workdir.require(GROUPS).content]
    assert files[0] == files[10**6]
    assert workdir.folders("dedup/near-rounds"), "the rounds were run"


def test_one_component_of_many_members_is_decided_by_its_first(workdir: Workdir) -> None:
    words = document(7, 60)
    texts = [" ".join([*words, f"n{number}"]) for number in range(3000)]
    _, near = run_dedup(workdir, texts, NearConfig())
    assert near[0]["keep"]
    assert {row["duplicate_of"] for row in near[1:] if row["keep"] is False} == {0}
    assert sum(row["keep"] is True for row in near) == 1
    assert workdir.require(GROUPS).summary["compared"] <= 3000, "each is compared with what stays, not with all others"


def test_strangers_that_share_boilerplate_all_stay_and_what_is_not_compared_is_told(workdir: Workdir) -> None:
    boilerplate = document(3, 100)
    texts = [" ".join(boilerplate + document(100 + number, 40)) for number in range(60)]
    _, near = run_dedup(workdir, texts, NearConfig(compare=5, threshold=0.75, bands=32, rows=2))
    assert all(row["keep"] for row in near)
    assert workdir.require(GROUPS).summary["left_out"] > 0
    assert any("near.compare" in alarm.text for alarm in alarms(workdir))


def test_a_source_that_loses_most_of_its_documents_is_told(workdir: Workdir) -> None:
    words = document(5, 200)
    texts = [" ".join([*words, f"n{number}"]) for number in range(30)] + [" ".join(document(50 + number)) for number in range(30)]
    judge(workdir, texts, NearConfig(), sources=["mirror"] * 30 + ["fine"] * 30)
    found = [alarm.text for alarm in alarms(workdir)]
    assert len(found) == 1
    assert "drops 29 of 30 documents of source mirror (97%" in found[0]
    assert alarms(workdir, 0.99) == []


# --- indexes ---------------------------------------------------------------------------------------------------------


def crawl(seeds: range, edit: float = 0.0) -> list[str]:
    return [" ".join(edited(document(seed), edit, seed + 77)) for seed in seeds]


def test_a_saved_index_stands_for_the_documents_it_was_made_of(tmp_path: Path) -> None:
    """Against an index, the second crawl is judged as when both crawls are judged at once."""
    first, second = crawl(range(40)) + crawl(range(5), 0.01), crawl(range(20, 60), 0.02) + crawl(range(200, 210))
    whole, old, new = (Workdir(str(tmp_path / name)) for name in ("whole", "old", "new"))
    config = {"bands": 32, "rows": 4, "threshold": 0.7}
    _, both = run_dedup(whole, first + second, NearConfig(**config))
    _, before = run_dedup(old, first, NearConfig(save_index=True, **config))
    for row, wanted in zip(before, both, strict=False):  # what comes later may join a cluster, and changes no verdict
        assert {**row, "cluster": None, "component_size": None} == {**wanted, "cluster": None, "component_size": None}
    copy = tmp_path / "copied"
    (tmp_path / "old" / "index" / "near").rename(copy)
    judge(new, second, NearConfig(against=[str(copy)], **config), parts=5)
    after = verdicts_of(new, "near")
    for row, wanted in zip(after, both[len(first) :], strict=True):
        if wanted["keep"] is None:  # an exact duplicate
            assert (row["keep"], row["value"]) == (False, 1.0)
            continue
        assert row["keep"] == wanted["keep"]
        if row["keep"] is False:
            assert row["value"] == wanted["value"]
            if wanted["duplicate_of"] < len(first):
                assert row["duplicate_of"] is None
                assert f"seen before as test:{wanted['duplicate_of']}, in {copy}" in row["detail"]
            else:
                assert row["duplicate_of"] == wanted["duplicate_of"] - len(first)


def test_indexes_of_several_runs_and_of_other_bucket_counts_are_used_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pipeline.dedup.index as index_module
    import pipeline.dedup.signing as sign_module

    crawls = [crawl(range(0, 20)), crawl(range(20, 40)), crawl(range(40, 60))]
    places = []
    for number, buckets in enumerate((1, 8)):
        monkeypatch.setattr(index_module, "buckets_for", lambda rows, buckets=buckets: buckets)
        workdir = Workdir(str(tmp_path / str(number)))
        judge(workdir, crawls[number], NearConfig(save_index=True), parts=2)
        places.append(workdir.uri)
    monkeypatch.setattr(sign_module, "buckets_for", lambda rows: 4)
    new = Workdir(str(tmp_path / "new"))
    judge(new, [text + " more" for texts in crawls for text in texts], NearConfig(against=places))
    near = verdicts_of(new, "near")
    assert [row["keep"] for row in near] == [False] * 40 + [True] * 20
    assert "seen before as test:3, in" in near[23]["detail"]


def test_an_index_of_other_parameters_is_refused_naming_both(tmp_path: Path) -> None:
    old = Workdir(str(tmp_path / "old"))
    judge(old, crawl(range(3)), NearConfig(save_index=True, save_seen=True))
    for field in ("against", "seen"):
        with pytest.raises(UserError, match=r"5 words, 14 bands of 8, seed 1, but this recipe's `near` has 5 words, 20 bands of 5, seed 1"):
            judge(Workdir(str(tmp_path / "new")), ["text"], NearConfig(bands=20, rows=5, **{field: [old.uri]}))
        with pytest.raises(UserError, match="save_"):
            judge(Workdir(str(tmp_path / "new")), ["text"], NearConfig(**{field: [str(tmp_path / "nowhere")]}))


def test_an_index_can_be_checked_and_extended_with_datasketch(workdir: Workdir) -> None:
    texts = crawl(range(6))
    judge(workdir, texts, NearConfig(save_index=True))
    opened = open_index(workdir.uri, NearConfig().signing)
    lsh = MinHashLSH(params=(14, 8), num_perm=112)
    for partition, table in opened.workdir.tables(opened.entries.dataset):
        assert table.num_rows == partition.rows
        for name, signature in zip(table["id"].to_pylist(), matrix(table["signature"]), strict=True):
            lsh.insert(name, MinHash(num_perm=112, seed=1, scheme="affine32", hashvalues=signature))
    query = MinHash(num_perm=112, seed=1, scheme="affine32", hashfunc=int)
    for value in shingle_hashes(texts[4] + " and a few words more", 5):
        query.update(int(value))
    assert lsh.query(query) == ["test:4"]


def test_a_bloom_index_says_seen_or_not(tmp_path: Path) -> None:
    old, new = Workdir(str(tmp_path / "old")), Workdir(str(tmp_path / "new"))
    judge(old, crawl(range(300)), NearConfig(save_seen=True))
    again = [text + " and more" for text in crawl(range(1000, 1002))]
    judge(new, crawl(range(290, 300)) + crawl(range(1000, 1300)) + again, NearConfig(seen=[old.uri]))
    seen, near = verdicts_of(new, "seen"), verdicts_of(new, "near")
    assert [row["keep"] for row in seen[:10]] == [False] * 10
    assert all(row["value"] == 14 and row["rule"] == "seen" for row in seen[:10])
    assert sum(row["keep"] is False for row in seen[10:]) <= 3, "one in a thousand, by chance"
    assert all(row["keep"] is None for row in near[:10])
    assert [row["duplicate_of"] for row in near[-2:]] == [10, 11]


def test_a_bloom_filters_false_positives_are_as_promised(workdir: Workdir) -> None:
    from dataclasses import asdict

    from pipeline.dedup.seen import _Filter, save_seen_bucket
    from pipeline.dedup.shuffle import scatter
    from pipeline.dedup.signing import BANDS
    from pipeline.workdir.dataset import MANIFEST, Manifest, Partition
    from pipeline.workdir.stages import Bucket

    generator = np.random.default_rng(0)
    known, strange = (generator.integers(0, 2**64, 20_000, dtype=np.uint64) for _ in range(2))
    raw = scatter({"hash": known}, np.zeros(len(known), np.int64), 1)
    workdir.write(raw, BANDS, "0.arrow")
    workdir.write(Manifest(BANDS, "s", "f", (Partition("0.arrow", len(known), raw.size, ""),)).to_json(), BANDS, MANIFEST)
    for rate in (0.1, 0.01):
        bits, functions = bloom_size(len(known), rate)
        file = next(save_seen_bucket(workdir, Bucket(0, 1, _Filter(bits, functions))))
        workdir.write(file.content, "seen", file.name)
        import xxhash

        partition = Partition(file.name, file.rows, len(memoryview(file.content)), xxhash.xxh3_128_hexdigest(file.content))
        settings_ = {"functions": functions, "signing": asdict(NearConfig().signing)}
        seen = Seen(workdir, Manifest("seen", "s", "f", (partition,), settings_), "here")
        assert seen.count(known[:, None]).all()
        assert seen.count(strange[:, None]).mean() < 1.3 * rate


# --- on real text, and on Ray ----------------------------------------------------------------------------------------


def test_recall_of_revised_abstracts_follows_the_lsh_curve(real_data: Path, workdir: Workdir) -> None:
    """Natural near-duplicates: pairs of an abstract before and after its authors revised it."""
    import io
    import json

    import zstandard

    with (real_data / "dedup" / "arxiv-abstract-revisions.jsonl.zst").open("rb") as file:
        raw = zstandard.ZstdDecompressor().stream_reader(file)
        pairs = [json.loads(line) for line in io.TextIOWrapper(raw, encoding="utf-8")]
    one, other = (name for name in pairs[0] if isinstance(pairs[0][name], str) and len(pairs[0][name]) > 200)
    texts = [pair[one] for pair in pairs] + [pair[other] for pair in pairs]
    exact, near = run_dedup(workdir, texts, NearConfig(threshold=0.02, bands=14, rows=8))

    def shingles(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"[^\W_]+", text.lower())
        return {tuple(words[start : start + 5]) for start in range(max(1, len(words) - 4))}

    true, found = [], []
    for number in range(len(pairs)):
        if exact[len(pairs) + number]["keep"] and exact[number]["keep"]:
            a, b = shingles(texts[number]), shingles(texts[len(pairs) + number])
            true.append(len(a & b) / len(a | b))
            found.append(near[len(pairs) + number]["duplicate_of"] == number)
    expected = 1 - (1 - np.array(true) ** 8) ** 14
    deviation = np.sqrt((expected * (1 - expected)).sum())
    assert len(true) > 1000
    assert abs(sum(found) - expected.sum()) < 4 * deviation


def test_workers_of_a_cluster_write_the_bytes_that_one_process_writes(tmp_path: Path, ray_session: None) -> None:
    texts = crawl(range(60)) + crawl(range(30, 90), 0.02) + [" ".join(words) for words in chain(20)]
    contents = []
    for name, kind in (("here", here), ("ray", Engine)):
        engine = kind(Workdir(str(tmp_path / name)))
        documents = write_documents(engine.workdir, texts, 7)
        statistics = engine.run(measure_stage(documents)).manifests["statistics"]
        config = NearConfig(save_index=True, pairs_in_memory=0, bands=32, rows=4)
        near_deduplicate(engine, config, documents, statistics, [])
        names = (SIGNATURES, GROUPS, "dedup/near-members", "verdicts/near", "index/near/entries", "index/near/bands")
        contents.append([engine.workdir.require(dataset).content for dataset in names])
    assert contents[0] == contents[1]


# --- bad input -------------------------------------------------------------------------------------------------------


def test_a_lost_or_damaged_partition_is_found_and_made_again(workdir: Workdir) -> None:
    texts = crawl(range(30)) + crawl(range(30), 0.01)
    engine = judge(workdir, texts, NearConfig())
    wanted = workdir.require("verdicts/near").content
    name = workdir.require(SIGNATURES).partitions[1].name
    workdir.delete(SIGNATURES, name)
    judge(workdir, texts, NearConfig())
    assert workdir.require("verdicts/near").content == wanted
    raw = workdir.read(SIGNATURES, name)
    assert raw is not None
    damaged = bytearray(raw.to_pybytes())
    damaged[len(damaged) // 2] ^= 1
    workdir.write(bytes(damaged), SIGNATURES, name)
    workdir.delete("dedup/near-members", "_manifest.json")
    workdir.delete("dedup/near-members", "_tasks.json")
    with pytest.raises(CorruptData, match=re.escape(name)):
        judge(engine.workdir, texts, NearConfig())


@pytest.mark.slow
def test_two_documents_of_many_megabytes_are_compared(workdir: Workdir) -> None:
    count = 14_000_000 if thorough() else 2_000_000  # words of seven bytes
    generator = np.random.default_rng(0)
    text = " ".join(np.char.mod("%06d", generator.integers(0, 10**6, count)))
    _, near = run_dedup(workdir, [text, "a stranger", text[: -count // 2]], NearConfig(), parts=1)
    assert near[2]["duplicate_of"] == 0
    assert near[2]["value"] == pytest.approx(13 / 14, abs=0.001)


@pytest.mark.slow
def test_a_million_members_are_walked_once_each() -> None:
    """What `_decide` does with one component of a million: near-copies of one document, and a stranger among every hundred."""
    members = 1_000_000
    generator = np.random.default_rng(0)
    sets = np.sort(generator.integers(0, 2**32, (3, 60), dtype=np.uint32), axis=1)
    kind = np.where(np.arange(members) % 100 == 7, 1 + np.arange(members) % 2, 0)
    hashes = np.zeros((members, 4), np.uint64)
    hashes[:, 1:] = kind[:, None]
    begin = kind.astype(np.int64) * 60
    everyone, nobody = np.arange(members), np.zeros(members, bool)
    decided = decide(
        everyone, nobody, hashes, np.zeros((members, 4), np.uint32), begin, begin + 60, sets.reshape(-1), Rule(0.7, True, False, 256)
    )
    assert np.array_equal(np.flatnonzero(decided.representative == everyone), [0, 7])
    assert decided.compared < 3 * members


def test_nothing_to_compare_is_no_error(workdir: Workdir) -> None:
    _, near = run_dedup(workdir, ["", "!", "only one with words"], NearConfig(pairs_in_memory=0))
    assert [row["keep"] for row in near] == [True] * 3


@pytest.mark.slow
def test_buckets_are_powers_of_two_and_bounded() -> None:
    assert [buckets_for(rows) for rows in (0, 1, 1 << 21, (1 << 21) + 1, 1 << 40)] == [1, 1, 1, 2, 4096]
