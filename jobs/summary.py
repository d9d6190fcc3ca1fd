"""The tables that a run ends with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from rich import box
from rich.table import Table

from jobs.console import console, number, printable, shown, size, warn
from kernel.cache import cache_folder
from pipeline.report.funnel import Funnel, Sampled, funnel
from pipeline.report.samples import Sample
from pipeline.workdir.dataset import Workdir, fingerprint
from pipeline.workdir.documents import DOCUMENTS
from pipeline.workdir.errors import UserError
from pipeline.workdir.verdicts import ORDER, verdict_dataset
from storage.errors import why
from trainer.errors import TrainerError
from trainer.lock import check
from trainer.words import compared, within

if TYPE_CHECKING:
    from trainer.checkpoints import Store

SHOWN_TEXT = 80  # characters of a document that is an example

# Sentences of the kind that the demo's corpus has, for a first look at what a model has learnt.
SENTENCES = (
    "The President of the United States [MASK] to the Congress.",
    "In this paper, we propose a new [MASK] for machine translation.",
    "import os\nfrom sqlalchemy import [MASK]\n",
)


def show(workdir: Workdir, run: str) -> None:
    """Print the funnel, the reasons, the mix, the packing and the training of what a workdir holds."""
    numbers = funnel(workdir)
    console.print()
    console.print(_funnel_table(numbers))
    if numbers.reasons:
        console.print(_reason_table(numbers))
    if numbers.cuts:
        console.print(_cuts_table(numbers))
    if numbers.contamination:
        console.print(_contamination_table(numbers))
    for alarm in numbers.warnings:
        warn(alarm.text)
        for sample in alarm.samples:
            console.print(in_a_line(sample), markup=False, soft_wrap=True)
    if numbers.split:
        console.print(_split_table(numbers))
    if numbers.mix:
        console.print(_mix_table(numbers))
    if numbers.packed:
        console.print(_packing_table(numbers))
    if numbers.sampled is not None:
        console.print(_sample_line(numbers.sampled), soft_wrap=True)
    _training(local_run(workdir, run))


def local_run(workdir: Workdir, run: str) -> Path:
    """Where training writes: `runs/NAME` of a local workdir; else a folder of this workdir and run below the cache folder."""
    if workdir.is_local:
        return Path(workdir.path("runs", run))
    return cache_folder("runs", fingerprint(workdir.shown)[:16], run)


def run_store(workdir: Workdir, run: str) -> Store:
    """The run in a remote workdir."""
    from trainer.checkpoints import Store  # torch takes seconds to import, and local workdirs need none

    workdir.path()  # opened once, so that what is wrong with it is told as the workdir's
    return Store(workdir.folder.below("runs", run))


def fetched_run(workdir: Workdir, run: str, *folders: str) -> Path:
    """The folder of a run on this machine, with the results of a remote workdir, which another machine may have put there.

    `folders`: those that are wanted beside the files of the run's folder itself. Raises `UserError` where they cannot be fetched.
    """
    folder = local_run(workdir, run)
    if workdir.is_local:
        return folder
    try:
        check(folder)
    except TrainerError:
        return folder  # a process here writes them at this moment
    store = run_store(workdir, run)
    try:
        store.fetch_results(folder, *folders)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{store}: cannot be fetched ({why(error)}); check network and credentials") from error
    return folder


def put_results(workdir: Workdir, run: str) -> None:
    """Put into a remote workdir what of a run's end is not there yet. Raises `UserError` where that is not possible."""
    if workdir.is_local:
        return
    store = run_store(workdir, run)
    try:
        store.put_newest(local_run(workdir, run))
        store.put_results(local_run(workdir, run))
    except (OSError, pa.ArrowException) as error:
        told = f"{store}: cannot be written ({why(error)}); check network and credentials, then run the same command again"
        raise UserError(told) from error


def other_runs(workdir: Workdir, run: str) -> list[Path]:
    """The folders of the workdir's other runs, by name; of a remote workdir, those that this machine has."""
    return sorted(path.parent for path in local_run(workdir, run).parent.glob("*/run.json") if path.parent.name != run)


def in_a_line(sample: Sample) -> str:
    """A document as an example: its id, what decided, and the beginning of its text."""
    rule = f"{sample.rule}{f' ({sample.measured})' if sample.measured else ''}" if sample.rule else "kept"
    text = " ".join(sample.text.split())
    return printable(f"  {sample.document}: {rule}: {text[:SHOWN_TEXT] or '(no text)'}{'...' if len(text) > SHOWN_TEXT else ''}")


def titled(title: str, *columns: str) -> Table:
    """An empty table; its first column is of words, the others of numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
    return table


def _funnel_table(numbers: Funnel) -> Table:
    table = titled("Funnel: documents kept, and their text", "stage", *numbers.domains, "all")
    for stage, counts in numbers.stages:
        documents = sum(count.documents for count in counts.values())
        total = sum(count.bytes for count in counts.values())
        cells = [f"{counts[domain].documents:,}  {size(counts[domain].bytes):>7}" if domain in counts else "" for domain in numbers.domains]
        table.add_row(stage, *cells, f"{documents:,}  {size(total):>7}")
    if numbers.tokens:
        cells = [number(numbers.tokens.get(domain, {}).get("tokens", 0)) + " tokens" for domain in numbers.domains]
        table.add_row("tokenize", *cells, number(sum(counts["tokens"] for counts in numbers.tokens.values())) + " tokens")
    return table


def _reason_table(numbers: Funnel) -> Table:
    table = titled("Why documents were dropped", "rule", *numbers.domains, "all")
    rows = sorted(numbers.reasons, key=lambda reason: -sum(reason[2].values()))
    for _, rule, counts in rows:
        cells = [f"{counts[domain]:,}" if domain in counts else "" for domain in numbers.domains]
        table.add_row(rule, *cells, f"{sum(counts.values()):,}")
    if numbers.quarantined:
        table.add_row("unreadable (quarantine)", *["" for _ in numbers.domains], f"{numbers.quarantined:,}")
    return table


def _cuts_table(numbers: Funnel) -> Table:
    table = titled("Cut out of documents that are kept", "stage", *numbers.domains, "all")
    for stage, counts in numbers.cuts:
        cells = [f"{counts[domain].documents:,}  {size(counts[domain].bytes):>7}" if domain in counts else "" for domain in numbers.domains]
        documents, total = sum(count.documents for count in counts.values()), sum(count.bytes for count in counts.values())
        table.add_row(stage, *cells, f"{documents:,}  {size(total):>7}")
    return table


def _contamination_table(numbers: Funnel) -> Table:
    table = titled("Evaluation sets", "set", "items", "too short", "unreadable", "n-grams", "instructions", "documents with some of it")
    for found in numbers.contamination:
        cells = (found.items, found.too_short, found.unreadable, found.ngrams, found.instructions, found.documents)
        table.add_row(found.name, *(f"{cell:,}" for cell in cells))
    return table


def _split_table(numbers: Funnel) -> Table:
    """Of each domain the documents of each split, and their share of the domain's text."""
    table = titled("Split: documents, and their share of the text", "domain", *numbers.splits)
    for domain, cells in numbers.split_rows:
        table.add_row(domain, *cells)
    return table


def _mix_table(numbers: Funnel) -> Table:
    table = titled("Mix: one pass of each phase", "phase", "name", "share", "there are", "seen", "documents", "repetitions", "tokens")
    table.columns[1].justify = "left"
    for phase, groups in numbers.mix.items():
        for place, (name, group) in enumerate(groups.items()):
            table.add_row(
                phase if place == 0 else "",
                name,
                f"{group.share:.0%}",
                number(group.available),
                f"{group.epochs:.2f} x",
                f"{group.documents:,}",
                f"{group.repeated:,}",
                number(group.tokens),
            )
    return table


def _packing_table(numbers: Funnel) -> Table:
    table = titled("Packing", "phase", "length", "rows", "segments", "tokens", "efficiency", *numbers.domains)
    for packed in numbers.packed:
        total = max(1, sum(packed.domains.values()))
        shares = [f"{packed.domains.get(domain, 0) / total:.0%}" for domain in numbers.domains]
        cells = [str(packed.length), f"{packed.rows:,}", f"{packed.segments:,}", number(packed.tokens), f"{packed.efficiency:.2%}"]
        table.add_row(packed.phase, *cells, *shares)
    return table


def _sample_line(sampled: Sampled) -> str:
    shares = ", ".join(f"{domain} {tokens / max(1, sampled.tokens):.0%}" for domain, tokens in sampled.domains.items())
    return (
        f"[bold]Held-out sample[/bold]: {number(sampled.tokens)} tokens in {sampled.pieces:,} pieces of {sampled.documents:,} documents "
        f"({shares}); every run of this workdir is evaluated on it"
    )


def finished(run: Path) -> dict[str, Any] | None:
    """The summary of a run that has ended; None where it has not, or the file is damaged: to train again writes it anew."""
    summary = Workdir(str(run)).json("summary.json")
    wanted = {"steps", "tokens", "tokens_per_second", "validation_before", "validation_after"}
    return summary if isinstance(summary, dict) and wanted <= summary.keys() else None


def _training(run: Path) -> None:
    summary = finished(run)
    if summary is None:
        return
    before, after = summary["validation_before"], summary["validation_after"]
    console.print(
        f"[bold]Training[/bold]: {summary['steps']} steps, {summary['tokens']:,} tokens, {summary['tokens_per_second']:,.0f} tokens/s"
    )
    if before and after:
        console.print(
            f"  validation loss {before['loss']:.3f} -> {after['loss']:.3f}{within(after, 3)}, "
            f"accuracy {before['accuracy']:.1%} -> {after['accuracy']:.1%}"
        )
        for length, values in after.get("at_length", {}).items():
            console.print(f"    at length {length}: {values['loss']:.3f}{within(values, 3)}")
        if baselines := after.get("baselines"):
            console.print(f"    models that count neighbours: {compared(baselines)}")
    export = run / "export"
    if (export / "proof.json").is_file():
        console.print("  what it fills in:")
        for sentence, words in fill(export):
            shown = sentence.strip().replace("\n", "; ")
            console.print(f"    {shown}  ->  {', '.join(words)}", markup=False)


def examples(workdir: Workdir) -> dict[str, str]:
    """The id of one document of each fate: kept, or dropped by one of the verdicts. What `foundry explain` is worth trying on."""
    found: dict[str, str] = {}
    documents = workdir.require(DOCUMENTS)
    manifests = {name: manifest for name in ORDER if (manifest := workdir.manifest(verdict_dataset(name))) is not None}
    for partition in documents.partitions:
        rows: dict[str, int] = {}
        survives = np.ones(partition.rows, bool)
        for name, manifest in manifests.items():
            keep = workdir.read_table(manifest.dataset, manifest.by_name[partition.name], ["keep"])["keep"]
            dropped = np.flatnonzero(~np.asarray(keep.fill_null(True), dtype=bool))
            if len(dropped):
                rows[name] = int(dropped[-1])
                survives[dropped] = False
        if survives.any():
            rows["kept"] = int(np.flatnonzero(survives)[-1])
        wanted = [name for name in rows if name not in found]
        if wanted:
            ids = workdir.read_table(DOCUMENTS, partition, ["id"])["id"]
            found.update({name: ids[rows[name]].as_py() for name in wanted})
    return {name: found[name] for name in ("kept", *ORDER) if name in found}


def print_examples(workdir: Workdir) -> None:
    """Print, for one document of each fate, the command that explains it, one under the other."""
    fates = examples(workdir)
    width = max(map(len, fates), default=0) + 2  # of the longest name, its colon and a space
    for fate, identifier in fates.items():
        console.print(f"{fate + ':':<{width}}foundry explain {shown(workdir.shown)} '{identifier}'", markup=False, soft_wrap=True)


def fill(folder: Path) -> list[tuple[str, list[str]]]:
    """The three likeliest words for the mask in each of `SENTENCES`, by transformers' own pipeline."""
    import transformers
    from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    filler = pipeline("fill-mask", model=AutoModelForMaskedLM.from_pretrained(folder), tokenizer=AutoTokenizer.from_pretrained(folder))
    return [(sentence, [answer["token_str"].strip() for answer in filler(sentence, top_k=3)]) for sentence in SENTENCES]
