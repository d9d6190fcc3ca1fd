"""`foundry finetune`: a task's recipe and a model to a tuned model, proved in the libraries that will load it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jobs.console import console, shown, warn
from jobs.recipe import one_line
from jobs.yaml_file import read_yaml
from pipeline.workdir.dataset import Workdir, fingerprint
from pipeline.workdir.errors import UserError
from trainer.lines import Lines
from trainer.lock import Lock
from trainer.tuning.config import AnyTask, LateInteractionConfig, RetrievalConfig, TuningConfig
from trainer.tuning.examples import DataConfig, Examples, read_examples

if TYPE_CHECKING:
    from trainer.tuning.texts import TextTokens
    from trainer.tuning.tune import Tuned

VERSION = 1
_PROVED = 8  # texts that the libraries are asked for, too
_TOLERANCE = 1e-3


class TaskRecipe(BaseModel):
    """A task: what is learnt, from which examples, how, and from which model."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the task's run: letters, digits, `.`, `_`, `-`.")
    task: AnyTask = Field(description="What is learnt: its `kind`, and the kind's own keys.")
    data: DataConfig = Field(description="Where the examples are.")
    tuning: TuningConfig = Field(default_factory=TuningConfig, description="The grid of trials, and how each learns.")
    start: str | None = Field(
        None,
        alias="from",
        description="The model to begin with where the command names none: a transformers folder, a pretraining run, or another task's run "
        "(RTE, MRPC and STS-B from MNLI's).",
    )
    output: str = Field("workdir/tasks", description="The folder that has the task's run, in a folder of its name.")
    seed: int = Field(0, ge=0, le=2**63 - 1, description="Seed of the draws of examples. Trials have seeds of their own.")


def load_task(path: Path) -> TaskRecipe:
    """Read and check a task's recipe. Raises `UserError`: one line naming the file, the field and the remedy."""
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise UserError(f"{path}: a task's recipe is a mapping of sections; this is {type(raw).__name__}")
    if "sources" in raw or "phases" in raw:
        raise UserError(f"{path}: is a recipe of pretraining, and no task's; `foundry recipes` lists tasks/...")
    try:
        return TaskRecipe.model_validate_json(json.dumps(raw), strict=True)
    except ValidationError as error:
        raise UserError(one_line(str(path), error, TaskRecipe)) from error


def model_folder(given: Path, key: str = "--from") -> tuple[Path, Path]:
    """The folder of the model that is meant, and that of its tokenizer.

    `given`: a transformers folder; or a run, of pretraining or of a task, which has `export/` or `model/`. Raises `UserError`.
    """
    if not given.is_dir():
        raise UserError(f"{key} {given}: no such folder; give a transformers folder, a run of pretraining, or a task's run")
    found = next((place for place in (given, given / "export", given / "model") if (place / "config.json").is_file()), None)
    if found is None:
        raise UserError(f"{key} {given}: is no model: neither it nor export/ or model/ in it has a config.json; export the run first")
    places = (found, given, given / "export", given.parent.parent / "tokenizer")
    tokenizer = next((place for place in places if (place / "tokenizer.json").is_file()), None)
    if tokenizer is None:
        raise UserError(f"{key} {given}: has no tokenizer.json; put the model's tokenizer beside its config.json")
    return found, tokenizer


def finetune(path: Path, start: str | None = None, output: str | None = None) -> Path:
    """Do what a task's recipe says, or go on with it; returns the run's folder.

    RUN/ has metrics.jsonl, summary.json, trials/ (a folder for each rate and seed: result.json, outputs.parquet), model/, export/.
    """
    recipe = load_task(path)
    if (given := start or recipe.start) is None:
        raise UserError(f"{path}: nothing says which model to begin with; give --from FOLDER, or `from` in the recipe")
    folder, tokenizer = model_folder(Path(given).expanduser(), "--from" if start else "from")
    run = Path(output or recipe.output).expanduser() / recipe.name
    examples = read_examples(recipe.data, recipe.task, Path.cwd(), recipe.seed)
    if examples.left_out:
        warn(f"data: {examples.left_out:,} rows lack a value of {', '.join(recipe.task.columns)} and are left out")
    run.mkdir(parents=True, exist_ok=True)
    wanted = _fingerprint(recipe, folder, tokenizer, examples)
    state = Workdir(str(run))
    with Lock(run):
        summary = state.json("summary.json")
        if isinstance(summary, dict) and summary.get("made_from") == wanted and (run / "export" / "proof.json").is_file():
            console.print(f"{'finetune':<16} up to date")
            _show(summary)
            return run
        state.delete("summary.json")
        _make(recipe, folder, tokenizer, examples, run, wanted)
    return run


def _fingerprint(recipe: TaskRecipe, folder: Path, tokenizer: Path, examples: Examples) -> str:
    """Of all that a run is a function of."""
    import hashlib

    about = hashlib.blake2b(digest_size=16)
    for place in sorted({*folder.rglob("*.safetensors"), folder / "config.json", tokenizer / "tokenizer.json"}):
        with place.open("rb") as file:
            about.update(hashlib.file_digest(file, "blake2b").digest())
    for name in examples.table.column_names:
        about.update(json.dumps(examples.table[name].to_pylist()).encode())
    about.update(json.dumps(examples.candidates).encode())
    free: Any = {"name": True, "start": True, "output": True, "tuning": {"checkpoint_every"}}
    # a section that is chosen by its kind is written by its own model
    body = {**recipe.model_dump(mode="json", exclude={**free, "task": True, "data": True}), "task": recipe.task.model_dump(mode="json")}
    return fingerprint(VERSION, body, about.hexdigest())


def _make(recipe: TaskRecipe, folder: Path, tokenizer: Path, examples: Examples, run: Path, wanted: str) -> None:
    from tokenizer import Encoder, special_ids
    from trainer.tuning.texts import TextTokens
    from trainer.tuning.tune import tune

    tokens = TextTokens(Encoder(tokenizer), special_ids(tokenizer))
    metrics = run / "metrics.jsonl"
    metrics.unlink(missing_ok=True)  # lines of trials that are done are told again
    lines = Lines(metrics)

    def tell(line: dict[str, Any]) -> None:
        lines.add(line)
        if line["kind"] == "validation":
            value = line[recipe.task.chosen_metric]
            told = "none" if value is None else f"{value:.4f}"
            trial = f"rate {line['learning_rate_peak']:g}  seed {line['seed']}  step {line['step']:,}"
            console.print(f"{trial}  validation {recipe.task.chosen_metric} {told}")

    try:
        result = tune(folder, tokens, recipe.task, examples.table, recipe.tuning, candidates=examples.candidates, folder=run, tell=tell)
    finally:
        lines.close()
    for split, counts in result.counts.items():
        if counts["over"]:
            warn(f"{split}: {counts['over']:,} of {counts['texts']:,} texts were cut; the longest had {counts['longest']:,} tokens")
    proof = write_export(result, tokens, tokenizer, run, recipe)
    summary = _summary(recipe, result, wanted)
    Workdir(str(run)).write(json.dumps(summary, indent=1, sort_keys=True, allow_nan=False).encode(), "summary.json")
    for place in run.glob("trials/*/best.safetensors"):  # the one that was chosen is model/
        place.unlink()
    _show(summary)
    console.print(
        f"{'export':<16} {shown(run / 'export')}: {'; '.join(f'{what} {value:.1e}' for what, value in proof.items())}", soft_wrap=True
    )


def _summary(recipe: TaskRecipe, result: Tuned, wanted: str) -> dict[str, Any]:
    """What a run came to, without times, so that the same run gives the same bytes."""
    grid = [{name: value for name, value in vars(one).items() if name != "outputs"} for one in result.tried]
    means = {
        name: {"mean": float(np.mean(values)), "spread": float(np.std(values)), "seeds": len(values)}
        for name in result.chosen.test
        for values in [[one.test[name] for one in result.seeds]]
    }
    return {
        "made_from": wanted,
        "task": recipe.task.model_dump(mode="json"),
        "metric": result.metric,
        "labels": list(result.task.labels),
        "counts": result.counts,
        "chosen": {**grid[result.best]},
        "test": means,
        "trials": grid,
    }


def _show(summary: dict[str, Any]) -> None:
    chosen, metric = summary["chosen"], summary["metric"]
    console.print(
        f"chosen: rate {chosen['learning_rate']:g}, seed {chosen['seed']}, step {chosen['step']:,}, "
        f"validation {metric} {chosen['validation'][metric]:.4f}"
    )
    for name, value in summary["test"].items():
        spread = f" ± {value['spread']:.4f} over {value['seeds']} seeds" if value["seeds"] > 1 else ""
        console.print(f"test {name:<16} {value['mean']:.4f}{spread}")


# --- export ----------------------------------------------------------------------------------------------------------------


def write_export(result: Tuned, tokens: TextTokens, tokenizer: Path, run: Path, recipe: TaskRecipe) -> dict[str, float]:
    """`model/` and `export/` with the tokenizer; returns the largest differences that its proofs found.

    transformers' model and, for vectors, sentence-transformers' are loaded from the folder and asked for some texts by their own tokenizer.
    Raises `UserError` where they answer otherwise than the tuned model.
    """
    from transformers.utils.logging import disable_progress_bar

    from model import bridge

    disable_progress_bar()
    proofs: dict[str, float] = {}
    for name in ("model", "export"):
        aside = run / f".{name}.tmp"
        shutil.rmtree(aside, ignore_errors=True)
        if name == "model":
            bridge.save(result.model, aside)
        else:
            proofs["logits equal to"] = bridge.export(result.model, aside)
            _add_tokenizer(tokenizer, aside, recipe, result)
            proofs |= _proved_on_texts(result, tokens, aside, recipe)
            (aside / "proof.json").write_text(json.dumps(proofs, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(run / name, ignore_errors=True)
        aside.rename(run / name)
    return proofs


def _longest(recipe: TaskRecipe, result: Tuned) -> int:
    most: int = result.model.config.max_length  # type: ignore[union-attr, assignment]
    return min(most, recipe.task.max_length or most)


def _add_tokenizer(tokenizer: Path, target: Path, recipe: TaskRecipe, result: Tuned) -> None:
    """The tokenizer's files, that cut a text to what was learnt; and of vectors the prompts."""
    from tokenizer import write_words
    from tokenizer.folder import dump

    for name in ("tokenizer.json", "special_tokens_map.json"):
        if (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, target / name)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
    if (tokenizer / "tokenizer_config.json").is_file():
        settings = json.loads((tokenizer / "tokenizer_config.json").read_text(encoding="utf-8"))
    dump(target / "tokenizer_config.json", {**settings, "model_max_length": _longest(recipe, result)})
    write_words(target)
    if isinstance(recipe.task, RetrievalConfig):
        dump(target / "sentence_bert_config.json", {"max_seq_length": _longest(recipe, result), "do_lower_case": False})
        prompts = {"query": recipe.task.query_prompt, "document": recipe.task.text_prompt}
        dump(target / "config_sentence_transformers.json", {"prompts": prompts, "default_prompt_name": None})


def _proved_on_texts(result: Tuned, tokens: TextTokens, folder: Path, recipe: TaskRecipe) -> dict[str, float]:
    """Our answers for some texts beside those of who loads the folder; the largest difference of each."""
    task = recipe.task
    if isinstance(task, RetrievalConfig):
        return _proved_vectors(result, tokens, folder, recipe)
    if task.kind not in ("classify", "pair", "regress"):
        return {}
    import torch
    import transformers

    from trainer.tuning.texts import Cutting

    texts = list(_TEXTS[:_PROVED])
    paired = bool(result.task.paired)  # type: ignore[attr-defined]
    cutting = Cutting(_longest(recipe, result), True)
    segments = tokens.paired(texts[::-1], texts, cutting) if paired else tokens.single(texts, cutting)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32
    ).eval()
    given = transformers.AutoTokenizer.from_pretrained(folder)(
        *((texts[::-1], texts) if paired else (texts,)), padding=True, truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        ours = _answers(result.model, segments)
        others = theirs(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).logits
    return {"texts equal to": _close(folder, "transformers", ours, others)}


def _answers(model: Any, segments: Any) -> Any:
    import torch

    bounds = torch.from_numpy(segments.bounds.astype(np.int32))
    output = model.cpu()(torch.from_numpy(segments.values), bounds, int(segments.lengths.max()))
    return getattr(output, "logits", output)


def _proved_vectors(result: Tuned, tokens: TextTokens, folder: Path, recipe: TaskRecipe) -> dict[str, float]:
    """Vectors of queries and texts, by sentence-transformers where it is installed."""
    import torch

    from trainer.tuning.texts import Cutting

    name = "MultiVectorEncoder" if isinstance(recipe.task, LateInteractionConfig) else "SentenceTransformer"
    try:
        import sentence_transformers
    except ImportError:
        sentence_transformers = None  # type: ignore[assignment]
    kind = getattr(sentence_transformers, name, None)
    if kind is None:
        warn(f"export: not compared with {name}: no sentence-transformers that has it is installed")
        return {}
    task: Any = recipe.task
    theirs = kind(str(folder), device="cpu")
    found = {}
    for side, prompt, asked in (("queries", task.query_prompt, theirs.encode_query), ("texts", task.text_prompt, theirs.encode_document)):
        segments = tokens.single([prompt + text for text in _TEXTS], Cutting(_longest(recipe, result), True))
        with torch.no_grad():
            ours = _answers(result.model, segments)
        others = asked(list(_TEXTS), convert_to_numpy=True, show_progress_bar=False)
        whole = torch.from_numpy(np.concatenate(others) if name == "MultiVectorEncoder" else np.asarray(others))
        found[f"{name}'s {side} equal to"] = _close(folder, name, ours, whole)
    return found


def _close(folder: Path, who: str, ours: Any, others: Any) -> float:
    if ours.shape != others.shape:
        raise UserError(f"{folder}: {who} gives {tuple(others.shape)} numbers for texts that have {tuple(ours.shape)}; the export is wrong")
    difference = float((ours - others).abs().max())
    if not difference <= _TOLERANCE:
        raise UserError(
            f"{folder}: {who}'s answers for texts differ from ours by {difference:g}, more than {_TOLERANCE:g}; the export is wrong"
        )
    return difference


# Texts of several lengths and kinds that the proofs ask for.
_TEXTS = (
    "The house stood at the end of the road, and nobody had lived in it for many years.",
    "def area(width: float, height: float) -> float:\n    return width * height\n",
    "Why?",
    "Die ersten Stürme des Frühlings kamen, und das Dach stürzte mit Lärm ein.",
    "We measure the heat flux through a thin plate at Mach 2.5 and compare it with theory.",
    "a",
    "yes, no, yes, no",
    "日本語の文章もあります。",
)
