"""Packing: every id in exactly one place, nothing over the limit, and nearly nothing left empty."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dataset import Manifest, Partition, Workdir, to_ipc, to_parquet
from pipeline.packing import PackConfig, best_fit_decreasing, pack_stage, split_documents
from pipeline.shards import Row, ShardError, ShardInfo, Shards, record_batch, schema
from tests.conftest import run_task

LENGTHS = st.integers(1, 64).flatmap(lambda c: st.tuples(st.just(c), st.lists(st.integers(1, c), max_size=60)))


def slow_best_fit(lengths: list[int], capacity: int) -> list[int]:
    """Bins' contents by looking at every bin for every item."""
    bins: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [index for index, filled in enumerate(bins) if filled + length <= capacity]
        if fitting:
            bins[max(fitting, key=lambda index: bins[index])] += length
        else:
            bins.append(length)
    return sorted(bins)


@given(LENGTHS)
def test_best_fit_fills_bins_as_the_slow_way_does(case: tuple[int, list[int]]) -> None:
    capacity, lengths = case
    order, bins, count = best_fit_decreasing(np.array(lengths, np.int64), capacity)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    filled = np.bincount(bins, weights=np.array(lengths, np.float64)[order], minlength=count).astype(int)
    assert sorted(filled.tolist()) == slow_best_fit(lengths, capacity)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3)), max_size=20), st.integers(1, 20))
def test_documents_are_split_into_all_their_ids(documents: list[tuple[int, int]], longest: int) -> None:
    sizes, repeats = (np.array([document[side] for document in documents], np.int64) for side in (0, 1))
    owner, start, length = split_documents(sizes, repeats, longest)
    assert (length <= longest).all()
    assert (length > 0).all()
    for index, (size, times) in enumerate(documents):
        covered = np.zeros(size, int)
        for begin, count in zip(start[owner == index], length[owner == index], strict=True):
            covered[begin : begin + count] += 1
        assert (covered == times).all()


def test_a_real_heavy_tailed_distribution_packs_to_over_99_9_percent() -> None:
    lengths = np.random.default_rng(0).lognormal(5.5, 1.3, 50_000).astype(np.int64).clip(1, 10**6)
    for capacity in (1024, 8192):
        _, _, pieces = split_documents(lengths, np.ones_like(lengths), capacity - 2)
        _, _, count = best_fit_decreasing(pieces + 2, capacity)
        assert (pieces + 2).sum() / (count * capacity) > 0.999


INFO = ShardInfo(32, 1000, 900, 901, 902, 903, (0, 900), ("code", "web"), "tokenizer", "plan")


def pack(workdir: Workdir, documents: list[list[int]], repeats: list[int], parts: int, **config: int) -> Manifest:
    """Tokens and a plan as the stages before leave them, packed."""
    partitions: dict[str, list[Partition]] = {"documents": [], "tokens": [], "plan": []}
    validation = [index % 7 == 3 for index in range(len(documents))]
    for number in range(parts):
        rows = range(number * len(documents) // parts, (number + 1) * len(documents) // parts)
        ids = pa.array([documents[row] for row in rows], pa.list_(pa.uint16()))
        tokens = pa.table({"row": pa.array(range(len(rows)), pa.int64()), "ids": ids})
        plan = pa.table(
            {
                "domain": pa.array(["web" if row % 2 else "code" for row in rows], pa.string()),
                "split": pa.array(["validation" if validation[row] else "train" for row in rows], pa.string()),
                "repeats_main": pa.array([0 if validation[row] else repeats[row] for row in rows], pa.uint16()),
            }
        )
        name = f"p{number:03d}.parquet"
        for dataset, file, raw in (
            ("documents", name, b""),
            ("tokens", f"{name}.arrow", to_ipc(tokens.combine_chunks().to_batches(), tokens.schema)),
            ("plan", name, to_parquet(plan)),
        ):
            workdir.write(raw, dataset, file)
            partitions[dataset].append(Partition(file, len(rows), len(raw), xxhash.xxh3_128_hexdigest(raw)))
    manifests = {dataset: Manifest(dataset, "s", "f", tuple(parts)) for dataset, parts in partitions.items()}
    settings = PackConfig(window_tokens=1024, shard_bytes=4096, **config)
    of_phase = pack_stage(settings, "shards/main", "main", INFO, manifests["tokens"], manifests["plan"], manifests["documents"])
    result = run_task(workdir, of_phase)["shards/main"]
    held = pack_stage(settings, "shards/validation", None, INFO, manifests["tokens"], manifests["plan"], manifests["documents"])
    run_task(workdir, held)
    return result


@given(
    st.lists(st.tuples(st.lists(st.integers(0, 899), max_size=80), st.integers(0, 2)), min_size=1, max_size=25),
    st.integers(1, 4),
)
def test_every_id_of_every_document_is_in_its_place_as_often_as_planned(documents: list[tuple[list[int], int]], parts: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        workdir = Workdir(folder)
        manifest = pack(workdir, [ids for ids, _ in documents], [times for _, times in documents], parts)
        for dataset, times_of in (("main", lambda i: 0 if i % 7 == 3 else documents[i][1]), ("validation", lambda i: int(i % 7 == 3))):
            found: dict[int, list[list[int]]] = {}
            expected = {index: times_of(index) for index in range(len(documents)) if times_of(index) and documents[index][0]}
            if not expected:
                continue
            shards = Shards(workdir.path("shards", dataset))
            for number in range(len(shards)):
                row = shards[number]
                assert row.cu_seqlens[0] == 0
                assert row.cu_seqlens[-1] == len(row.input_ids) <= 32
                for index, (begin, end) in enumerate(zip(row.cu_seqlens, row.cu_seqlens[1:], strict=False)):
                    ids = row.input_ids[begin:end].tolist()
                    assert ids[0] == 900
                    assert ids[-1] == 901
                    document = int(row.document[index])
                    assert row.domain[index] == document % 2
                    found.setdefault(document, []).append(ids[1:-1])
            for document, times in expected.items():
                ids = documents[document][0]
                pieces = [ids[begin : begin + 30] for begin in range(0, len(ids), 30)]
                assert sorted(found[document]) == sorted(pieces * times)
            assert set(found) == set(expected)
        real = sum((len(ids) + 2 * -(-len(ids) // 30)) * times for i, (ids, times) in enumerate(documents) if i % 7 != 3)
        assert manifest.summary["tokens"] == real


def test_shards_are_read_by_plain_pyarrow(workdir: Workdir) -> None:
    pack(workdir, [[1, 2, 3], [4] * 40], [1, 1], 1)
    (name,) = [name for name in workdir.sizes("shards/main") if name.endswith(".arrow")]
    table = pa.ipc.open_file(pa.memory_map(workdir.path("shards/main", name))).read_all()
    assert table.num_rows == 2
    assert json.loads(table.schema.metadata[b"foundry"])["length"] == 32


# --- shard folders that cannot be trusted ------------------------------------------------------------------------------


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    from tests.trainer.synthetic import write_shards

    write_shards(tmp_path / "shards", 10)
    return tmp_path / "shards"


def test_an_unfinished_folder_is_refused(shards: Path) -> None:
    (shards / "_manifest.json").unlink()
    with pytest.raises(ShardError, match="no complete manifest"):
        Shards(shards)


def test_a_missing_and_a_truncated_shard_are_named(shards: Path) -> None:
    part = shards / "part-00001-000.arrow"
    raw = part.read_bytes()
    part.write_bytes(raw[:-1])
    with pytest.raises(ShardError, match=r"part-00001-000\.arrow: has another size"):
        Shards(shards)
    part.unlink()
    with pytest.raises(ShardError, match=r"part-00001-000\.arrow: is missing"):
        Shards(shards)
    part.write_bytes(bytes(len(raw)))
    with pytest.raises(ShardError, match=r"part-00001-000\.arrow: cannot be read"):
        Shards(shards)[9]


def test_shards_of_another_length_or_tokenizer_are_refused(shards: Path) -> None:
    with pytest.raises(ShardError, match="packed to 64 tokens, asked for 128"):
        Shards(shards, length=128)
    with pytest.raises(ShardError, match="another tokenizer"):
        Shards(shards, tokenizer="other")
    with pytest.raises(IndexError):
        Shards(shards, length=64, tokenizer="tokenizer")[10]


def test_a_file_of_other_settings_among_its_siblings_is_refused(shards: Path) -> None:
    from dataclasses import replace

    from tests.trainer.synthetic import INFO as OTHER
    from tests.trainer.synthetic import make_rows

    part = shards / "part-00001-000.arrow"
    info = replace(OTHER, plan="other")
    raw = to_ipc([record_batch(info, make_rows(5, 1))], schema(info))
    part.write_bytes(raw)
    manifest = json.loads((shards / "_manifest.json").read_text())
    manifest["partitions"][1]["bytes"] = raw.size
    (shards / "_manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ShardError, match="other settings than its siblings"):
        Shards(shards)[9]


def test_rows_come_back_as_they_were_written_without_a_copy(tmp_path: Path) -> None:
    from tests.trainer.synthetic import write_shards

    rows = write_shards(tmp_path / "s", 23, files=3)
    shards = Shards(tmp_path / "s")
    assert len(shards) == 23
    for number in (0, 7, 8, 22, 3):
        row: Row = shards[number]
        np.testing.assert_array_equal(row.input_ids, rows[number].input_ids)
        np.testing.assert_array_equal(row.cu_seqlens, rows[number].cu_seqlens)
        assert not row.input_ids.flags.owndata
        assert not row.input_ids.flags.writeable
