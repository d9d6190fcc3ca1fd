"""What any artifact is, and whether it is sound."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

import tokenizer
from jobs.console import console, number, size
from jobs.recipe import resolve_workdir
from jobs.sums import EXPORT_REMEDY, MODEL_REMEDY, TRAINED, check_sums
from pipeline.shards import INDEX, METADATA_KEY, ShardInfo
from pipeline.workdir.dataset import MANIFEST, TASKS, Manifest, Workdir
from pipeline.workdir.errors import CorruptData, UserError
from storage.location import Location

if TYPE_CHECKING:
    from model import ModernBertConfig
    from trainer.checkpoints import Store


def inspect(path: str) -> None:
    """Print what is at a path. Raises `UserError` where it is nothing of ours, `CorruptData` where it is damaged."""
    place = resolve_workdir(path)
    workdir = Workdir(place)
    if workdir.is_local and Path(place).is_file():
        _file(Path(place))
        return
    sizes = workdir.sizes()
    if not sizes and not workdir.folders():
        raise UserError(f"{workdir.shown}: nothing there")
    if MANIFEST in sizes or TASKS in workdir.folders():
        location = Location.parse(place)
        _dataset(Workdir(location.parent.uri), location.name)
        return
    if "tokenizer.json" in sizes and "model.safetensors" not in sizes:
        _tokenizer(Path(place))
    elif "model.safetensors" in sizes:
        _model(Path(place))
    elif "run.json" in sizes:
        _run(workdir)
    else:
        _workdir(workdir)


def _workdir(workdir: Workdir) -> None:
    datasets = workdir.datasets()
    if not datasets:
        raise UserError(f"{workdir.shown}: neither a workdir, a dataset, a tokenizer, a run nor a model of ours")
    console.print(f"workdir {workdir.shown}")
    for dataset in datasets:
        manifest = workdir.manifest(dataset)
        if manifest is None:
            console.print(f"  {dataset:<24} unfinished")
        else:
            parts = len(manifest.partitions)
            console.print(f"  {dataset:<24} {manifest.rows:>12,} rows  {size(manifest.size):>9}  {parts} partitions")


def _dataset(workdir: Workdir, name: str) -> None:
    manifest = workdir.manifest(name)
    if manifest is None:
        console.print(f"{workdir.path(name)}: an unfinished dataset; the stage that makes it has not ended")
        return
    console.print(f"{manifest.dataset}: a dataset of stage {manifest.stage!r}")
    console.print(f"  {manifest.rows:,} rows in {len(manifest.partitions)} partitions, {size(manifest.size)}")
    console.print(f"  fingerprint {manifest.fingerprint}, content {manifest.content}")
    damaged = []
    for partition in manifest.partitions:
        try:
            workdir.read_partition(name, partition)
        except CorruptData as error:
            damaged.append(str(error))
    has_index = INDEX in workdir.sizes(name) or manifest.dataset.startswith("shards/")
    if has_index and not workdir.has_index(name, manifest, INDEX):
        what = "is missing, or says other things than the manifest; `foundry pack RECIPE` writes it again"
        damaged.append(f"{workdir.path(name, INDEX)}: {what}")
    if damaged:
        raise CorruptData(damaged[0] + (f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""))
    console.print("  sound: every partition has its checksum" + (", and the index says the same" if has_index else ""))
    if "tokenizer.json" in manifest.by_name and workdir.is_local:
        _tokenizer(Path(workdir.path(name)))
    if not manifest.partitions:
        return
    first = manifest.partitions[0]
    if first.name.endswith((".parquet", ".arrow")):
        table = workdir.read_table(name, first)
        if METADATA_KEY in (table.schema.metadata or {}):
            _shard(table, first.name, manifest, workdir.path(name))
        else:
            columns = ", ".join(f"{field.name} {field.type}" for field in table.schema)
            console.print(f"  columns: {columns}")


def _shard(table: pa.Table, name: str, manifest: Manifest, folder: str) -> None:
    info = ShardInfo.from_metadata(table.schema.metadata, name)
    s = manifest.summary
    console.print(f"  packed to {info.length} tokens, vocabulary {info.vocab_size:,}, tokenizer {info.tokenizer}")
    console.print(
        f"  {number(s['tokens'])} tokens in {number(s['slots'])} slots ({s['tokens'] / max(1, s['slots']):.2%}), {s['segments']:,} segments"
    )
    if not table.num_rows:
        return
    lists = table["document"].slice(0, 1000).combine_chunks()
    chosen = int(np.argmax(np.diff(lists.offsets.to_numpy())))  # the one with most to see, of the first
    row = table.slice(chosen, 1).to_pylist()[0]
    edges = row["cu_seqlens"]
    console.print(f"  row {chosen} of {name}: {edges[-1]} tokens in {len(edges) - 1} segments")
    width = 72
    bar = ""
    for index, (begin, end) in enumerate(pairwise(edges)):
        cells = max(1, round((end - begin) / info.length * width))
        bar += ("█" if index % 2 == 0 else "▒") * cells
    console.print("  " + bar[:width] + "·" * (width - len(bar)))
    decoder = _decoder(folder)
    for index, (begin, end) in enumerate(pairwise(edges)):
        if index == 6:
            console.print(f"  ... {len(edges) - 7} segments more")
            break
        ids = row["input_ids"][begin:end]
        text = decoder.tokenizer.decode(ids[1:25]) if decoder else " ".join(map(str, ids[:12]))
        domain = info.domains[row["domain"][index]]
        shown = " ".join(text.split())[:70]
        console.print(f"  {domain:>8}  document {row['document'][index]:>8}  {end - begin:>5} tokens  {shown}", markup=False)


def _decoder(folder: str) -> tokenizer.Encoder | None:
    """The tokenizer of the workdir that a shard folder lies in, if it is there."""
    beside = Path(folder).parents[1] / "tokenizer"
    return tokenizer.Encoder(beside) if (beside / "tokenizer.json").is_file() else None


def _tokenizer(folder: Path) -> None:
    ids = tokenizer.special_ids(folder)
    console.print(f"{folder}: a tokenizer, {ids.vocab_size:,} entries, fingerprint {tokenizer.fingerprint(folder)}")
    console.print(
        f"  [CLS] {ids.cls}, [SEP] {ids.sep}, [PAD] {ids.pad}, [MASK] {ids.mask}; ordinary ids {ids.ordinary[0]} to {ids.ordinary[1] - 1}",
        markup=False,
    )
    report = folder / "report.json"
    if report.is_file():
        fast = json.loads(report.read_text(encoding="utf-8"))["fast_engine"]
        what = f"equal but for {len(fast['different_code_points'])} code points" if fast["usable"] else f"not usable: {fast['why_not']}"
        console.print(f"  gigatoken: {what}")


def _pattern(config: ModernBertConfig) -> str:
    if config.global_layers is not None:
        return f"layers {', '.join(map(str, config.global_layers))} global"
    return f"every {config.global_every} layers a global one"


def _model(folder: Path) -> None:
    from model import ModernBertConfig, bridge

    proof = Workdir(str(folder)).json("proof.json")
    looked_at = check_sums(folder, proof, EXPORT_REMEDY)
    looked_at += check_sums(folder.parent, Workdir(str(folder.parent)).json(TRAINED), MODEL_REMEDY, f"{folder.name}/")
    model = bridge.load(folder)
    c = model.config
    what, attention = "a classic BERT", f"{c.max_length} positions"
    if isinstance(c, ModernBertConfig):
        what, attention = "a ModernBERT", f"{_pattern(c)}, window {c.window}"
    count = sum(parameter.numel() for parameter in model.parameters())
    console.print(f"{folder}: {what}, {count / 1e6:.1f} M parameters; all weights are there, in their shapes")
    console.print(f"  {c.layers} layers of {c.hidden_size}, {c.heads} heads, {attention}, vocabulary {c.vocab_size:,}")
    if looked_at:
        console.print(f"  sound: {looked_at} files have their checksums")
    if isinstance(proof, dict) and "largest_difference_of_logits" in proof:
        console.print(f"  transformers' logits equal ours to {proof['largest_difference_of_logits']:.1e}")


def _run(run: Workdir) -> None:
    from trainer.checkpoints import Store

    console.print(f"{run.shown}: a training run")
    summary = run.read("summary.json")
    store = Store(run.folder)
    for name in run.folders("checkpoints"):
        if name.startswith("step-"):
            console.print(f"  {name}: {_checkpoint(store, name)}")
    if summary is not None:
        done = run.json("summary.json")
        if not isinstance(done, dict) or not {"steps", "tokens", "validation_after"} <= done.keys():
            raise CorruptData(f"{run.path('summary.json')}: is damaged; `foundry pretrain RECIPE` writes it again")
        if run.is_local:
            check_sums(Path(run.path()), run.json(TRAINED), MODEL_REMEDY)
        after = done["validation_after"]
        loss = f", validation loss {after['loss']:.4f}" if after else ""
        console.print(f"  finished: {done['steps']} steps, {done['tokens']:,} tokens{loss}")
    else:
        console.print("  not finished; `foundry pretrain` goes on")


def _checkpoint(store: Store, name: str) -> str:
    """What a checkpoint is of, and whether it is sound."""
    from trainer.checkpoints import Damaged

    try:
        manifest = store.verify(name)
    except Damaged as error:
        return f"damaged ({error})"
    held = size(sum(file.bytes for file in manifest.files))
    loss = f", validation loss {manifest.validation:.4f}" if manifest.validation is not None else ""
    return f"{manifest.tokens:,} tokens, {held}, by {manifest.world} processes under ZeRO {manifest.stage}{loss}; all checksums are right"


def _file(path: Path) -> None:
    folder = Workdir(str(path.parent))
    manifest = folder.manifest("")
    name = PurePosixPath(path.name).name
    if manifest is None or name not in manifest.by_name:
        raise UserError(f"{path}: not a partition that the manifest beside it names")
    folder.read_partition("", manifest.by_name[name])
    console.print(f"{path}: a partition of {manifest.dataset}, {manifest.by_name[name].rows:,} rows; sound, its checksum is right")
