"""`foundry`: the command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs import model as model_commands
from jobs.console import console, shown

if TYPE_CHECKING:
    from jobs.recipe import Recipe

app = typer.Typer(
    name="foundry",
    help="Raw web, code and science text in; a deduplicated, explained, packed corpus, a tokenizer and a pretrained ModernBERT out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

classifier_app = typer.Typer(help="Quality classifiers.", no_args_is_help=True)
app.add_typer(classifier_app, name="classifier")
app.add_typer(model_commands.app, name="model")

RecipePath = Annotated[Path, typer.Argument(help="The recipe: a YAML file, or the name of one that `foundry recipes` lists.")]
WorkdirOption = Annotated[str | None, typer.Option(help="Keep everything here instead of the recipe's workdir: a folder or a URI.")]
AddressOption = Annotated[str | None, typer.Option(help="A Ray cluster's address; default: $RAY_ADDRESS, else a Ray of its own.")]
WorkersOption = Annotated[int | None, typer.Option(min=1, help="Workers of a Ray of its own; default: one a core.")]
HostfileOption = Annotated[Path | None, typer.Option(help="Train over these hosts with DeepSpeed's launcher (`HOST slots=N` lines).")]


def _recipe(path: Path, workdir: str | None) -> Recipe:
    from jobs.packaged import find_recipe
    from jobs.recipe import load_recipe

    return load_recipe(find_recipe(path), {"workdir": workdir} if workdir else None)


def _print_version(wanted: bool) -> None:
    if wanted:
        from jobs.packaged import own_version

        typer.echo(f"foundry {own_version()}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def _run_all(path: Path, workdir: str | None, address: str | None, workers: int | None, hostfile: Path | None) -> None:
    from jobs import run as stages
    from jobs.summary import examples, local_run, show
    from pipeline.report.page import write_report

    recipe = _recipe(path, workdir)
    engine = stages.open_engine(recipe, address=address, workers=workers)
    curated = stages.curate(recipe, engine)
    tokenizer = stages.build_tokenizer(recipe, engine, curated)
    stages.pack(recipe, engine, curated, tokenizer)
    engine.close()  # training has the machine to itself
    stages.pretrain(recipe, engine.workdir, hostfile=hostfile)
    stages.export(recipe, engine.workdir)
    report = write_report(engine.workdir, local_run(engine.workdir, recipe.name))
    show(engine.workdir, recipe.name)
    console.print(f"report: {shown(report)}", soft_wrap=True)
    for fate, identifier in examples(engine.workdir).items():
        console.print(f"{fate + ':':<8}foundry explain {shown(engine.workdir.uri)} '{identifier}'", markup=False, soft_wrap=True)


@app.command()
def demo(
    workdir: WorkdirOption = None,
    address: AddressOption = None,
    workers: WorkersOption = None,
) -> None:
    """Fetch the demo corpus and run the recipe `demo`: everything, in about ten minutes on two cores."""
    from jobs.packaged import packaged_recipe

    _run_all(packaged_recipe("demo"), workdir, address, workers, None)


@app.command()
def run(
    recipe: RecipePath,
    workdir: WorkdirOption = None,
    address: AddressOption = None,
    workers: WorkersOption = None,
    hostfile: HostfileOption = None,
) -> None:
    """Run a recipe from raw files to a trained, exported model. Run again, it does what is missing or has changed."""
    _run_all(recipe, workdir, address, workers, hostfile)


@app.command()
def curate(recipe: RecipePath, workdir: WorkdirOption = None, address: AddressOption = None, workers: WorkersOption = None) -> None:
    """Ingest, measure, filter, deduplicate, decontaminate, and hold out the validation split."""
    from jobs import run as stages
    from jobs.summary import show

    loaded = _recipe(recipe, workdir)
    engine = stages.open_engine(loaded, address=address, workers=workers)
    stages.curate(loaded, engine)
    show(engine.workdir, loaded.name)


tokenizers = typer.Typer(help="Train a tokenizer, compare tokenizers, encode a text, add entries.", no_args_is_help=True)
app.add_typer(tokenizers, name="tokenizer")


@tokenizers.command()
def train(recipe: RecipePath, workdir: WorkdirOption = None, address: AddressOption = None, workers: WorkersOption = None) -> None:
    """Curate, and train the tokenizer on the first phase's mix."""
    from jobs import run as stages

    loaded = _recipe(recipe, workdir)
    engine = stages.open_engine(loaded, address=address, workers=workers)
    stages.build_tokenizer(loaded, engine, stages.curate(loaded, engine))
    console.print(f"tokenizer: {shown(engine.workdir.path('tokenizer'))}")


@tokenizers.command("report")
def tokenizer_report(
    recipe: Annotated[Path | None, typer.Argument(help="The recipe: its tokenizer is judged on its held-out documents.")] = None,
    beside: Annotated[list[Path] | None, typer.Option("--with", help="Another tokenizer: a folder, or a tokenizer.json.")] = None,
    texts: Annotated[list[Path] | None, typer.Option(help="Judge on these JSON Lines (`text`, perhaps `language`) instead.")] = None,
    packages: Annotated[bool, typer.Option("--installed", help="Compare with those that installed packages ship.")] = False,
    output: Annotated[Path, typer.Option(help="Folder for comparison.html and comparison.json.")] = Path(),
    workdir: WorkdirOption = None,
) -> None:
    """Compare tokenizers on held-out documents: a table, JSON, and a page with plots and coloured tokens."""
    from jobs import tokenizers as judged
    from jobs.recipe import resolve_workdir
    from pipeline.mix.tokens import TOKENIZER, local_folder
    from pipeline.workdir.dataset import Workdir
    from pipeline.workdir.errors import UserError

    paths = [*(beside or []), *(judged.installed() if packages else [])]
    opened = None
    if recipe is not None:
        opened = Workdir(resolve_workdir(_recipe(recipe, workdir).workdir))
        opened.require(TOKENIZER)
        paths.insert(0, Path(local_folder(opened, TOKENIZER)))
    if not paths:
        raise UserError("tokenizer report: no tokenizer to judge; give a recipe, or --with FOLDER")
    if texts:
        groups, code = judged.from_files(texts)
        about = f"Texts of {', '.join(path.name for path in texts)}."
    elif opened is not None:
        groups, code = judged.held_out(opened)
        about = f"Documents of {opened.uri} that were held out of training."
    else:
        raise UserError("tokenizer report: no texts to judge on; give a recipe, or --texts FILE.jsonl")
    judged.report(paths, groups, code, about, output)


@tokenizers.command()
def encode(
    folder: Annotated[Path, typer.Argument(help="A tokenizer: a folder, or a tokenizer.json.")],
    text: Annotated[str | None, typer.Argument(help="The text; default: what comes in on standard input.")] = None,
) -> None:
    """Show a text's tokens, in colour, and their ids."""
    from jobs.tokenizers import show_tokens

    show_tokens(folder, text)


@tokenizers.command()
def extend(
    folder: Annotated[Path, typer.Argument(help="A tokenizer folder.")],
    target: Annotated[Path, typer.Argument(help="Where the extended one goes.")],
    words: Annotated[list[str], typer.Argument(help="New entries.")],
    in_unused: Annotated[bool, typer.Option(help="Take the places of [unusedN], so that the vocabulary does not grow.")] = False,
) -> None:
    """Add entries to a tokenizer; every id that it has stays what it is."""
    from tokenizer.extend import extend as add

    ids = add(folder, words, target, in_unused=in_unused)
    for word, identifier in zip(words, ids, strict=True):
        console.print(f"{identifier:>8}  {word}", markup=False)


@app.command()
def pack(recipe: RecipePath, workdir: WorkdirOption = None, address: AddressOption = None, workers: WorkersOption = None) -> None:
    """Curate, train the tokenizer, tokenise and pack."""
    from jobs import run as stages
    from jobs.summary import show

    loaded = _recipe(recipe, workdir)
    engine = stages.open_engine(loaded, address=address, workers=workers)
    curated = stages.curate(loaded, engine)
    stages.pack(loaded, engine, curated, stages.build_tokenizer(loaded, engine, curated))
    show(engine.workdir, loaded.name)


@app.command()
def pretrain(
    recipe: RecipePath,
    workdir: WorkdirOption = None,
    hostfile: HostfileOption = None,
    node_rank: Annotated[
        int | None, typer.Option(min=0, help="Without ssh: this host's place in the hostfile; run the same command on every host.")
    ] = None,
) -> None:
    """Train on shards that are there, or go on training."""
    from jobs import run as stages
    from jobs.recipe import resolve_workdir
    from pipeline.workdir.dataset import Workdir

    loaded = _recipe(recipe, workdir)
    summary = stages.pretrain(loaded, Workdir(resolve_workdir(loaded.workdir)), hostfile=hostfile, node_rank=node_rank)
    after = summary["validation_after"]
    if after:
        console.print(f"validation loss {after['loss']:.4f} after {summary['tokens']:,} tokens")


@app.command()
def export(recipe: RecipePath, workdir: WorkdirOption = None) -> None:
    """Write the trained model as a transformers folder, proved by equal logits."""
    from jobs import run as stages
    from jobs.recipe import resolve_workdir
    from pipeline.workdir.dataset import Workdir

    loaded = _recipe(recipe, workdir)
    stages.export(loaded, Workdir(resolve_workdir(loaded.workdir)))


@app.command()
def report(recipe: RecipePath, workdir: WorkdirOption = None) -> None:
    """Write report.html for what a workdir holds, and show the summary."""
    from jobs.recipe import resolve_workdir
    from jobs.summary import local_run, show
    from pipeline.report.page import write_report
    from pipeline.workdir.dataset import Workdir

    loaded = _recipe(recipe, workdir)
    opened = Workdir(resolve_workdir(loaded.workdir))
    show(opened, loaded.name)
    console.print(f"report: {shown(write_report(opened, local_run(opened, loaded.name)))}", soft_wrap=True)


@app.command()
def inspect(path: Annotated[str, typer.Argument(help="A workdir, a dataset, a partition, a tokenizer, a run or a model.")]) -> None:
    """Say what any artifact is, and whether it is sound."""
    from jobs.inspect import inspect as look

    look(path)


@app.command()
def explain(
    workdir: Annotated[str, typer.Argument(help="The workdir.")],
    document: Annotated[str, typer.Argument(help="A document's id, or its ordinal.")],
) -> None:
    """The life of one document: where it came from, what was measured, what each stage decided, where its tokens went."""
    from jobs.explain import explain as tell

    tell(workdir, document)


@app.command("diff")
def difference(
    first: Annotated[str, typer.Argument(help="A workdir.")],
    second: Annotated[str, typer.Argument(help="Another one.")],
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and check it, instead of trusting the manifests.")] = False,
    examples: Annotated[int, typer.Option(min=0, help="Documents that are named for each difference, and texts that are shown.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Whether two workdirs hold the same, to the byte, or what differs. Exit code 0: equal, 1: they differ."""
    from jobs.diff import diff

    if not diff(first, second, verify=verify, examples=examples, as_json=as_json):
        raise typer.Exit(1)


@app.command()
def recipes(name: Annotated[str | None, typer.Argument(help="Print this one, to begin a recipe of your own with.")] = None) -> None:
    """List the recipes that come with Encoder Foundry, or print one: `foundry recipes own-data > mine.yaml`."""
    from jobs.packaged import names, packaged_recipe, summary

    if name is not None:
        typer.echo(packaged_recipe(name).read_text(encoding="utf-8"), nl=False)
        return
    for each in names():
        console.print(f"{each:<18}{summary(each)}", markup=False, soft_wrap=True)


@app.command()
def schema() -> None:
    """Print the JSON schema of a recipe, for editors that check and complete YAML as you type."""
    from jobs.reference import schema as text

    typer.echo(text(), nl=False)


@classifier_app.command("train")
def train_classifier(
    positive: Annotated[str, typer.Argument(help="Documents of the kind to keep: a file, a folder, a glob, a URI, or a workdir.")],
    negative: Annotated[str, typer.Argument(help="Documents of the other kind.")],
    output: Annotated[Path, typer.Option(help="The folder to write the model to.")] = Path("classifier"),
    form: Annotated[
        str | None, typer.Option("--format", help="Format of both, as of a recipe's sources; default: by the files' endings.")
    ] = None,
    field: Annotated[str, typer.Option(help="For JSON and Parquet: the field that is the text.")] = "text",
    bits: Annotated[int, typer.Option(min=10, max=26, help="Hash words and pairs of words into 2^BITS buckets.")] = 20,
    most: Annotated[int, typer.Option(min=20, help="Train on this many documents of each at most, chosen by hash.")] = 50_000,
) -> None:
    """Train a linear quality classifier, to be named under `classifiers` in a recipe; print how it does on held-out documents."""
    from pipeline.measure.classifiers.training import train as fit
    from pipeline.readers import FORMATS
    from pipeline.workdir.errors import UserError

    if form is not None and form not in FORMATS:
        raise UserError(f"--format {form}: no such format; there are: {', '.join(FORMATS)}")
    trained = fit(positive, negative, output, form=form, field=field, bits=bits, most=most)
    held = trained.held_out
    console.print(f"trained on {trained.positive:,} positive and {trained.negative:,} negative documents")
    if trained.both or trained.unreadable:
        console.print(f"left out: {trained.both:,} texts in both sets, {trained.unreadable:,} documents that could not be read")
    console.print(f"held out: {held.positive:,} positive, {held.negative:,} negative")
    console.print(f"precision {held.precision:.4f}, recall {held.recall:.4f} at 0.5; ROC-AUC {held.roc_auc:.4f}")
    console.print(f"model: {trained.folder}", soft_wrap=True)


def main() -> None:
    """Run the command line. Errors of the user's making are one line and exit code 2."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from pydantic import ValidationError

    from kernel.extensions import ExtensionError
    from model.errors import ModelError
    from pipeline.shards import ShardError
    from pipeline.workdir.errors import UserError
    from tokenizer.errors import TokenizerError
    from trainer.errors import TrainerError

    try:
        app()
    except (UserError, ShardError, TokenizerError, TrainerError, ModelError, ExtensionError) as error:
        print(f"foundry: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except ValidationError as error:  # of a recipe; `load_recipe` words these, so this is a fault of ours
        raise SystemExit(f"foundry: {error}") from error
    except KeyboardInterrupt:
        print("foundry: interrupted; run the same command again to go on", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
