"""A run: the stages in order, each given what the ones before it left."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

import tokenizer
from jobs import corpus
from jobs.console import console, shown, warn
from jobs.launch import Stopped, launch
from jobs.metrics import Counters
from jobs.progress import StageProgress
from jobs.recipe import Recipe, resolve_workdir
from jobs.summary import fetched_run, finished, local_run, put_results
from jobs.sums import EXPORT_REMEDY, MODEL_REMEDY, TRAINED, check_sums, sums
from jobs.timeline import Timeline
from pipeline.contamination.stage import decontaminate
from pipeline.dedup.exact import exact_deduplicate
from pipeline.dedup.lines import repeated_lines_as_cuts
from pipeline.dedup.near import near_deduplicate
from pipeline.dedup.substrings import repeated_substrings_as_cuts
from pipeline.filters.stage import filter_stage
from pipeline.ingest.canonical import Ingesting
from pipeline.ingest.stage import ingest_stage
from pipeline.measure.stage import measure_stage
from pipeline.mix.plan import make_plan, plan_phase
from pipeline.mix.split import VALIDATION, make_split, trainable
from pipeline.mix.tokens import TOKENIZER, local_folder, tokenize_stage
from pipeline.mix.vocabulary import make_tokenizer
from pipeline.pack.sample import SAMPLE, draw_sample
from pipeline.pack.stage import pack_stage, shards_dataset
from pipeline.report.alarms import alarms
from pipeline.shards import ShardInfo
from pipeline.workdir.dataset import MANIFEST, Manifest, Workdir, fingerprint
from pipeline.workdir.documents import QUARANTINE
from pipeline.workdir.engine import Engine
from pipeline.workdir.errors import CorruptData, UserError
from pipeline.workdir.verdicts import ORDER, verdict_dataset
from storage.location import Location
from tokenizer.folder import dump
from trainer.lock import check

EXPORT = 2  # raised when the same model is exported as other files


@dataclass(frozen=True)
class Curated:
    """The datasets that curation makes."""

    documents: Manifest
    statistics: Manifest
    verdicts: tuple[Manifest, ...]
    split: Manifest


@dataclass(frozen=True)
class Launching:
    """How the training processes are started, as the command line has it: see `jobs.launch.launch`."""

    hostfile: Path | None = None
    node_rank: int | None = None
    master_port: int | None = None
    restarts: int = 0
    ray: bool = False
    address: str | None = None


def open_engine(recipe: Recipe, *, address: str | None = None, workers: int | None = None) -> Engine:
    """The engine over the recipe's workdir."""
    workdir = Workdir(resolve_workdir(recipe.workdir))
    console.print(f"workdir: {shown(workdir.shown)}")
    workdir.reach()
    return Engine(workdir, address=address, workers=workers, progress=StageProgress(watchers=(Timeline(workdir), Counters())))


@contextmanager
def opened(recipe: Recipe, *, address: str | None = None, workers: int | None = None) -> Iterator[Engine]:
    """The engine over the recipe's workdir. However it is left, the terminal is as it was, and Ray is stopped."""
    engine = open_engine(recipe, address=address, workers=workers)
    try:
        yield engine
    finally:
        if isinstance(engine.progress, StageProgress):
            engine.progress.close()
        engine.close()


def source_base(recipe: Recipe, report: Callable[[str], None] = console.print) -> Path:
    """What the sources' relative paths are relative to: the fetched corpus, or the current folder."""
    if recipe.corpus is None:
        return Path.cwd()
    folder = corpus.place()
    corpus.fetch(folder, report=report)
    return folder


def _unread(workdir: Workdir, sources: dict[str, Any]) -> Iterator[str]:
    """A warning for each source of which more than half of the records could not be read, with the reason of the first."""
    for name, found in sources.items():
        bad, all_of_it = found["quarantined"], found["quarantined"] + found["documents"]
        if 2 * bad > all_of_it:
            tables = (table for _, table in workdir.tables(QUARANTINE, ["source", "location", "error"]))
            rows = (row for table in tables for row in table.filter(pc.field("source") == name).slice(0, 1).to_pylist())
            for first in islice(rows, 1):
                why = "".join(character if character.isprintable() else "\ufffd" for character in f"{first['location']}: {first['error']}")
                yield f"source {name}: {bad:,} of {all_of_it:,} records could not be read; the first, {why[:300]}"


def curate(recipe: Recipe, engine: Engine, *, warned: bool = True) -> Curated:
    """Raw files to a split: ingest, measure, filter, deduplicate, cut repeats, decontaminate, split.

    `warned`: tell what of it is unusual, which a summary that follows at once would tell again.
    """
    base = source_base(recipe)
    ingested = engine.run(ingest_stage(recipe.ingest, recipe.sources, base)).manifests
    documents = ingested["documents"]
    if not documents.rows:
        raise UserError(f"no document could be read from any source; see {shown(engine.workdir.path('quarantine'))} for why")
    quarantined = ingested["quarantine"].rows
    if quarantined:
        what = "1 record could not be read; it is" if quarantined == 1 else f"{quarantined:,} records could not be read; they are"
        place = shown(engine.workdir.path("quarantine"))
        console.print(f"{what} in {place}, with {'its reason' if quarantined == 1 else 'their reasons'}", soft_wrap=True)
        for warning in _unread(engine.workdir, documents.summary["sources"]):
            warn(warning)
    passed: Counter[str] = Counter()
    for kinds in documents.summary.get("passed_over", {}).values():
        passed.update(kinds)
    if passed:
        most = ", ".join(f"{kind} {count:,}" for kind, count in passed.most_common(3))
        console.print(f"{passed.total():,} records were passed over, as no text: {most}{' ...' if len(passed) > 3 else ''}", markup=False)
    left_out: Counter[str] = Counter()
    for kinds in documents.summary.get("left_out", {}).values():
        left_out.update(kinds)
    if left_out:
        most = ", ".join(f"{kind} {count:,}" for kind, count in left_out.most_common(3))
        console.print(f"{left_out.total():,} parts of documents were left out: {most}{' ...' if len(left_out) > 3 else ''}", markup=False)
    noted: Counter[str] = Counter()
    for counts in documents.summary.get("sources", {}).values():
        noted.update(counts.get("noted", {}))
    if noted:
        console.print(
            f"documents with a fault that was set right: {', '.join(f'{kind} {count:,}' for kind, count in noted.most_common())}",
            markup=False,
        )
    curated = judge(recipe, engine, base, documents)
    for alarm in alarms(engine.workdir, recipe.near.alarm_share if recipe.near is not None else None) if warned else ():
        warn(alarm.text)
    for phase in recipe.phases:  # a mix that cannot be had is told before anything is trained
        plan_phase(phase.name, phase.mix, recipe.mix, trainable(curated.split, "bytes"), unit="bytes")
    return curated


def judge(recipe: Recipe, engine: Engine, base: Path, documents: Manifest) -> Curated:
    """Documents to a split: measure, filter, deduplicate, cut repeats, decontaminate. `base`: what relative paths are relative to."""
    lines = {name: rules.needs_lines for name, rules in recipe.filter.items()}
    classifiers = [classifier.resolved(base) for classifier in recipe.classifiers]
    measured = engine.run(measure_stage(documents, lines, classifiers, recipe.measure.statistics))
    statistics = measured.manifests["statistics"]
    verdicts = [engine.run(filter_stage(recipe.filter, statistics, base)).manifests[verdict_dataset("filter")]]
    if recipe.exact is not None:
        verdicts.append(exact_deduplicate(engine, recipe.exact, documents, statistics, verdicts))
    if recipe.near is not None:
        verdicts += near_deduplicate(engine, recipe.near, documents, statistics, verdicts)
    if recipe.lines is not None:
        verdicts.append(repeated_lines_as_cuts(engine, recipe.lines, documents, statistics, verdicts))
    if recipe.substrings is not None:
        verdicts.append(repeated_substrings_as_cuts(engine, recipe.substrings, documents, statistics, verdicts))
    if recipe.contamination is not None:
        ingesting = Ingesting(recipe.ingest, tuple(sorted({source.domain for source in recipe.sources})))
        verdicts.append(decontaminate(engine, recipe.contamination, ingesting, base, documents, statistics, verdicts))
    _forget(engine.workdir, verdicts)
    split = make_split(engine, recipe.mix, recipe.seed, documents, statistics, verdicts)
    return Curated(documents, statistics, tuple(verdicts), split)


def _forget(workdir: Workdir, verdicts: list[Manifest]) -> None:
    """Delete the manifests of verdicts that the recipe no longer asks for, so that reports leave them out."""
    made = {manifest.dataset for manifest in verdicts}
    for name in ORDER:
        if verdict_dataset(name) not in made:
            workdir.delete(verdict_dataset(name), MANIFEST)


def build_tokenizer(recipe: Recipe, engine: Engine, curated: Curated) -> Manifest:
    """Train the tokenizer on the first phase's mix."""
    first = recipe.phases[0]
    documents, split = curated.documents, curated.split
    return make_tokenizer(engine, recipe.tokenizer, recipe.seed, first.name, first.mix, recipe.mix, documents, split)


def pack(recipe: Recipe, engine: Engine, curated: Curated, tokenizer_manifest: Manifest) -> dict[str, Manifest]:
    """Tokenise once; pack each phase to its length, and draw the held-out sample that runs are evaluated on."""
    documents, split = curated.documents, curated.split
    tokens = engine.run(tokenize_stage(documents, split, tokenizer_manifest)).manifests["tokens"]
    mixes = {phase.name: (phase.mix, phase.tokens) for phase in recipe.phases}
    plan = make_plan(engine, recipe.mix, recipe.seed, mixes, documents, curated.statistics, split, tokens)
    folder = Path(local_folder(engine.workdir, TOKENIZER))
    ids = tokenizer.special_ids(folder)
    domains = tuple(sorted({source.domain for source in recipe.sources}))
    flags = tokenizer.break_flags(folder)
    info = ShardInfo(
        recipe.phases[0].length,
        ids.vocab_size,
        ids.cls,
        ids.sep,
        ids.pad,
        ids.mask,
        ids.ordinary,
        domains,
        tokenizer.fingerprint(folder),
        plan.content,
        np.packbits((flags & tokenizer.CONTINUES_WORD) == 0, bitorder="little").tobytes().hex(),
    )
    shards = {}
    for phase in recipe.phases:
        dataset = shards_dataset(phase.name)
        of_phase = replace(info, length=phase.length)
        stage = pack_stage(recipe.pack, dataset, phase.name, of_phase, flags, tokens, plan, documents)
        shards[phase.name] = engine.run(stage).manifests[dataset]
    longest = replace(info, length=max(phase.length for phase in recipe.phases), plan="")
    shards[VALIDATION] = draw_sample(engine, VALIDATION, recipe.pack.evaluation_tokens, recipe.seed, longest, documents, split, tokens)
    return shards


def shards_place(workdir: Workdir, dataset: str) -> str:
    """Where training reads shards: a folder, or a URI that it caches."""
    return workdir.path(dataset) if workdir.is_local else str(workdir.folder.location.below(dataset))


def write_run(recipe: Recipe, workdir: Workdir) -> Path:
    """Write what the training processes need to know: `runs/NAME/run.json`."""
    workdir.folder.location.lend()  # run.json has places without their secrets
    if recipe.training.continue_from:
        Location.parse(recipe.training.continue_from).lend()
    run = local_run(workdir, recipe.name)
    folder = Path(local_folder(workdir, TOKENIZER))
    ids = tokenizer.special_ids(folder)
    for phase in recipe.phases:
        workdir.require(shards_dataset(phase.name))
    model = replace(recipe.model, cls_token_id=ids.cls, sep_token_id=ids.sep, pad_token_id=ids.pad)
    validation = workdir.require(SAMPLE)
    body: dict[str, Any] = {
        "run": str(run),
        "seed": recipe.seed,
        "model": model.__dict__,
        "tokenizer": tokenizer.fingerprint(folder),
        "phases": [
            {**phase.model_dump(mode="json", exclude={"mix"}), "shards": shards_place(workdir, shards_dataset(phase.name))}
            for phase in recipe.phases
        ],
        "validation": shards_place(workdir, SAMPLE) if validation.rows else None,
        "store": None if workdir.is_local else str(workdir.folder.location.below("runs", recipe.name)),
        "training": recipe.training.model_dump(mode="json"),
    }
    run.mkdir(parents=True, exist_ok=True)
    path = run / "run.json"
    text = json.dumps(body, indent=1, sort_keys=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        Workdir(str(run)).write(text.encode(), path.name)
    return path


def pretrain(recipe: Recipe, workdir: Workdir, how: Launching | None = None) -> dict[str, Any]:
    """Train, or go on training; returns the run's summary. Raises `Stopped` where the ranks ended well before they were done."""
    if not (how and how.node_rank):  # the first host's processes hold it for all
        check(local_run(workdir, recipe.name))
    path = write_run(recipe, workdir)
    fetched_run(workdir, recipe.name)
    state = Workdir(str(path.parent))
    asked = {**json.loads(path.read_text(encoding="utf-8")), "run": None}  # wherever on this machine it is
    wanted = fingerprint(asked, [workdir.require(shards_dataset(p.name)).content for p in recipe.phases])
    summary = finished(path.parent)
    trained = state.json(TRAINED)
    if summary is not None and isinstance(trained, dict) and trained.get("fingerprint") == wanted:
        console.print(f"{'pretrain':<16} up to date")
    else:
        if summary is None:
            state.delete("summary.json")  # a damaged one
        launch(path, processes=recipe.training.processes, **asdict(how or Launching()))
        summary = finished(path.parent)
        if summary is None:  # something else than this process told them to, as Slurm does
            raise Stopped("training was told to stop, with a checkpoint; run the same command again to go on")
        files = sums(path.parent, [path.parent / "summary.json", path.parent / "model"])
        state.write(json.dumps({"fingerprint": wanted, "files": files}).encode(), TRAINED)
    put_results(workdir, recipe.name)
    return summary


def export(recipe: Recipe, workdir: Workdir) -> Path:
    """The trained model and its tokenizer as one transformers folder, proved by equal logits."""
    from transformers.utils.logging import disable_progress_bar

    from model import bridge

    disable_progress_bar()
    run = fetched_run(workdir, recipe.name, "model")
    trained = run / "model" / "model.safetensors"
    if not trained.is_file():
        raise UserError(f"{trained}: not there; train first with `foundry pretrain`")
    check_sums(run, Workdir(str(run)).json(TRAINED), MODEL_REMEDY, "model/")
    target, proof = run / "export", Workdir(str(run / "export"))
    made_from = fingerprint(EXPORT, trained.stat().st_size, trained.stat().st_mtime_ns, workdir.require(TOKENIZER).content)
    proved = proof.json("proof.json")
    if isinstance(proved, dict) and proved.get("made_from") == made_from:
        try:
            check_sums(target, proved, EXPORT_REMEDY)
            console.print(f"{'export':<16} up to date")
            return target
        except CorruptData as error:
            warn(f"{str(error).partition(';')[0]}; it is made again")
    shutil.rmtree(target, ignore_errors=True)
    model = bridge.load(run / "model")
    difference = bridge.export(model, target)
    folder = Path(local_folder(workdir, TOKENIZER))
    for name in ("tokenizer.json", "special_tokens_map.json"):
        shutil.copyfile(folder / name, target / name)
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    longest = min(settings["model_max_length"], model.config.max_length)  # that a text cut to it is one the model takes
    dump(target / "tokenizer_config.json", {**settings, "model_max_length": longest})
    tokenizer.write_words(target)
    found = {"made_from": made_from, "largest_difference_of_logits": difference, "files": sums(target, [target])}
    proof.write(json.dumps(found).encode(), "proof.json")
    put_results(workdir, recipe.name)
    console.print(f"{'export':<16} {shown(target)}: transformers' logits equal ours to {difference:.1e}")
    return target
