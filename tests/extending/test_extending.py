"""What an installed package adds: the package of docs/extending.md, one thing of each kind, through a recipe of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.extending.installed import PACKAGE, ROOT, install, install_examples, python

GUIDE = ROOT / "docs" / "extending.md"
QUESTION = "Which of the planets that go around our sun has the greatest number of moons that are known today?"
ANSWERED = f"{QUESTION} Saturn"
LINKS = " ".join(f"see http://example.org/{number}" for number in range(40))


def mail(subject: str, body: str) -> str:
    return f"From: Ada <ada@example.org>\nTo: list@example.org\nSubject: {subject}\nContent-Type: text/plain; charset=utf-8\n\n{body}\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    install_examples(folder)
    return folder


def recipe_of(folder: Path, **changes: Any) -> Path:
    """A recipe that names one thing of each kind, and its data: mails of the paragraphs of our documentation, and three of a kind."""
    mails = folder / "mails"
    mails.mkdir()
    paragraphs = [
        part for page in sorted((ROOT / "docs").glob("[a-q]*.md")) for part in re.split(r"\n\n+", page.read_text()) if len(part) > 300
    ]
    bodies = {f"doc-{number:03d}": part for number, part in enumerate(paragraphs[:200])}
    bodies |= {
        "links": LINKS,
        "leak": f"You asked me this yesterday. {ANSWERED}. That is what I said.",
        "quoting": "> as you said\nI agree with that.",
    }
    for name, body in bodies.items():
        (mails / f"{name}.eml").write_text(mail(f"About {name}", body), encoding="utf-8")
    (mails / "empty.eml").write_text("Subject: nothing\nContent-Type: text/html\n\n<p>x</p>\n", encoding="utf-8")
    (folder / "quiz.jsonl").write_text(json.dumps({"question": QUESTION, "choices": ["Mars", "Saturn"], "answer": 1}) + "\nnot JSON\n")
    recipe = {
        "name": "extended",
        "workdir": str(folder / "workdir"),
        "sources": [{"name": "mail", "domain": "mail", "format": "eml", "path": str(mails), "quoted": False}],
        "measure": {"statistics": ["compression"]},
        "filter": {"mail": {"links": {"max_links": 0.2}, "limits": {"compression": {"max": 2.0}}}},
        "near": None,
        "contamination": {"sets": [{"name": "moons", "format": "quiz", "path": str(folder / "quiz.jsonl")}]},
        "tokenizer": {"vocab_size": 512},
        "model": {"vocab_size": 512, "hidden_size": 32, "layers": 3, "heads": 2, "intermediate_size": 48, "max_length": 128},
        "phases": [{"name": "only", "length": 64, "tokens": 4096, "batch_size": 8, "learning_rate": 3.0e-4}],
        "training": {
            "optimizer": {"name": "lion", "momentum": 0.98},
            "attention": "masked",
            "precision": "float32",
            "processes": 1,
            "micro_batch_tokens": 256,
            "checkpoint_every": 4,
            "log_every": 1,
        },
        **changes,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def curated(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    recipe = recipe_of(tmp_path_factory.mktemp("curated"))
    done = python("-m", "tests.extending.curate", recipe, installed=installed)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def by_document(curated: dict[str, Any], dataset: str) -> dict[str, Any]:
    names = [row["id"].removeprefix("mail:").removesuffix(".eml") for row in curated["documents"]]
    return dict(zip(names, curated[dataset], strict=True))


def test_a_packages_reader_reads_with_its_own_settings(curated: dict[str, Any]) -> None:
    documents = by_document(curated, "documents")
    assert documents["quoting"]["text"].strip() == "I agree with that."
    assert documents["quoting"]["title"] == "About quoting"
    assert [(row["location"].rsplit("/", 1)[-1], row["error"]) for row in curated["quarantine"]] == [
        ("empty.eml", "the message has no plain text")
    ]


def test_a_packages_statistic_is_measured_and_drawn_with_the_limits_on_it(curated: dict[str, Any]) -> None:
    import zlib

    statistics, documents = by_document(curated, "statistics"), by_document(curated, "documents")
    for name, row in statistics.items():
        raw = documents[name]["text"].encode()
        assert row["compression"] == pytest.approx(len(zlib.compress(raw, 6)) / len(raw))
    assert curated["drawn"]["compression"] == ["bytes compressed by zlib / bytes", [2.0]]
    assert curated["drawn"]["links"] == ["addresses / words", [0.2]]


def test_a_packages_rule_drops_with_its_value(curated: dict[str, Any]) -> None:
    verdicts = by_document(curated, "verdicts/filter")
    assert verdicts["links"] == {"rule": "links", "value": 0.5}
    assert [name for name, row in verdicts.items() if row["rule"] is not None] == ["links"]


def test_a_packages_evaluation_set_is_looked_for(curated: dict[str, Any]) -> None:
    verdicts = by_document(curated, "verdicts/contamination")
    assert [name for name, row in verdicts.items() if row["rule"] is not None] == ["leak"]
    assert verdicts["leak"]["rule"] == "contamination_moons"


def test_the_reference_describes_what_is_installed(curated: dict[str, Any]) -> None:
    for words in (
        "## sources of format eml",
        "| `quoted` |",
        "## filter.links",
        "| `max_links` |",
        "Installed: compression.",
        "## contamination.sets of format quiz",
        "## training.optimizer of name lion",
        "| `blend` |",
        "Installed: masked.",
    ):
        assert words in curated["reference"]


def test_a_packages_attention_is_that_of_the_built_in_ones(installed: Path) -> None:
    code = """
import torch
from model.attention import attend, choose, prepare
from model.rope import rotary_tables
torch.manual_seed(0)
cu = torch.tensor([0, 5, 6, 40], dtype=torch.int32)
qkv = torch.randn(40, 3, 2, 16)
assert choose("masked", torch.device("cpu"), torch.float32, 16) == "masked"
outputs = {}
for kernel in ("masked", "sdpa"):
    segments = prepare(kernel, cu, 34, 40, 8, torch.float32)
    rotary = rotary_tables(segments.position, 16, 10_000.0)
    outputs[kernel] = [attend(kernel, qkv, rotary, segments, window) for window in (8, None)]
for ours, theirs in zip(*outputs.values()):
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
"""
    done = python("-c", code, installed=installed)
    assert done.returncode == 0, done.stderr


def test_a_packages_optimizer_makes_the_papers_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    import torch

    monkeypatch.syspath_prepend(str(PACKAGE))
    from foundry_examples.lion import Lion

    random = np.random.default_rng(0)
    value, average = random.normal(size=5), np.zeros(5)
    parameter = torch.nn.Parameter(torch.tensor(value))
    optimizer = Lion([{"params": [parameter], "weight_decay": 0.1, "lr": 0.02, "max_lr": 0.04}], momentum=0.99, blend=0.9)
    for _ in range(5):
        gradient = random.normal(size=5)
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
        value = value * (1 - 0.02 / 0.04 * 0.1) - 0.02 * np.sign(0.9 * average + 0.1 * gradient)
        average = 0.99 * average + 0.01 * gradient
    np.testing.assert_allclose(parameter.detach().numpy(), value, rtol=1e-12)
    assert set(optimizer.state_dict()["state"][0]) == {"average"}


def test_an_optimizer_is_refused_under_a_stage_of_zero_that_it_does_not_name() -> None:
    from typing import ClassVar

    from pydantic import ValidationError

    from trainer.config import TrainingConfig
    from trainer.optimizers import OptimizerConfig

    class Whole(OptimizerConfig):
        zero_stages: ClassVar[tuple[int, ...]] = (0,)

    assert TrainingConfig(zero_stage=0, optimizer=Whole(name="whole"))
    with pytest.raises(ValidationError, match="whole is not right under zero_stage 2; use one of: 0"):
        TrainingConfig(zero_stage=2, optimizer=Whole(name="whole"))


@pytest.mark.long
def test_a_run_goes_through_all_of_them_in_its_workers_and_trainer(installed: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path)
    done = python("-m", "jobs.cli", "run", recipe, installed=installed, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "workdir" / "runs" / "extended"
    assert json.loads((run / "run.json").read_text())["training"]["optimizer"] == {"name": "lion", "momentum": 0.98, "blend": 0.9}
    assert json.loads((run / "summary.json").read_text())
    assert "attention kernel masked" in done.stdout
    assert "bytes compressed by zlib" in (tmp_path / "workdir" / "report.html").read_text()


def refused(installed: Path, tmp_path: Path, **changes: Any) -> str:
    """The one line that a command says of a recipe."""
    recipe = recipe_of(tmp_path, **changes)
    done = python("-m", "jobs.cli", "curate", recipe, installed=installed, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


def test_a_package_that_cannot_be_imported_is_named_when_it_is_wanted(tmp_path: Path) -> None:
    folder = tmp_path / "installed"
    install_examples(folder)
    install("broken", {"encoder_foundry.readers": {"odd": "no_such_module:THING"}, "encoder_foundry.rules": {"odd": "json:dumps"}}, folder)
    place = "package broken, entry point encoder_foundry"
    (tmp_path / "a").mkdir()
    source = {"name": "a", "domain": "a", "format": "odd", "path": "x"}
    line = refused(folder, tmp_path / "a", sources=[source])
    assert line.startswith(
        f"foundry: {place}.readers: odd = no_such_module:THING: cannot be imported (ModuleNotFoundError: No module named"
    )
    (tmp_path / "b").mkdir()
    line = refused(folder, tmp_path / "b", filter={"mail": {"odd": {}}})
    assert line.startswith(
        f"foundry: {place}.rules: odd = json:dumps: must be a class below pipeline.filters.check.Family, not an instance of "
    )
    help_ = python("-m", "jobs.cli", "--help", installed=folder)
    assert help_.returncode == 0  # nothing is imported where nothing is wanted


BAD_POINTS = {  # by group: entry points that cannot be had
    "rules": {"c4": "x:Y", "_private": "x:Y", "model_config": "x:Y", "copy": "x:Y", "json": "x:Y", "schema": "x:Y", "leaves": "leaving:X"},
    "readers": {"jsonl": "x:Y", "eml": "x:Y", "leaves": "leaving:X", "instance": "foundry_examples.mail:MailSource", "missing": "foundry_examples.mail:NONE"},
    "statistics": {"wrong": "foundry_examples.compression:measure", "cls": "pipeline.measure.added:Statistic"},
    "evaluation_sets": {"csv": "x:Y", "fmt": "foundry_examples.mail:EML"},
    "optimizers": {"stable_adamw": "x:Y", "inst": "foundry_examples.lion:__doc__"},
    "attention": {"sdpa": "x:Y", "cls": "model.attention:AttentionKernel"},
}  # fmt: skip
USES = r"""
import sys, yaml
from pathlib import Path
from jobs.recipe import load_recipe
from kernel.extensions import ExtensionError
from pipeline.workdir.errors import UserError
whole = yaml.safe_load(Path(sys.argv[1]).read_text())
for change in yaml.safe_load(sys.argv[2]):
    path = Path(sys.argv[1]).with_name("changed.yaml")
    path.write_text(yaml.safe_dump({**whole, **change}))
    try:
        load_recipe(path)
    except (ExtensionError, UserError) as error:
        print(error)
    else:
        print("taken")
"""


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples, beside a package none of whose entry points can be had."""
    folder = tmp_path_factory.mktemp("disturbed")
    install_examples(folder)
    (folder / "leaving.py").write_text("import sys\nsys.exit(3)\n")
    install("late", {f"encoder_foundry.{group}": points for group, points in BAD_POINTS.items()}, folder)
    return folder


def test_an_entry_point_that_cannot_be_had_stops_the_recipes_that_use_it_and_no_other(disturbed: Path, tmp_path: Path) -> None:
    source = {"name": "a", "domain": "mail", "format": "jsonl", "path": "x"}
    latex = {**source, "format": "latex"}
    plain: dict[str, Any] = {"sources": [latex], "filter": {}, "contamination": None, "training": {}}
    sets = [{"name": "a", "format": "csv", "path": "x"}]
    built_in, reserved = ": the name is built in; ", ": a rule cannot have this name, which means something else in Python; "
    left, not_there = ": cannot be imported (SystemExit: 3); ", ": cannot be imported (AttributeError: "
    cases: list[tuple[dict[str, Any], str, str]] = [
        (plain, "", "taken"),
        ({**plain, "filter": {"mail": {"gopher_quality": {}, "links": {}}}}, "", "taken"),
        ({**plain, "sources": [{**latex, "encodign": "x"}]}, "", "changed.yaml: sources.0.encodign: unknown key; did you mean `encoding`?"),
        *(
            ({**plain, "filter": {"mail": {name: {}}}}, f"rules: {name} = x:Y", reserved)
            for name in BAD_POINTS["rules"]
            if name not in ("c4", "leaves")
        ),
        ({**plain, "filter": {"mail": {"c4": {}}}}, "rules: c4 = x:Y", built_in),
        ({**plain, "filter": {"mail": {"leaves": {}}}}, "rules: leaves = leaving:X", left),
        ({**plain, "sources": [source]}, "readers: jsonl = x:Y", built_in),
        ({**plain, "sources": [{**source, "format": "eml"}]}, "readers: eml = x:Y", ": package foundry-examples adds this name too; "),
        ({**plain, "sources": [{**source, "format": "leaves"}]}, "readers: leaves = leaving:X", left),
        ({**plain, "sources": [{**source, "format": "missing"}]}, "readers: missing = foundry_examples.mail:NONE", not_there),
        (
            {**plain, "sources": [{**source, "format": "instance"}]},
            "readers: instance = foundry_examples.mail:MailSource",
            ": must be an instance of pipeline.readers.Format, not the class foundry_examples.mail.MailSource; ",
        ),
        (
            {**plain, "measure": {"statistics": ["wrong"]}},
            "statistics: wrong = foundry_examples.compression:measure",
            ": must be an instance of pipeline.measure.added.Statistic, not an instance of builtins.function; ",
        ),
        (
            {**plain, "measure": {"statistics": ["cls"]}},
            "statistics: cls = pipeline.measure.added:Statistic",
            ": must be an instance of pipeline.measure.added.Statistic, not the class pipeline.measure.added.Statistic; ",
        ),
        ({**plain, "contamination": {"sets": sets}}, "evaluation_sets: csv = x:Y", built_in),
        (
            {**plain, "contamination": {"sets": [{**sets[0], "format": "fmt"}]}},
            "evaluation_sets: fmt = foundry_examples.mail:EML",
            ": must be a class below pipeline.contamination.sets.EvaluationSet, not an instance of pipeline.readers.Format; ",
        ),
        ({**plain, "training": {"optimizer": "lion"}}, "", "taken"),
        (
            {**plain, "training": {"optimizer": "inst"}},
            "optimizers: inst = foundry_examples.lion:__doc__",
            ": must be a class below trainer.optimizers.OptimizerConfig, not an instance of builtins.str; ",
        ),
        ({**plain, "training": {"optimizer": "lion", "attention": "sdpa"}}, "attention: sdpa = x:Y", built_in),
        (
            {**plain, "training": {"optimizer": "lion", "attention": "cls"}},
            "attention: cls = model.attention:AttentionKernel",
            ": must be an instance of model.attention.AttentionKernel, not the class model.attention.AttentionKernel; ",
        ),
        ({**plain, "training": {"optimizer": "stable_adamw"}}, "optimizers: stable_adamw = x:Y", built_in),
    ]
    changes = [
        {**{"training": {"optimizer": "lion"}}, **change, "training": change["training"] or {"optimizer": "lion"}} for change, _, _ in cases
    ]
    done = python("-W", "error::UserWarning", "-c", USES, recipe_of(tmp_path), yaml.safe_dump(changes), installed=disturbed)
    assert done.returncode == 0, done.stderr
    for line, (_, place, message) in zip(done.stdout.splitlines(), cases, strict=True):
        if place:
            assert line.startswith(f"package late, entry point encoder_foundry.{place}{message}"), line
        else:
            assert line.endswith(message), line


def test_an_entry_point_that_cannot_be_had_disturbs_no_other_command(disturbed: Path, tmp_path: Path) -> None:
    for command in (["schema"], ["recipes"], ["--help"]):
        done = python("-m", "jobs.cli", *command, installed=disturbed, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), command
    schema = json.loads(python("-m", "jobs.cli", "schema", installed=disturbed).stdout)
    assert "links" in schema["$defs"]["Rules"]["properties"]
    assert "leaves" in schema["$defs"]["Rules"]["properties"], "of which nothing is known"
    done = python("-m", "jobs.cli", "diff", tmp_path / "none", tmp_path, installed=disturbed, cwd=tmp_path)
    assert done.stderr == "foundry: none: no such folder; give the workdirs of two runs\n"
    done = python("-c", "from jobs.reference import reference\nprint(reference())", installed=disturbed)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_an_uninstalled_package_added_is_unknown_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "installed").mkdir()
    recipe = recipe_of(tmp_path)
    plain: dict[str, Any] = {
        "sources": [{"name": "a", "domain": "mail", "format": "text", "path": "x"}],
        "measure": {},
        "filter": {},
        "contamination": None,
        "training": {},
    }
    hinted = "if a package adds it, install that package here"
    cases: list[tuple[dict[str, Any], str]] = [
        ({"sources": [{"name": "mail", "domain": "mail", "format": "eml", "path": "x"}]}, "sources.0.format: there are html, "),
        (
            {"measure": {"statistics": ["compression"]}},
            "measure.statistics: no statistic is named compression; no installed package adds one",
        ),
        ({"filter": {"mail": {"links": {}}}}, "filter.mail.links: unknown key; known here: url, "),
        ({"contamination": {"sets": [{"name": "moons", "format": "quiz", "path": "x"}]}}, "contamination.sets.0.format: there are html, "),
        ({"training": {"optimizer": "lion"}}, "training.optimizer.name: there are stable_adamw, adamw, muon, not 'lion'"),
        ({"training": {"attention": "masked"}}, "training.attention: no kernel is named masked; known here: auto, "),
    ]
    changes = yaml.safe_dump([{**plain, **change} for change, _ in cases])
    done = python("-c", USES, recipe, changes, installed=tmp_path / "installed")
    assert done.returncode == 0, done.stderr
    for line, (_, message) in zip(done.stdout.splitlines(), cases, strict=True):
        assert f": {message}" in line
        assert hinted in line


def test_what_a_recipe_gets_wrong_about_them_is_one_line(installed: Path, tmp_path: Path) -> None:
    source = {"name": "a", "domain": "mail", "format": "eml", "path": "x"}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"sources": [{**source, "delimiter": ";"}]}, "sources.0.delimiter: is a key of format csv and huggingface, not of eml"),
        ({"sources": [{**source, "qouted": True}]}, "sources.0.qouted: unknown key; did you mean `quoted`?"),
        ({"measure": {"statistics": ["compresion"]}}, "measure.statistics: no statistic is named compresion; did you mean `compression`?"),
        ({"filter": {"mail": {"links": {"max_link": 1}}}}, "filter.mail.links.max_link: unknown key; did you mean `max_links`?"),
        ({"filter": {"mail": {"link": {}}}}, "filter.mail.link: unknown key; did you mean `links`?"),
        (
            {"training": {"optimizer": "lyon"}},
            "training.optimizer.name: there are stable_adamw, adamw, muon, lion, not 'lyon'; did you mean `lion`?",
        ),
        ({"training": {"optimizer": {"name": "lion", "blend": 2}}}, "training.optimizer.blend: Input should be less than 1, not 2"),
    ]
    done = python("-c", USES, recipe_of(tmp_path), yaml.safe_dump([change for change, _ in cases]), installed=installed)
    assert done.returncode == 0, done.stderr
    for line, (_, message) in zip(done.stdout.splitlines(), cases, strict=True):
        assert message in line


def test_the_guide_shows_the_files_that_are_tested() -> None:
    shown = re.findall(r"^`([\w./]+)`:\n\n```(?:python|toml)\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    for name, code in shown:
        assert code == (PACKAGE / name).read_text(encoding="utf-8"), name
    files = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*") if path.suffix in (".py", ".toml")}
    assert {name for name, _ in shown} == files - {"foundry_examples/__init__.py"}
