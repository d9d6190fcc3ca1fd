"""`foundry evaluate` and `foundry compare`: what a trained model is worth, and whether two differ."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.console import console, shown

if TYPE_CHECKING:
    from evaluation.results import Result
    from evaluation.subject import Subject
    from evaluation.tuned import Tunable
    from pipeline.held_out import HeldOut
    from pipeline.workdir.dataset import Manifest, Workdir
    from pipeline.workdir.engine import Engine


def evaluate(
    place: Annotated[Path, typer.Argument(help="A run's folder, a workdir with one run, or with a recipe any folder of a model.")],
    recipe: Annotated[Path | None, typer.Argument(help="The recipe whose workdir has the held-out documents.")] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", "--sets", help="Sets, with commas between them; default: all. Of --tune: code, title ...; else mlm, context, shape."
        ),
    ] = None,
    workdir: Annotated[str | None, typer.Option(help="The workdir, instead of the recipe's.")] = None,
    items: Annotated[bool, typer.Option("--items", help="Make the items of the sets that want tuning, and end.")] = False,
    tuned: Annotated[bool, typer.Option("--tune", help="Tune the model for the sets that want it, and random weights beside it.")] = False,
    against: Annotated[
        list[Path] | None, typer.Option("--against", help="A folder of another model, tuned beside it; may be repeated. With --tune.")
    ] = None,
) -> None:
    """Ask a trained model for the tokens of held-out documents, and write a result row an item. Done once: again, it is up to date."""
    names = [name for part in sets or [] for name in part.split(",") if name]
    if items:
        _make_items(place, recipe, workdir)
        return
    if tuned:
        _tune(place, recipe, workdir, names, against or [])
        return
    from evaluation.run import chosen_sets
    from evaluation.run import evaluate as run_sets
    from evaluation.sets.items import MAKERS
    from evaluation.sets.measured import SETS
    from model.cpu import prepare_process
    from pipeline.workdir.errors import UserError

    if against:
        raise UserError("--against: models stand beside one another once they are tuned; add --tune")
    if wanted := next((name for name in names if name in MAKERS and name not in SETS), None):
        raise UserError(f"--set {wanted}: a model is judged on it once it is tuned; add --tune")
    chosen = chosen_sets(names)
    subject, opened = _subject(place, recipe, workdir)
    console.print(f"evaluate: {shown(subject.folder)}, on held-out documents of {shown(opened.shown)}", soft_wrap=True)
    sample = _sample(opened)
    prepare_process()
    folder = _folder(subject, opened)
    for result in run_sets(subject, sample, chosen, folder, strict=bool(names), said=lambda line: console.print(line, markup=False)):
        _show(result)
    console.print(f"results: {shown(folder)}", soft_wrap=True)


def _subject(place: Path, recipe: Path | None, workdir: str | None) -> tuple[Subject, Workdir]:
    """What is to be evaluated, and the workdir that has the held-out documents."""
    from evaluation.subject import Subject, of_run
    from jobs.recipe import resolve_workdir
    from pipeline.workdir.dataset import Workdir
    from pipeline.workdir.errors import UserError
    from tokenizer.folder import fingerprint

    given = _given(recipe, workdir)
    if not place.is_dir():
        raise UserError(f"{place}: no such folder; give a run's folder, a workdir, or a folder of a model")
    place = place.resolve()
    if (place / "run.json").is_file():
        return of_run(place), Workdir(resolve_workdir(given) if given else str(place.parents[1]))
    if (place / "runs").is_dir():
        runs = sorted(path.parent for path in place.glob("runs/*/run.json") if (path.parent / "model" / "model.safetensors").is_file())
        if len(runs) != 1:
            names = ", ".join(run.name for run in runs) or "none that has come to its end"
            raise UserError(f"{place}: has {len(runs)} trained runs ({names}); give one of them, {place}/runs/NAME")
        return of_run(runs[0]), Workdir(resolve_workdir(given) if given else str(place))
    if not (place / "config.json").is_file():
        raise UserError(f"{place}: is no model, no run and no workdir; give a folder with config.json and model.safetensors, or a run's")
    if given is None:
        raise UserError(f"{place}: is a model without a workdir; add the recipe whose held-out documents it is to be evaluated on")
    if not (place / "tokenizer.json").is_file():
        raise UserError(f"{place}: has no tokenizer.json; give a run's folder, or an export, which has its tokenizer")
    return Subject(place.name, place, fingerprint(place)), Workdir(resolve_workdir(given))


def _given(recipe: Path | None, workdir: str | None) -> str | None:
    """The workdir that the command line names, if any."""
    if workdir is not None or recipe is None:
        return workdir
    from jobs.packaged import find_recipe
    from jobs.recipe import load_recipe

    return load_recipe(find_recipe(recipe)).workdir


def _make_items(place: Path, recipe: Path | None, workdir: str | None) -> None:
    """Make the items of a workdir, and say how many there are and what was left out."""
    from jobs.recipe import resolve_workdir
    from pipeline.workdir.dataset import Workdir

    given = _given(recipe, workdir)
    folder = place.resolve()
    opened = Workdir(resolve_workdir(given) if given else str(folder.parents[1] if (folder / "run.json").is_file() else folder))
    made, seed = _items(opened)
    judged = _bm25(opened, seed)
    for name, counts in made.summary["sets"].items():
        console.print(f"{name:<16} {', '.join(f'{what} {count:,}' for what, count in counts.items())}", markup=False, soft_wrap=True)
    if not judged:
        console.print(_NO_BM25, markup=False)
    for result in judged.values():
        _show(result)


_NO_BM25 = "BM25 is not beside them: `pip install encoder-foundry[evaluate]`, or there is no test item"


def _items(workdir: Workdir) -> tuple[Manifest, int]:
    """The items of a workdir, made where they are not up to date, and the seed that they are drawn by."""
    from evaluation.sets.making import make
    from pipeline.mix.split import TEST, VALIDATION
    from pipeline.pack.sample import SAMPLE, held_out_tokens
    from pipeline.workdir.documents import DOCUMENTS, TOKENS

    tokens = workdir.require(TOKENS)
    seed = int(workdir.require(SAMPLE).configuration["seed"])
    with _engine(workdir) as engine:
        split = TEST if held_out_tokens(tokens, TEST) else VALIDATION
        return make(engine, seed, split, workdir.require(DOCUMENTS), workdir.require("split"), tokens), seed


def _bm25(workdir: Workdir, seed: int) -> dict[str, Result]:
    """BM25's results by set; none where it is not installed."""
    from importlib.util import find_spec

    from evaluation.retrieval import evaluate_bm25

    if find_spec("bm25s") is None:
        return {}
    return {result.name: result for result in evaluate_bm25(workdir, _models(workdir) / "bm25", seed)}


def _tune(place: Path, recipe: Path | None, workdir: str | None, names: list[str], against: list[Path]) -> None:
    """Tune a model, random weights of its shape, and other models for sets of items, and show how well each answers the test items."""
    from evaluation.tuned import choose, tune_on, tuned_sets
    from model.cpu import prepare_process

    chosen_names = tuned_sets(names)
    subject, opened = _subject(place, recipe, workdir)
    contestants = _contestants(subject, opened, against)
    console.print(f"evaluate: {shown(subject.folder)}, tuned on items of {shown(opened.shown)}", soft_wrap=True)
    _, seed = _items(opened)
    prepare_process()
    others = _bm25(opened, seed)
    if not others:
        console.print(_NO_BM25, markup=False)
    skipped = 0
    for name in chosen_names:
        chosen = choose(opened, name)
        if chosen.lacking:
            console.print(f"{name:<16} skipped, since it has {chosen.lacking}", markup=False)
            skipped += 1
            continue
        found = {each.name: tune_on(chosen, each, seed, said=lambda line: console.print(line, markup=False)) for each in contestants}
        _show_tuned(name, {**found, **({"bm25": others[name]} if name in others else {})})
    if skipped:
        console.print(f"skipped: {skipped:,} of {len(chosen_names):,} sets; hold out more documents (mix.validation_share)", markup=False)
    for each in contestants:
        console.print(f"results of {each.name}: {shown(each.folder)}", soft_wrap=True)


def _contestants(subject: Subject, workdir: Workdir, against: list[Path]) -> list[Tunable]:
    """The model, random weights of its shape, and the models beside it, each with a name of its own. Raises `UserError`."""
    from evaluation.subject import Subject, of_run
    from evaluation.tuned import of_subject, random_of
    from jobs.finetune import model_folder
    from pipeline.workdir.errors import UserError
    from tokenizer.folder import fingerprint

    _, tokenizer = model_folder(subject.run or subject.folder, "evaluate")
    own = of_subject(subject, tokenizer, _folder(subject, workdir))
    found = [own, random_of(own, own.folder / "random")]
    for given in against:
        folder, tokenizer = model_folder(given.expanduser().resolve(), "--against")
        is_run = (given / "run.json").is_file()
        other = of_run(given.resolve()) if is_run else Subject(given.resolve().name, folder, fingerprint(tokenizer))
        found.append(of_subject(other, tokenizer, _folder(other, workdir)))
    names = [each.name for each in found]
    if twin := next((name for name in names if names.count(name) > 1 or name == "bm25"), None):
        raise UserError(f"--against: two contestants are named {twin}; give one of the folders another name")
    return found


def _folder(subject: Subject, workdir: Workdir) -> Path:
    """Where the results of a subject are."""
    from evaluation.results import FOLDER

    return subject.run / FOLDER if subject.run is not None else _models(workdir) / f"{subject.name}-{subject.weights[:8]}"


def _show_tuned(name: str, found: dict[str, Result]) -> None:
    """The contestants' scores on a set, a line each, with what tuning chose."""
    from rich.table import Table

    from jobs.summary import titled

    first = next(iter(found.values()))
    metrics = [metric.name for metric in first.metrics]
    table: Table = titled(f"{name}: {first.rows.num_rows:,} test items", "", *metrics, "95 % interval", "learning rate")
    for who, result in found.items():
        scores = {score.metric: score for score in result.scores if not score.by}
        main = scores[metrics[0]]
        within = "" if main.low is None or main.high is None else f"{main.low:.4f} to {main.high:.4f}"
        rate = f"{result.numbers['learning_rate']:g}" if "learning_rate" in result.numbers else ""
        table.add_row(who, *(f"{scores[metric].score:.4f}" for metric in metrics), within, rate)
    console.print(table)
    told = [f"{count:,} {what}" for what, count in first.passed_over.items()]
    told += (
        [f"{int(first.numbers['cut_texts']):,} texts cut to {first.settings['lengths'][0]:,} tokens"] if first.numbers["cut_texts"] else []
    )
    if told:
        console.print(f"  passed over: {', '.join(told)}", markup=False)


def _models(workdir: Workdir) -> Path:
    """Where results of others than runs are kept. Raises `UserError` for a remote workdir, whose results would be nobody's to find."""
    from evaluation.results import FOLDER
    from pipeline.workdir.errors import UserError

    if not workdir.is_local:
        raise UserError(f"{workdir.shown}: is remote; evaluate a run of it, or a folder against a workdir of this machine")
    return Path(workdir.path(FOLDER, "models"))


@contextmanager
def _engine(workdir: Workdir) -> Iterator[Engine]:
    """The engine over a workdir. However it is left, the terminal is as it was, and Ray is stopped."""
    from jobs.metrics import Counters
    from jobs.progress import StageProgress
    from jobs.timeline import Timeline
    from pipeline.workdir.engine import Engine

    progress = StageProgress(watchers=(Timeline(workdir), Counters()))
    engine = Engine(workdir, progress=progress)
    try:
        yield engine
    finally:
        progress.close()
        engine.close()


def _sample(workdir: Workdir) -> HeldOut:
    """What is evaluated on: a sample of the test split where there is one, else the one that runs are evaluated on as they train."""
    from jobs.run import shards_place
    from pipeline.held_out import read_held_out
    from pipeline.mix.split import TEST
    from pipeline.pack.sample import SAMPLE, draw_sample, held_out_tokens
    from pipeline.workdir.documents import DOCUMENTS, TOKENS
    from trainer.config import TrainingConfig
    from trainer.data import place_of

    made = workdir.require(SAMPLE)
    dataset = SAMPLE
    known = read_held_out(place_of(shards_place(workdir, dataset), TrainingConfig()))
    if held_out_tokens(workdir.require(TOKENS), TEST):
        budget = int(made.configuration["budget"])
        parts = [workdir.require(name) for name in (DOCUMENTS, "split", TOKENS)]
        with _engine(workdir) as engine:
            draw_sample(engine, TEST, budget, known.seed, known.info, parts[0], parts[1], parts[2], "evaluation")
        known = read_held_out(place_of(shards_place(workdir, "evaluation/sample"), TrainingConfig()))
    return known


def _show(result: Result) -> None:
    """A set's scores: of all items in a line, and by length in one more each."""
    from rich.table import Table

    from jobs.summary import titled

    table: Table = titled(f"{result.name}: {result.rows.num_rows:,} rows", "", "", "score", "95 % interval", "items", "documents")
    table.columns[1].justify = "left"
    for score in result.scores:
        if score.by not in ("", "length", "domain"):
            continue
        what = "all" if not score.by else f"{score.by} {score.value}"
        within = "" if score.low is None or score.high is None else f"{score.low:.4f} to {score.high:.4f}"
        table.add_row("" if score.by else score.metric, what, f"{score.score:.4f}", within, f"{score.items:,}", f"{score.groups:,}")
    console.print(table)
    if result.numbers:
        console.print(f"  {', '.join(f'{name} {value:,.4g}' for name, value in result.numbers.items())}")
    for what, count in result.passed_over.items():
        if count:
            console.print(f"  passed over: {count:,} {what}")


def compare(
    runs: Annotated[list[str], typer.Argument(help="Runs' folders, the first is the reference; NAME=RUN,RUN is one under several seeds.")],
    output: Annotated[Path, typer.Option(help="Folder for compare.html and compare.json.")] = Path(),
    level: Annotated[float, typer.Option(min=0.5, max=0.9999, help="Of intervals, and of all comparisons together.")] = 0.99,
    margin: Annotated[float, typer.Option(min=0, max=1, help="The share of the reference's value that makes no difference.")] = 0.01,
    any_budget: Annotated[bool, typer.Option("--any-budget", help="Compare runs of unequal tokens and operations, too.")] = False,
) -> None:
    """Say of runs that were evaluated on the same items whether they differ, and what so many items can show at all."""
    import json
    from dataclasses import asdict

    from evaluation import compare as comparing
    from evaluation.page import page
    from pipeline.workdir.dataset import Workdir
    from trainer.metrics import finite

    contestants = [comparing.read_contestant(run) for run in runs]
    sets = comparing.check_comparable(contestants, any_budget=any_budget)
    verdicts = comparing.compare(contestants, sets, level=level, margin=margin)
    for sentence in comparing.sentences(verdicts, contestants[0], contestants, level):
        console.print(sentence, markup=False, soft_wrap=True)
    others = sorted({name for each in contestants for results in each.results for name in results} - set(sets))
    if others:
        console.print(f"not compared, since no score or not of all: {', '.join(others)}", markup=False)
    body = {
        "reference": contestants[0].name,
        "level": level,
        "margin": margin,
        "verdicts": [asdict(each) for each in verdicts],
        "budgets": {each.name: asdict(each.budget) for each in contestants},
    }
    place = Workdir(str(output.resolve()))
    place.write(json.dumps(finite(body), indent=1, sort_keys=True).encode(), "compare.json")
    place.write(page(contestants, verdicts, level=level, margin=margin).encode(), "compare.html")
    console.print(f"comparison: {shown(output.resolve() / 'compare.html')}", soft_wrap=True)
