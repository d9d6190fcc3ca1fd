"""What `benchmarks.loader` runs under the peers' own Python: `python loader_peers.py PEER ROWS.npz WORK TIMES`, prints JSON.

A peer stores the same rows in its own format on local disk, and gives them back shuffled, one after the other in one process;
96 rows make a micro-batch of int64 ids and boundaries, as the trainer wants. Files are warm: one epoch is read before timing.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

ROWS = 96


def micro_batches(rows: Iterator[np.ndarray]) -> int:
    """Collate all rows; returns how many tokens came."""
    total, waiting = 0, []
    for row in rows:
        waiting.append(row)
        if len(waiting) == ROWS:
            ids = torch.from_numpy(np.concatenate(waiting).astype(np.int64))
            np.cumsum([0, *map(len, waiting)], dtype=np.int32)
            total += len(ids)
            waiting = []
    return total


def timed(epoch: Callable[[int], Iterator[np.ndarray]], times: int) -> float:
    """Tokens a second: the median of some epochs, after one to warm up."""
    micro_batches(epoch(0))
    speeds = []
    for number in range(1, times + 1):
        begin = time.perf_counter()
        tokens = micro_batches(epoch(number))
        speeds.append(tokens / (time.perf_counter() - begin))
    return statistics.median(speeds)


def mosaic(rows: list[np.ndarray], work: Path) -> Callable[[int], Iterator[np.ndarray]]:
    from streaming import MDSWriter, StreamingDataset

    with MDSWriter(out=str(work / "mds"), columns={"input_ids": "ndarray:uint16"}, size_limit=64 << 20) as writer:
        for row in rows:
            writer.write({"input_ids": row})
    dataset = StreamingDataset(local=str(work / "mds"), shuffle=True, batch_size=ROWS, num_canonical_nodes=1)
    return lambda _: (sample["input_ids"] for sample in dataset)


def litdata(rows: list[np.ndarray], work: Path) -> Callable[[int], Iterator[np.ndarray]]:
    from litdata import StreamingDataset
    from litdata.streaming.writer import BinaryWriter

    writer = BinaryWriter(str(work / "litdata"), chunk_bytes=64 << 20)
    for index, row in enumerate(rows):
        writer.add_item(index, {"input_ids": row})
    writer.done()
    writer.merge(1)
    dataset = StreamingDataset(str(work / "litdata"), shuffle=True)

    def epoch(_: int) -> Iterator[np.ndarray]:
        for sample in dataset:
            yield np.asarray(sample["input_ids"])

    return epoch


def hugging_face(rows: list[np.ndarray], work: Path) -> Callable[[int], Iterator[np.ndarray]]:
    import datasets

    datasets.disable_progress_bars()
    made = datasets.Dataset.from_generator(
        lambda: ({"input_ids": row} for row in rows),
        features=datasets.Features({"input_ids": datasets.List(datasets.Value("uint16"))}),
        cache_dir=str(work / "hf"),
    )
    made = made.with_format("numpy")
    return lambda number: (sample["input_ids"] for sample in made.shuffle(seed=number, keep_in_memory=True))


PEERS = {"mosaicml-streaming": mosaic, "litdata": litdata, "datasets": hugging_face}


def main() -> None:
    """Measure one peer."""
    name, source, work, times = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    stored = np.load(source)
    ids, offsets = stored["ids"], stored["offsets"]
    rows = [ids[a:b] for a, b in pairwise(offsets)]
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    speed = timed(PEERS[name](rows, work), times)
    print(json.dumps({"version": version(name), "tokens_per_second": speed}))


if __name__ == "__main__":
    main()
