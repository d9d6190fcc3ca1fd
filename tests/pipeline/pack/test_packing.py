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

from pipeline.pack.fill import fill_rows, rank
from pipeline.pack.stage import PackConfig, pack_stage
from pipeline.shards import Row, ShardError, ShardInfo, Shards, schema
from pipeline.workdir.dataset import Manifest, Partition, Workdir, to_ipc, to_parquet
from tests.conftest import run_task
from tests.shard_batches import record_batch
from tokenizer.breaks import BEGINS_WITH_SPACE, ENDS_LINE, ENDS_PARAGRAPH, ENDS_SENTENCE

# A vocabulary for splits: 0 ends nothing, 1 a sentence, 2 a line, 3 a paragraph; 4 begins with a space.
FLAGS = np.array([0, ENDS_SENTENCE, ENDS_LINE, ENDS_PARAGRAPH, BEGINS_WITH_SPACE], np.uint8)


def fill(documents: list[list[int]], repeats: list[int], capacity: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """Segments as (owner, start within the document, length, row), and the number of rows."""
    sizes = np.array([len(ids) for ids in documents], np.int64)
    first = np.concatenate([[0], np.cumsum(sizes)])[:-1].astype(np.int64)
    ids = np.array([word for ids in documents for word in ids], np.uint16)
    owner, start, length, row, rows = fill_rows(first, sizes, np.array(repeats, np.int64), ids, FLAGS, capacity)
    return owner, start - first[owner], length, row, rows


def plain_rank(ids: list[int], place: int) -> int:
    """How good a place it is to end a segment before `ids[place]`: the rule, in plain Python."""
    if ids[place - 1] == 3 or (ids[place - 1] == 2 and place > 1 and ids[place - 2] in (2, 3)):
        return 3
    if ids[place - 1] == 2:
        return 2
    return int(ids[place - 1] == 1 and (place == len(ids) or ids[place] == 4))


DOCUMENTS = st.lists(st.tuples(st.lists(st.integers(0, 4), max_size=70), st.integers(0, 3)), max_size=25)


@given(DOCUMENTS, st.integers(8, 40))
def test_rows_hold_every_id_of_every_repetition_and_no_more_than_their_length(
    documents: list[tuple[list[int], int]], capacity: int
) -> None:
    owner, start, length, row, rows = fill([ids for ids, _ in documents], [times for _, times in documents], capacity)
    assert (length > 0).all()
    assert (np.diff(row) >= 0).all()
    assert set(row.tolist()) == set(range(rows))
    assert (np.bincount(row, weights=length + 2, minlength=1) <= capacity).all()
    for index, (ids, times) in enumerate(documents):
        covered = np.zeros(len(ids), int)
        for begin, count in zip(start[owner == index], length[owner == index], strict=True):
            covered[begin : begin + count] += 1
        assert (covered == times).all()
        if len(ids) <= capacity - 2:
            assert (length[owner == index] == len(ids)).all(), "what fits a row is not split"


@given(st.lists(st.integers(0, 4), min_size=3, max_size=70), st.integers(1, 69))
def test_places_are_ranked_as_the_rule_says(ids: list[int], place: int) -> None:
    place = min(place, len(ids))
    array = np.array([3, *ids], np.uint16)  # what comes before the document must not count
    assert rank(array, 1, len(array), place + 1, FLAGS) == plain_rank(ids, place)


def best_fit_decreasing(lengths: list[int], capacity: int) -> int:
    """Rows that the textbook's best-fit decreasing needs, by looking at every row for every segment."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [index for index, room in enumerate(rooms) if room >= length]
        if fitting:
            rooms[min(fitting, key=lambda index: rooms[index])] -= length
        else:
            rooms.append(capacity - length)
    return len(rooms)


@given(st.lists(st.integers(1, 62), min_size=1, max_size=300))
def test_short_documents_need_hardly_more_rows_than_best_fit_decreasing(sizes: list[int]) -> None:
    *_, rows = fill([[0] * size for size in sizes], [1] * len(sizes), 64)
    assert rows <= best_fit_decreasing([size + 2 for size in sizes], 64) * 1.08 + 1
    assert rows >= sum(size + 2 for size in sizes) / 64


def test_a_real_heavy_tailed_distribution_fills_over_99_9_percent_and_ends_where_the_text_does() -> None:
    lengths = np.random.default_rng(0).lognormal(5.5, 1.3, 50_000).astype(np.int64).clip(1, 10**6)
    ids = np.random.default_rng(1).choice(5, int(lengths.sum()), p=[0.82, 0.04, 0.02, 0.005, 0.115]).astype(np.uint16)
    first = np.concatenate([[0], np.cumsum(lengths)])[:-1]
    for capacity in (1024, 8192):
        owner, start, length, _, rows = fill_rows(first, lengths, np.ones_like(lengths), ids, FLAGS, capacity)
        assert (length + 2).sum() / (rows * capacity) > 0.999
        ends = start + length
        inner = ends < first[owner] + lengths[owner]
        spans = zip(first[owner[inner]], lengths[owner[inner]], ends[inner], strict=True)
        ranks = [rank(ids, begin, begin + size, end, FLAGS) for begin, size, end in spans]
        if capacity == 1024:
            assert np.mean(np.array(ranks) > 0) > 0.85


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
    of_phase = pack_stage(
        settings, "shards/main", "main", INFO, np.zeros(1000, np.uint8), manifests["tokens"], manifests["plan"], manifests["documents"]
    )
    return run_task(workdir, of_phase)["shards/main"]


def is_tiled(ids: list[int], times: int, pieces: list[list[int]]) -> bool:
    """Whether the pieces can be laid end to end to give the ids so many times."""
    if not times:
        return not pieces

    def lay(left: list[list[int]], at: int) -> list[list[list[int]]]:
        if at == len(ids):
            return [left]
        fitting = {tuple(piece) for piece in left if ids[at : at + len(piece)] == piece}
        results = []
        for piece in fitting:
            rest = list(left)
            rest.remove(list(piece))
            results += lay(rest, at + len(piece))
            if results:
                return results
        return results

    return any(is_tiled(ids, times - 1, rest) for rest in lay(pieces, 0))


@given(
    st.lists(st.tuples(st.lists(st.integers(0, 899), max_size=80), st.integers(0, 2)), min_size=1, max_size=25),
    st.integers(1, 4),
)
def test_every_id_of_every_document_is_in_its_place_as_often_as_planned(documents: list[tuple[list[int], int]], parts: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        workdir = Workdir(folder)
        pack(workdir, [ids for ids, _ in documents], [times for _, times in documents], parts)
        found: dict[int, list[list[int]]] = {}
        times_of = [0 if index % 7 == 3 else times for index, (_, times) in enumerate(documents)]
        expected = {index: times for index, times in enumerate(times_of) if times and documents[index][0]}
        if expected:
            shards = Shards(workdir.path("shards/main"))
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
                assert all(0 < len(piece) <= 30 for piece in found[document])
                assert sum(map(len, found[document])) == len(ids) * times
                if len(ids) <= 30:
                    assert found[document] == [ids] * times
                else:
                    assert is_tiled(ids, times, found[document])
            assert set(found) == set(expected)


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
    (shards / "index.json").unlink()
    with pytest.raises(ShardError, match=r"no index\.json"):
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


def test_a_flipped_bit_is_found_in_the_row_that_has_it(shards: Path) -> None:
    part = shards / "part-00001-000.arrow"
    raw = bytearray(part.read_bytes())
    ids = Shards(shards)[7].input_ids.tobytes()
    raw[raw.index(ids) + 5] ^= 16
    part.write_bytes(raw)
    damaged = Shards(shards)
    assert len(damaged[6].input_ids) > 0
    with pytest.raises(ShardError, match=r"part-00001-000\.arrow: row 2 is damaged"):
        damaged[7]


def test_shards_of_another_length_or_tokenizer_are_refused(shards: Path) -> None:
    with pytest.raises(ShardError, match="packed to 64 tokens, but 128 are asked for"):
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
    index = json.loads((shards / "index.json").read_text())
    index["files"][1]["bytes"] = raw.size
    (shards / "index.json").write_text(json.dumps(index))
    with pytest.raises(ShardError, match="other settings than the folder's other files"):
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
