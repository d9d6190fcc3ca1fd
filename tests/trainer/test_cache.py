"""Remote shards through the cache. `file://` stands for a remote store: the cache treats it as any other URI."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.shards import ShardError, Shards
from tests.trainer.synthetic import write_shards
from trainer.batches import Source
from trainer.cache import Cached

ROWS, FILES = 60, 12


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    write_shards(tmp_path / "remote", ROWS, files=FILES)
    return tmp_path / "remote"


def cached(remote: Path, cache: Path, limit: int = 1 << 30) -> Cached:
    return Cached(f"file://{remote}", cache, limit=limit)


def test_rows_through_the_cache_are_the_rows_themselves(remote: Path, tmp_path: Path) -> None:
    near, far = Shards(remote), Shards(cached(remote, tmp_path / "cache"))
    for number in np.random.default_rng(0).permutation(ROWS):
        for one, other in zip(near[int(number)], far[int(number)], strict=True):
            np.testing.assert_array_equal(one, other)
    assert len(list((tmp_path / "cache").glob("*.arrow"))) == FILES


def test_opening_fetches_one_file_and_asking_ahead_the_ones_that_are_named(remote: Path, tmp_path: Path) -> None:
    shards = Shards(cached(remote, tmp_path / "cache"))
    assert len(list((tmp_path / "cache").glob("*.arrow"))) == 1
    shards.ahead(np.array([7, 8, 31]))
    for row in (7, 31):
        shards[row]
    assert len(list((tmp_path / "cache").glob("*.arrow"))) == 3


def test_the_cache_stays_under_its_bound_and_keeps_what_was_used_last(remote: Path, tmp_path: Path) -> None:
    size = max(path.stat().st_size for path in remote.glob("*.arrow"))
    shards = Shards(cached(remote, tmp_path / "cache", limit=3 * size))
    for row in range(ROWS):
        shards[row]
        kept = list((tmp_path / "cache").glob("*.arrow"))
        assert sum(path.stat().st_size for path in kept) <= 3 * size
    names = {entry["xxh3_128"] + ".arrow" for entry in json.loads((remote / "index.json").read_text())["files"][-2:]}
    assert names <= {path.name for path in kept}
    assert Shards(cached(remote, tmp_path / "cache", limit=3 * size))[0].input_ids.size


def test_a_damaged_or_missing_remote_file_is_named(remote: Path, tmp_path: Path) -> None:
    part = sorted(remote.glob("*.arrow"))[5]
    raw = bytearray(part.read_bytes())
    raw[len(raw) // 2] ^= 1
    part.write_bytes(raw)
    shards = Shards(cached(remote, tmp_path / "cache"))
    with pytest.raises(ShardError, match=rf"{part.name}: is damaged"):
        shards[27]
    part.unlink()
    with pytest.raises(ShardError, match=rf"{part.name}: is missing"):
        shards[27]
    assert shards[30].input_ids.size
    assert not list((tmp_path / "cache").glob(".*")), "nothing half-fetched stays"


def test_a_file_of_the_cache_that_was_damaged_is_fetched_again(remote: Path, tmp_path: Path) -> None:
    wanted = Shards(cached(remote, tmp_path / "cache"))[0].input_ids.copy()
    (kept,) = (tmp_path / "cache").glob("*.arrow")
    kept.write_bytes(kept.read_bytes()[:-8] + bytes(8))
    np.testing.assert_array_equal(Shards(cached(remote, tmp_path / "cache"))[0].input_ids, wanted)


def test_a_full_disk_and_a_cache_that_is_too_small_say_what_to_do(remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ShardError, match=r"the cache holds only 100; raise training\.cache_bytes"):
        Shards(cached(remote, tmp_path / "small", limit=100))

    def full(self: Cached, name: str, aside: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Cached, "_download", full)
    with pytest.raises(ShardError, match=r"the disk is full; free space, or lower training\.cache_bytes"):
        Shards(cached(remote, tmp_path / "cache"))


def test_a_place_that_cannot_be_opened_or_has_no_shards_is_named(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="nosuch://x: cannot be opened"):
        Cached("nosuch://x", tmp_path / "cache", limit=1)
    with pytest.raises(ShardError, match=r"no index\.json"):
        Shards(cached(tmp_path, tmp_path / "cache"))


def test_blocks_want_few_files_at_a_time(remote: Path, tmp_path: Path) -> None:
    """With `shuffle_rows`, an epoch through a cache of a third of the files fetches each file once."""
    size = max(path.stat().st_size for path in remote.glob("*.arrow"))
    place = cached(remote, tmp_path / "cache", limit=4 * size)
    source = Source(Shards(place), seed=1, rate=0.3, block=10)
    fetched: list[str] = []
    download = place._download

    def noted(name: str, aside: Path) -> tuple[int, str]:
        fetched.append(name)
        return download(name, aside)

    place._download = noted  # type: ignore[method-assign]
    seen = [source.micro_batch(np.array([sample])).tokens for sample in range(ROWS)]
    assert len(seen) == ROWS
    assert len(fetched) <= FILES
