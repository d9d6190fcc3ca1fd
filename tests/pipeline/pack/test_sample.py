"""The held-out sample: of the split's mix, by documents and not by rows, whatever the packing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from pipeline.held_out import HeldOut, read_held_out
from pipeline.pack.sample import SAMPLE, choose, draw_sample, quotas
from pipeline.shards import ShardError, ShardInfo
from pipeline.workdir.dataset import Manifest, Partition, Workdir, to_ipc, to_parquet
from tests.conftest import here

INFO = ShardInfo(64, 300, 250, 251, 252, 253, (0, 250), ("code", "web"), "tokenizer", "")
Documents = dict[str, list[list[int]]]  # by source; that of domain web are of web pages, the others of code


def corpus(workdir: Workdir, documents: Documents, per_partition: int) -> dict[str, Manifest]:
    """Documents, split and tokens as the stages before leave them; of three documents the last is held out."""
    files: dict[str, list[Partition]] = {"documents": [], "split": [], "tokens": []}
    sizes: dict[str, Any] = {}
    for source, texts in sorted(documents.items()):
        domain = source.split("_")[0]
        for number, begin in enumerate(range(0, len(texts), per_partition)):
            rows = range(begin, min(len(texts), begin + per_partition))
            kinds = ["validation" if row % 3 == 2 else "train" for row in rows]
            for row, kind in zip(rows, kinds, strict=True):
                place = sizes.setdefault(domain, {}).setdefault(source, {}).setdefault(kind, {"tokens": 0})
                place["tokens"] += len(texts[row])
            name = f"{source}-{number:05d}-000.parquet"
            ids = pa.array([texts[row] for row in rows], pa.list_(pa.uint16()))
            tokens = pa.table({"row": pa.array(range(len(rows)), pa.int64()), "ids": ids}).combine_chunks()
            for dataset, file, raw in (
                ("documents", name, to_parquet(pa.table({"id": [f"{source}:{row}" for row in rows]}))),
                ("split", name, to_parquet(pa.table({"split": kinds}))),
                ("tokens", f"{name}.arrow", to_ipc(tokens.to_batches(), tokens.schema)),
            ):
                workdir.write(raw, dataset, file)
                files[dataset].append(Partition(file, len(rows), len(raw), xxhash.xxh3_128_hexdigest(raw)))
    return {name: Manifest(name, "s", "f", tuple(parts), {}, {"sources": sizes}) for name, parts in files.items()}


def sampled(folder: Path, documents: Documents, budget: int, per_partition: int = 7, **changes: Any) -> HeldOut:
    workdir = Workdir(str(folder))
    made = corpus(workdir, documents, per_partition)
    settings: dict[str, Any] = {"split": "validation", "seed": 1, "info": INFO, **changes}
    draw_sample(
        here(workdir), settings["split"], budget, settings["seed"], settings["info"], made["documents"], made["split"], made["tokens"]
    )
    return read_held_out(workdir.path(SAMPLE))


def plenty(seed: int = 0) -> Documents:
    """Four sources: many short documents, a few long ones."""
    random = np.random.default_rng(seed)
    sizes = {"code_a": (30, 600), "code_b": (200, 40), "web_a": (300, 60), "web_b": (6, 900)}
    return {
        source: [random.integers(0, 250, max(1, int(random.exponential(mean)))).tolist() for _ in range(count)]
        for source, (count, mean) in sizes.items()
    }


@pytest.mark.parametrize("budget", [1000, 3000, 8000])
def test_a_sample_has_the_mix_of_the_split(tmp_path: Path, budget: int) -> None:
    """Of each domain to the token, of each source to one piece; and pieces of all documents."""
    documents = plenty()
    found = sampled(tmp_path, documents, budget)
    sizes = np.diff(found.first)
    held = {source: sum(len(text) for text in texts[2::3]) for source, texts in documents.items()}
    total = sum(held.values())
    assert sizes.sum() == min(budget, total)
    for domain in ("code", "web"):
        wanted = budget * sum(size for source, size in held.items() if source.startswith(domain)) / total
        assert abs(sizes[np.array(found.domain) == domain].sum() - wanted) <= 1
    for source, size in held.items():
        assert abs(sizes[np.array(found.source) == source].sum() - budget * size / total) <= INFO.length
    for name, place, first, last in zip(found.names, found.place, found.first, found.first[1:], strict=False):
        source, row = name.split(":")
        assert int(row) % 3 == 2
        assert found.ids[first:last].tolist() == documents[source][int(row)][place : place + last - first]
    assert len(set(zip(found.names, found.place.tolist(), strict=True))) == found.pieces


def test_a_sample_does_not_depend_on_partitions_and_is_another_with_another_seed(tmp_path: Path) -> None:
    one, other = (sampled(tmp_path / str(size), plenty(), 3000, size) for size in (5, 1000))
    assert one.names == other.names
    assert (one.ids == other.ids).all()
    assert all((one.baselines[name] == other.baselines[name]).all() for name in one.baselines)
    assert sampled(tmp_path / "again", plenty(), 3000, seed=2).names != one.names


def test_a_split_of_fewer_tokens_is_taken_whole_and_an_empty_one_gives_an_empty_sample(tmp_path: Path) -> None:
    documents = plenty()
    found = sampled(tmp_path / "whole", documents, 10**9)
    assert len(found.ids) == sum(len(text) for texts in documents.values() for text in texts[2::3])
    assert sampled(tmp_path / "none", documents, 1000, split="test").pieces == 0


@given(st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=12), min_size=1, max_size=4), st.integers(1, 400))
def test_a_domain_has_what_it_should_to_the_token(pieces: list[list[int]], budget: int) -> None:
    drawn = {
        f"s{number}": [
            {"key": (7 * place) % 11, "id": f"{number}:{place}", "document": place, "place": 0, "ids": [0] * size}
            for place, size in enumerate(sizes)
        ]
        for number, sizes in enumerate(pieces)
    }
    there = {f"s{number}": sum(sizes) for number, sizes in enumerate(pieces)}
    wanted = quotas({"web": there}, budget)
    assert sum(wanted["web"].values()) == min(budget, sum(there.values()))
    chosen = choose(drawn, wanted)
    assert sum(len(piece["ids"]) for piece in chosen) == min(budget, sum(there.values()))
    assert len({piece["id"] for piece in chosen}) == len(chosen)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=20), st.integers(3, 200))
def test_segments_cover_each_piece_in_order_and_none_is_too_long(sizes: list[int], length: int) -> None:
    first = np.concatenate([[0], np.cumsum(sizes)])
    zeros = np.zeros(len(sizes), np.int64)
    held = HeldOut(INFO, 0, "", zeros, ("",) * len(sizes), (), (), zeros, first, np.zeros(first[-1], np.int64), {})
    piece, begin, end = held.segments(length)
    assert (end - begin + 2 <= length).all()
    assert (end > begin).all()
    assert begin[0] == 0
    assert end[-1] == first[-1]
    assert (begin[1:] == end[:-1]).all()
    for number, size in enumerate(sizes):
        lengths = (end - begin)[piece == number]
        assert lengths.sum() == size
        assert lengths.max() - lengths.min() <= 1
        assert len(lengths) == -(-size // (length - 2))


@pytest.mark.parametrize("damage", ["index", "file", "size", "other"])
def test_a_damaged_sample_is_told_in_a_line(tmp_path: Path, damage: str) -> None:
    sampled(tmp_path, plenty(), 1000)
    folder = tmp_path / SAMPLE
    if damage == "index":
        (folder / "index.json").write_text('{"files": [')
    elif damage == "file":
        (folder / "part-00000.arrow").unlink()
    elif damage == "size":
        (folder / "part-00000.arrow").write_bytes(b"cut")
    with pytest.raises(ShardError, match=r"another tokenizer" if damage == "other" else r"cannot be read as a held-out sample") as raised:
        read_held_out(folder, tokenizer="another" if damage == "other" else None)
    assert "\n" not in str(raised.value)
