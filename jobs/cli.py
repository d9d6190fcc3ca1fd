"""`foundry`: the command line."""

from __future__ import annotations

import os
import sys
import traceback
from enum import StrEnum
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs import evaluate as evaluations
from jobs import model as model_commands
from jobs.console import console, output, shown, switch, warn
from jobs.ending import interruption, obeying_signals

if TYPE_CHECKING:
    from jobs.recipe import Recipe

app = typer.Typer(
    name="foundry",
    help="Raw web, code and science text in; a deduplicated, explained, packed corpus, a tokenizer and a pretrained ModernBERT out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

classifier_app = typer.Typer(help="Quality classifiers.", no_args_is_help=True)
app.add_typer(classifier_app, name="classifier")
app.add_typer(model_commands.app, name="model")
app.command()(evaluations.evaluate)
app.command()(evaluations.compare)

RecipePath = Annotated[Path, typer.Argument(help="The recipe: a YAML file, or the name of one that `foundry recipes` lists.")]
WorkdirOption = Annotated[str | None, typer.Option(help="Keep everything here instead of the recipe's workdir: a folder or a URI.")]


def _address(address: str | None) -> str | None:
    """A cluster that cannot be reached is told before anything else is done."""
    if address is not None:
        from pipeline.workdir.cluster import check

        check(address)
    return address


AddressOption = Annotated[
    str | None,
    typer.Option(
        callback=_address,
        help="A Ray cluster's address, HOST:6379, seen from one of its nodes (elsewhere: `foundry submit`); default: $RAY_ADDRESS, "
        "else a Ray of its own.",
    ),
]
WorkersOption = Annotated[int | None, typer.Option(min=1, help="Workers of a Ray of its own; default: one a core.")]
HostfileOption = Annotated[Path | None, typer.Option(help="Train over these hosts, by ssh: DeepSpeed's form, `HOST slots=N` lines.")]

PortOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=65_535,
        help="The port of the first host at which all processes meet; default: $MASTER_PORT, else a free one, or 29500 with --node-rank.",
    ),
]
RayOption = Annotated[
    bool, typer.Option("--ray", help="Train by Ray Train, on the Ray cluster of --address, with its fault tolerance: see --restarts.")
]


def _as_json(wanted: bool) -> bool:
    if wanted:
        switch("json")
    return wanted


def _quietly(wanted: bool) -> bool:
    if wanted:
        switch("quiet")
    return wanted


JsonOption = Annotated[bool, typer.Option("--json", callback=_as_json, help="Print lines of JSON: what happens, and how far it is.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", callback=_quietly, help="Print warnings and errors alone.")]
RestartsOption = Annotated[
    int, typer.Option(min=0, help="Start again from the last checkpoint, so often at most, where a process was killed or lost another.")
]


def _recipe(path: Path, workdir: str | None) -> Recipe:
    from jobs.packaged import find_recipe

    found = find_recipe(path)  # what cannot be is told before seconds of imports
    from jobs.recipe import load_recipe

    return load_recipe(found, {"workdir": workdir} if workdir else None)


def _trainable(path: Path, workdir: str | None) -> Recipe:
    """A recipe that training is asked of: DeepSpeed checks its own block before anything starts."""
    recipe = _recipe(path, workdir)
    if recipe.training.deepspeed and find_spec("deepspeed"):
        from trainer.engine import check_block  # with torch and DeepSpeed, which take seconds to import

        check_block(recipe.training)
    return recipe


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


def _run_all(path: Path, workdir: str | None, address: str | None, workers: int | None, **launching: Any) -> None:
    recipe = _trainable(path, workdir)
    from jobs import run as stages
    from jobs.in_job import publish
    from jobs.summary import local_run, other_runs, print_examples, show
    from pipeline.report.page import write_report

    with stages.opened(recipe, address=address, workers=workers) as engine:
        curated = stages.curate(recipe, engine)
        tokenizer = stages.build_tokenizer(recipe, engine, curated)
        stages.pack(recipe, engine, curated, tokenizer)
    stages.pretrain(recipe, engine.workdir, stages.Launching(address=address, **launching))
    stages.export(recipe, engine.workdir)
    report = write_report(engine.workdir, local_run(engine.workdir, recipe.name), other_runs(engine.workdir, recipe.name))
    show(engine.workdir, recipe.name)
    publish("report.html", engine.workdir.read("report.html"))
    summary = local_run(engine.workdir, recipe.name) / "summary.json"
    publish("summary.json", summary.read_bytes() if summary.is_file() else None)
    console.print(f"report: {shown(report)}", soft_wrap=True)
    print_examples(engine.workdir)


@app.command()
def demo(
    workdir: WorkdirOption = None,
    address: AddressOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch the demo corpus and run the recipe `demo`: everything, in about ten minutes on two cores."""
    from jobs.packaged import packaged_recipe

    _run_all(packaged_recipe("demo"), workdir, address, workers)


@app.command()
def run(
    recipe: RecipePath,
    workdir: WorkdirOption = None,
    address: AddressOption = None,
    workers: WorkersOption = None,
    hostfile: HostfileOption = None,
    ray: RayOption = False,
    master_port: PortOption = None,
    restarts: RestartsOption = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a recipe from raw files to a trained, exported model. Run again, it does what is missing or has changed."""
    _run_all(recipe, workdir, address, workers, hostfile=hostfile, master_port=master_port, restarts=restarts, ray=ray)


@app.command()
def curate(
    recipe: RecipePath,
    workdir: WorkdirOption = None,
    address: AddressOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Ingest, measure, filter, deduplicate, decontaminate, and hold out the validation split."""
    loaded = _recipe(recipe, workdir)
    from jobs import run as stages
    from jobs.summary import show

    with stages.opened(loaded, address=address, workers=workers) as engine:
        stages.curate(loaded, engine, warned=False)
    show(engine.workdir, loaded.name)


tokenizers = typer.Typer(help="Train a tokenizer, compare tokenizers, encode a text, add entries.", no_args_is_help=True)
app.add_typer(tokenizers, name="tokenizer")


@tokenizers.command()
def train(
    recipe: RecipePath,
    workdir: WorkdirOption = None,
    address: AddressOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Curate, and train the tokenizer on the first phase's mix."""
    loaded = _recipe(recipe, workdir)
    from jobs import run as stages
    from pipeline.report.mix_alarms import vocabulary_alarms

    with stages.opened(loaded, address=address, workers=workers) as engine:
        made = stages.build_tokenizer(loaded, engine, stages.curate(loaded, engine))
    for alarm in vocabulary_alarms(made):
        warn(alarm.text)
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
        about = f"Documents of {opened.shown} that were held out of training."
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
    in_unused: Annotated[bool, typer.Option(help=r"Take the places of \[unusedN], so that the vocabulary does not grow.")] = False,
    whole_word: Annotated[bool, typer.Option(help="Match the entries as whole words alone: not within other words.")] = False,
) -> None:
    """Add entries to a tokenizer; every id that it has stays what it is."""
    from tokenizer.extend import extend as add

    ids = add(folder, words, target, in_unused=in_unused, whole_words=whole_word)
    for word, identifier in zip(words, ids, strict=True):
        console.print(f"{identifier:>8}  {word}", markup=False)


@app.command()
def pack(
    recipe: RecipePath,
    workdir: WorkdirOption = None,
    address: AddressOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Curate, train the tokenizer, tokenise and pack."""
    loaded = _recipe(recipe, workdir)
    from jobs import run as stages
    from jobs.summary import show

    with stages.opened(loaded, address=address, workers=workers) as engine:
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
    ray: RayOption = False,
    address: AddressOption = None,
    master_port: PortOption = None,
    restarts: RestartsOption = 0,
    write_only: Annotated[
        bool, typer.Option("--write-only", help="Print the path of the RUN.json that `srun` or `torchrun ... -m trainer` takes, and end.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train on shards that are there, or go on training."""
    loaded = _trainable(recipe, workdir)
    from jobs import run as stages
    from jobs.recipe import resolve_workdir
    from pipeline.workdir.dataset import Workdir

    opened = Workdir(resolve_workdir(loaded.workdir))
    if write_only:
        typer.echo(stages.write_run(loaded, opened))
        return
    summary = stages.pretrain(loaded, opened, stages.Launching(hostfile, node_rank, master_port, restarts, ray, address))
    after = summary["validation_after"]
    if after:
        console.print(f"validation loss {after['loss']:.4f} after {summary['tokens']:,} tokens")


class Command(StrEnum):
    """What a job may be told to do."""

    run = "run"
    curate = "curate"
    pack = "pack"
    pretrain = "pretrain"


DashboardOption = Annotated[
    str | None,
    typer.Option(
        help="The cluster's dashboard, http://HOST:8265, or, on its nodes, HOST:6379; default: $RAY_API_SERVER_ADDRESS, $RAY_ADDRESS."
    ),
]


@app.command()
def submit(
    recipe: RecipePath,
    address: DashboardOption = None,
    follow: Annotated[bool, typer.Option(help="Watch the job to its end, and fetch its report.")] = True,
    workdir: WorkdirOption = None,
    command: Annotated[Command, typer.Option(help="What is done with the recipe: a command of `foundry`.")] = Command.run,
    ray: RayOption = False,
    restarts: RestartsOption = 0,
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[=VALUE]", help="A variable of the job's environment; without a value, as it is here. May be repeated."),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a recipe as a job on a Ray cluster, from anywhere, with Encoder Foundry as it is here. The exit code is the job's own."""
    from jobs.packaged import find_recipe

    found = find_recipe(recipe)
    from jobs import submit as jobs_

    if command in (Command.curate, Command.pack) and (ray or restarts):
        from pipeline.workdir.errors import UserError

        raise UserError(f"--command {command.value}: trains nothing; leave out --ray and --restarts")
    options = [*(["--ray"] if ray else []), *(["--restarts", str(restarts)] if restarts else [])]
    variables = jobs_.variables(env or [])
    head = jobs_.connected(jobs_.chosen_address(address))
    raise typer.Exit(jobs_.submit(head, found, _recipe(recipe, workdir), [command.value], options, variables, follow=follow))


@app.command("jobs")
def list_jobs(
    address: DashboardOption = None,
    attach: Annotated[str | None, typer.Option(metavar="JOB", help="Watch this job to its end, and fetch its report.")] = None,
    stop: Annotated[str | None, typer.Option(metavar="JOB", help="End this job; submitting its recipe again goes on with it.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the jobs of a cluster that `foundry submit` has begun, watch one, or end one."""
    from jobs import submit as jobs_

    head = jobs_.connected(jobs_.chosen_address(address))
    if stop is not None:
        jobs_.stop(head, stop)
    elif attach is not None:
        raise typer.Exit(jobs_.Watching(head, attach).watch())
    else:
        jobs_.show_jobs(head)


@app.command()
def plan(
    recipe: RecipePath,
    workdir: WorkdirOption = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Processes, one a GPU; default: those that training starts here.")] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0, help="Tokens a second of one process in the first phase; default: the run's, if it has ended."),
    ] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Price of an hour of one process.")] = None,
    memory: Annotated[float, typer.Option(min=0, help="Memory of one GPU, in GB.")] = 80,
    sample_mb: Annotated[
        float | None, typer.Option(min=0.01, help="Text of each source in the sample, in MB; default: 4, or less of many sources.")
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Also say how long curation takes on so many nodes.")] = None,
    cores: Annotated[int, typer.Option(min=1, help="Cores of each of --nodes.")] = 16,
    node_memory: Annotated[float | None, typer.Option(min=0, help="Memory of each of --nodes, in GB.")] = None,
    core_price: Annotated[float | None, typer.Option(min=0, help="Price of an hour of one core, in dollars, for curation.")] = None,
    training_only: Annotated[bool, typer.Option("--training-only", help="Look at no source: say what training takes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a recipe against what is really there; say what curation would read, drop, keep, store, take and cost, and then training."""
    import json

    from jobs import plan as plans
    from jobs.launch import default_processes
    from jobs.recipe import resolve_workdir
    from jobs.summary import fetched_run
    from pipeline.workdir.dataset import Workdir

    loaded = _trainable(recipe, workdir)
    body = {}
    if not training_only:
        from jobs import forecast as data

        on = None if nodes is None else data.Nodes(nodes, cores, None if node_memory is None else int(node_memory * 1e9))
        report = partial(print, file=sys.stderr)
        try:
            planned = data.forecast(loaded, sample_mb=sample_mb, nodes=on, price=core_price, report=report)
        except data.Unfit as error:
            for line in error.lines:
                print(f"foundry: {recipe}: {line}", file=sys.stderr)
            raise typer.Exit(2) from None
        if as_json:
            body["curation"] = data.as_json(planned)
        else:
            data.show(planned)
            console.print()
    count, source = processes or loaded.training.processes or default_processes(), "given"
    if not rate:
        run = fetched_run(Workdir(resolve_workdir(loaded.workdir)), loaded.name)
        rate, source = plans.measured(run), f"{run}, measured"
        trained_by = plans.processes_of(run)
        rate = rate / trained_by if rate and trained_by else None
    if as_json:
        body["training"] = plans.as_json(loaded, processes=count, rate=rate, price=price)
        typer.echo(json.dumps(body, indent=1))
        return
    plans.show(loaded, processes=count, rate=rate, price=price, source=source, memory=memory)


@app.command()
def export(recipe: RecipePath, workdir: WorkdirOption = None) -> None:
    """Write the trained model as a transformers folder, proved by equal logits."""
    from jobs import run as stages
    from jobs.recipe import resolve_workdir
    from pipeline.workdir.dataset import Workdir

    loaded = _recipe(recipe, workdir)
    stages.export(loaded, Workdir(resolve_workdir(loaded.workdir)))


@app.command()
def finetune(
    task: Annotated[Path, typer.Argument(help="The task's recipe: a YAML file, or one that `foundry recipes` lists: tasks/classify ...")],
    start: Annotated[
        str | None, typer.Option("--from", help="The model: a transformers folder, a pretraining run, or another task's run.")
    ] = None,
    output: Annotated[str | None, typer.Option(help="The folder for the task's run, instead of the recipe's.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Tune a model for a task: classes, pairs, numbers, tags, answers, dense retrieval, late interaction. Run again, it goes on."""
    from jobs.packaged import find_recipe

    found = find_recipe(task)
    from jobs.finetune import finetune as tune

    tune(found, start, output)


@app.command()
def report(recipe: RecipePath, workdir: WorkdirOption = None) -> None:
    """Write report.html for what a workdir holds, and show the summary."""
    from jobs.recipe import resolve_workdir
    from jobs.summary import fetched_run, other_runs, show
    from pipeline.report.page import write_report
    from pipeline.workdir.dataset import Workdir

    loaded = _recipe(recipe, workdir)
    opened = Workdir(resolve_workdir(loaded.workdir))
    trained = fetched_run(opened, loaded.name)
    show(opened, loaded.name)
    path = write_report(opened, trained, other_runs(opened, loaded.name))
    console.print(f"report: {shown(path)}", soft_wrap=True)


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


@app.command("whatif")
def what_if(
    recipe: RecipePath,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Another value of a key, by its place: filter.web.length.min_words=30."),
    ] = None,
    sweep: Annotated[
        str | None, typer.Option(metavar="KEY=VALUES", help="A limit at many values: begin, end and step, 10:50:5, or a list, 10,20,50.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Your own labels, JSON Lines with `keep` and `id`, `url` or `text`: how far the filter agrees.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the sweep as a plot: FILE.svg, .html or .json.")] = None,
    examples: Annotated[int, typer.Option(min=0, help="Documents that are shown of each rule that would newly keep or drop some.")] = 3,
    workdir: WorkdirOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What other limits of the filter would keep and drop, from what has been measured. Takes seconds, and writes nothing."""
    from jobs.packaged import find_recipe

    found = find_recipe(recipe)
    loaded = _recipe(recipe, workdir)
    from jobs import corpus
    from jobs.whatif import whatif as tell

    base = Path.cwd() if loaded.corpus is None else corpus.place()
    tell(found, loaded, base, set_=set_ or (), sweep_=sweep, labels=labels, out=out, examples=examples, as_json=as_json)


@app.command("diff")
def difference(
    first: Annotated[str, typer.Argument(help="A workdir.")],
    second: Annotated[str, typer.Argument(help="Another one.")],
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and check it, instead of trusting the manifests.")] = False,
    examples: Annotated[int, typer.Option(min=0, help="Documents that are named for each difference, and texts that are shown.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Whether two workdirs hold the same, to the byte, or what differs. Exit code 0: equal, 1: they differ, 2: neither can be said."""
    from jobs.diff import diff
    from kernel.cache import NoHome
    from pipeline.workdir.errors import UserError

    try:
        equal = diff(first, second, verify=verify, examples=examples, as_json=as_json)
    except (UserError, NoHome):
        raise
    except Exception:  # a fault of ours, which must not look like a difference
        traceback.print_exc()
        raise typer.Exit(2) from None
    if not equal:
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
    positive: Annotated[
        str,
        typer.Argument(
            help="Documents of the kind to keep: a file, a folder, a glob, a URI, or a workdir. Without NEGATIVE: labels, JSON Lines with "
            "`keep` and `text`, `id` or `url`."
        ),
    ],
    negative: Annotated[str | None, typer.Argument(help="Documents of the other kind.")] = None,
    output: Annotated[Path, typer.Option(help="The folder to write the model to.")] = Path("classifier"),
    form: Annotated[
        str | None, typer.Option("--format", help="Format of both, as of a recipe's sources; default: by the files' endings.")
    ] = None,
    field: Annotated[str, typer.Option(help="For JSON and Parquet: the field that is the text.")] = "text",
    bits: Annotated[int, typer.Option(min=10, max=26, help="Hash words and pairs of words into 2^BITS buckets.")] = 20,
    most: Annotated[int, typer.Option(min=20, help="Train on this many documents of each at most, chosen by hash.")] = 50_000,
    workdir: Annotated[str | None, typer.Option(help="Where the documents are that labels name without giving their text.")] = None,
) -> None:
    """Train a linear quality classifier, to be named under `classifiers` in a recipe; print how it does on held-out documents."""
    from kernel.sections import hint
    from pipeline.measure.classifiers.training import train as fit
    from pipeline.readers import FORMATS
    from pipeline.workdir.errors import UserError

    if form is not None and form not in FORMATS:
        raise UserError(f"--format {form}: no such format; {hint(form, FORMATS, extended=True)}")
    if negative is None and (form is not None or field != "text"):
        raise UserError("--format and --field are of two sets of documents; give NEGATIVE, or leave them out for a file of labels")
    place = workdir
    if workdir is not None:
        from jobs.recipe import resolve_workdir

        place = resolve_workdir(workdir)
    trained = fit(positive, negative, output, form=form, field=field, bits=bits, most=most, workdir=place)
    held = trained.held_out
    console.print(f"trained on {trained.positive:,} positive and {trained.negative:,} negative documents")
    if trained.both or trained.unreadable:
        console.print(f"left out: {trained.both:,} texts in both sets, {trained.unreadable:,} documents that could not be read")
    console.print(f"held out: {held.positive:,} positive, {held.negative:,} negative")
    console.print(f"precision {held.precision:.4f}, recall {held.recall:.4f} at 0.5; ROC-AUC {held.roc_auc:.4f}")
    console.print(f"model: {trained.folder}", soft_wrap=True)


# Errors of the user's making. A module that was never imported has raised none, and importing them all takes longer than most refusals.
_TOLD = (
    ("pipeline.workdir.errors", "UserError"),
    ("pipeline.shards", "ShardError"),
    ("tokenizer.errors", "TokenizerError"),
    ("trainer.errors", "TrainerError"),
    ("model.errors", "ModelError"),
    ("kernel.extensions", "ExtensionError"),
    ("kernel.cache", "NoHome"),
    ("storage.errors", "StorageError"),
)
_WITH_CODES = (("jobs.faults", "TrainingFailed"), ("jobs.faults", "Stopped"))


def _is_one(error: Exception, kinds: tuple[tuple[str, str], ...]) -> bool:
    found = (getattr(sys.modules.get(module), name, None) for module, name in kinds)
    return isinstance(error, tuple(kind for kind in found if kind is not None))


def main() -> None:
    """Run the command line. Errors of the user's making are one line and exit code 2."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        with obeying_signals(), output():
            app()
    except (KeyboardInterrupt, SystemExit) as error:  # which typer makes of the former
        ended = interruption(error)
        if ended is None:
            raise
        print(f"foundry: {ended}", file=sys.stderr)
        raise SystemExit(ended.code) from None
    except Exception as error:
        from storage.location import scrub

        if _is_one(error, _TOLD):
            print(f"foundry: {scrub(str(error))}", file=sys.stderr)
            raise SystemExit(2) from None
        if _is_one(error, _WITH_CODES):
            print(f"foundry: {scrub(str(error))}", file=sys.stderr)
            raise SystemExit(error.code) from None  # type: ignore[attr-defined]
        if _is_one(error, (("pydantic", "ValidationError"),)):  # of a recipe; `load_recipe` words these, so this is a fault of ours
            raise SystemExit(f"foundry: {scrub(str(error))}") from error
        raise


if __name__ == "__main__":
    main()
