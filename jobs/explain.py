"""The life of one document, from its file to the rows that it is trained on."""

from __future__ import annotations

import difflib
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from jobs.console import console, size
from jobs.recipe import resolve_workdir
from pipeline.measure.stage import CARRIED
from pipeline.mix.plan import PLAN, phase_column
from pipeline.mix.split import SPLIT
from pipeline.pack.sample import SAMPLE
from pipeline.pack.stage import shards_dataset
from pipeline.workdir.dataset import Manifest, Partition, Workdir
from pipeline.workdir.documents import DOCUMENTS, STATISTICS, TOKENS
from pipeline.workdir.errors import UserError
from pipeline.workdir.verdicts import ORDER, verdict_dataset

SHOWN_CHARACTERS = 600
SHOWN_CUTS = 5


def explain(workdir_path: str, document: str) -> None:
    """Print all that is known of a document, by id or ordinal. Raises `UserError` where there is none of that name."""
    workdir = Workdir(resolve_workdir(workdir_path))
    documents = workdir.require(DOCUMENTS)
    places = _find(workdir, documents, document)
    for partition, row in places:
        _explain_one(workdir, documents, partition, row)


def _find(workdir: Workdir, documents: Manifest, document: str) -> list[tuple[Partition, int]]:
    """Partition and row of every document of that id."""
    if document.isdigit() and int(document) < documents.rows:
        return [_place(documents, int(document))]
    found: list[tuple[Partition, int]] = []
    similar: list[str] = []
    for partition, table in workdir.tables(DOCUMENTS, ["id"]):
        ids = table["id"]
        match = pc.or_(pc.equal(ids, document), pc.ends_with(ids, f":{document}"))
        found.extend((partition, int(row)) for row in np.flatnonzero(np.asarray(match)))
        if not found and len(similar) < 3:
            similar.extend(ids.filter(pc.match_substring(ids, document)).to_pylist()[:3])
    if not found:
        hint = f"; ids like it: {', '.join(similar[:3])}" if similar else "; ids are SOURCE:PATH, see `foundry inspect` on documents/"
        raise UserError(f"{workdir.path(DOCUMENTS)}: no document {document}{hint}")
    return found


def _place(documents: Manifest, ordinal: int) -> tuple[Partition, int]:
    starts = list(documents.starts.values())
    index = int(np.searchsorted(starts, ordinal, side="right")) - 1
    return documents.partitions[index], ordinal - starts[index]


def _row(workdir: Workdir, dataset: str, name: str, row: int) -> dict[str, Any] | None:
    manifest = workdir.manifest(dataset)
    if manifest is None or name not in manifest.by_name:
        return None
    table: pa.Table = workdir.read_table(dataset, manifest.by_name[name])
    values: dict[str, Any] = table.slice(row, 1).to_pylist()[0]
    return values


def _explain_one(workdir: Workdir, documents: Manifest, partition: Partition, row: int) -> None:
    record = _row(workdir, DOCUMENTS, partition.name, row)
    assert record is not None, "the manifest names this partition"
    ordinal = documents.starts[partition.name] + row
    console.rule(record["id"], align="left")
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("ordinal", f"{ordinal} (row {row} of {DOCUMENTS}/{partition.name})")
    for name in ("domain", "source", "title", "url", "language", "license", "path", "date", "meta"):
        if record[name]:
            table.add_row(name, str(record[name]))
        if name == "license" and (found := _license_found(record["meta"])):
            table.add_row("found in", found)
    table.add_row("text", f"{size(len(record['text'].encode()))}")
    statistics = _row(workdir, STATISTICS, partition.name, row)
    if statistics:
        shown = {
            name: value for name, value in statistics.items() if name not in CARRIED and value is not None and not isinstance(value, list)
        }
        table.add_row("measured", ", ".join(f"{name} {_short(value)}" for name, value in shown.items()))
    survives = True
    duplicate: tuple[int, bool] | None = None  # of which document, and whether that stays
    cuts: list[tuple[int, int]] = []
    for name in ORDER:
        verdict = _row(workdir, verdict_dataset(name), partition.name, row)
        if verdict is None:
            continue
        text, keeps = _verdict(workdir, documents, name, verdict)
        table.add_row(name, text)
        if verdict["duplicate_of"] is not None:
            duplicate = verdict["duplicate_of"], _stays(workdir, documents, name, verdict["duplicate_of"])
        cuts += [(span["begin"], span["end"]) for span in verdict["cuts"] or []]
        survives &= keeps
    plan = _row(workdir, PLAN, partition.name, row) or _row(workdir, SPLIT, partition.name, row)
    if plan and survives:
        phases = [column for column in plan if column.startswith(phase_column(""))]
        times = ", ".join(f"{plan[column]} x in {column.removeprefix(phase_column(''))}" for column in phases)
        none = "none: what would be held out, though the text or a near copy of it is trained on or held out before it"
        table.add_row("split", (plan["split"] or none) + (f"; {times}" if plan["split"] == "train" and times else ""))
        _training_rows(workdir, documents, table, partition, row, ordinal, plan)
    console.print(table)
    _show_text(record["text"], cuts)
    if duplicate is not None:
        _difference(workdir, documents, record["text"], *duplicate)
    console.print()


def _license_found(meta: str | None) -> str | None:
    """Where a file's licence was found, and what is said elsewhere; None of a document that does not say."""
    said = json.loads(meta) if meta and '"license_from"' in meta else {}
    if not isinstance(said.get("license_from"), str):
        return None
    where = {"header": "the notice in its head", "SPDX tag": "its SPDX tag", "source": "the recipe's source"}
    others = said.get("license_others")
    place = str(said["license_from"])
    told = [f"{expression} in {where.get(origin, origin)}" for origin, expression in others.items()] if isinstance(others, dict) else []
    return where.get(place, place) + (f"; not counted, or not alone: {'; '.join(told)}" if told else "")


def _show_text(text: str, cuts: list[tuple[int, int]]) -> None:
    """The beginning of a text, and with its cuts each of the first few struck through, with some text around."""
    if not cuts:
        console.print(text[:SHOWN_CHARACTERS] + (" ..." if len(text) > SHOWN_CHARACTERS else ""), markup=False, style="dim")
        return
    raw = text.encode()
    shown = Text(style="dim")
    end = 0
    for first, last in sorted(cuts)[:SHOWN_CUTS]:
        before = raw[max(end, first - 120) : first].decode(errors="ignore")
        shown.append(("... " if first - 120 > end else "") + before)
        cut = raw[max(first, end) : last].decode(errors="ignore")
        shown.append(cut if len(cut) <= 240 else f"{cut[:120]} ... {cut[-120:]}", style="red strike")
        end = max(end, last)
    after = raw[end : end + 120].decode(errors="ignore")
    shown.append(after + (" ..." if len(raw) > end + 120 else ""))
    console.print(shown)
    if len(cuts) > SHOWN_CUTS:
        console.print(f"... and {len(cuts) - SHOWN_CUTS} cuts more", style="dim")


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _verdict(workdir: Workdir, documents: Manifest, name: str, verdict: dict[str, Any]) -> tuple[str, bool]:
    """A verdict in words, and whether the document survives it."""
    if verdict["keep"] is None:
        return "not looked at: dropped before", True
    if verdict["keep"]:
        if not verdict["cuts"]:
            return "kept", True
        cut = sum(span["end"] - span["begin"] for span in verdict["cuts"])
        return f"kept, [red]{size(cut)} cut[/red]: {escape(verdict['detail'] or '')}", True
    text = f"[red]dropped[/red] by {verdict['rule']}"
    if verdict["detail"]:
        text += f": {escape(verdict['detail'])}"
    if verdict["value"] is not None:
        text += f": {_short(verdict['value'])} where the limit is {_short(verdict['limit'])}"
    if verdict["estimate"] is not None and verdict["rule"] == "near":
        text += f" (the signatures estimate {_short(verdict['estimate'])})"
    if verdict["duplicate_of"] is not None:
        partition, row = _place(documents, verdict["duplicate_of"])
        other = _row(workdir, DOCUMENTS, partition.name, row)
        assert other is not None, "ordinals lie within the documents"
        stays = _stays(workdir, documents, name, verdict["duplicate_of"])
        said = f"{other['id']} stays" if stays else f"a copy of it is {other['id']}, and no copy stays"
        text += f"; {said}, of a cluster of {verdict['component_size']}"
    return text, False


def _stays(workdir: Workdir, documents: Manifest, name: str, ordinal: int) -> bool:
    """Whether a stage keeps a document that another is a duplicate of: not where it drops all copies."""
    partition, row = _place(documents, ordinal)
    verdict = _row(workdir, verdict_dataset(name), partition.name, row)
    return verdict is None or verdict["keep"] is not False


def _training_rows(
    workdir: Workdir, documents: Manifest, table: Table, partition: Partition, row: int, ordinal: int, plan: dict[str, Any]
) -> None:
    """How many tokens the document has, and which packed rows hold its segments."""
    tokens = workdir.manifest(TOKENS)
    name = f"{partition.name}.arrow"
    if tokens is None or name not in tokens.by_name:
        return
    ids = workdir.read_table(TOKENS, tokens.by_name[name]).filter(pc.field("row") == row)
    table.add_row("tokens", f"{len(ids['ids'][0]):,}" if ids.num_rows else "none")
    phases = [column.removeprefix(phase_column("")) for column in plan if column.startswith(phase_column(""))]
    sample = workdir.manifest(SAMPLE)
    for part in sample.partitions if sample is not None and plan["split"] != "train" else ():
        pieces = np.flatnonzero(workdir.read_table(SAMPLE, part, ["document"])["document"].to_numpy() == ordinal)
        if len(pieces):
            table.add_row(
                SAMPLE, f"{len(pieces)} of its pieces, on which runs are evaluated" if len(pieces) > 1 else "runs are evaluated on it"
            )
    for phase in phases if plan["split"] == "train" else []:
        manifest = workdir.manifest(shards_dataset(phase))
        if manifest is None:
            continue
        places: list[str] = []
        for part in manifest.partitions:
            lists = workdir.read_table(manifest.dataset, part, ["document"])["document"].combine_chunks()
            hits = np.flatnonzero(lists.values.to_numpy() == ordinal)
            rows = np.searchsorted(lists.offsets.to_numpy(), hits, side="right") - 1
            places.extend(f"{part.name} row {number}" for number in rows)
        if places:
            more = f" and {len(places) - 4} more" if len(places) > 4 else ""
            table.add_row(f"shards/{phase}", ", ".join(places[:4]) + more)


def _difference(workdir: Workdir, documents: Manifest, text: str, ordinal: int, stays: bool) -> None:
    """The difference between a duplicate and the copy that it is told to be one of, by lines."""
    partition, row = _place(documents, ordinal)
    kept = _row(workdir, DOCUMENTS, partition.name, row)
    assert kept is not None, "ordinals lie within the documents"
    which = "the copy that stays" if stays else "that copy"
    lines = list(difflib.unified_diff(kept["text"].splitlines(), text.splitlines(), kept["id"], "this document", lineterm="", n=0))
    console.print(f"difference from {which} ({len(lines)} lines of diff):" if lines else "no difference but white space")
    for line in lines[:40]:
        style = "green" if line.startswith("+") else "red" if line.startswith("-") else "cyan"
        console.print(line[:200], style=style, markup=False)
    if len(lines) > 40:
        console.print(f"... {len(lines) - 40} lines more")
