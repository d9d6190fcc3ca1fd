"""Recipes: what is wrong is one line that names the file, the field and the remedy."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.recipe import Recipe, load_recipe, resolve_workdir
from jobs.yaml_file import read_yaml
from model import ClassicBertConfig, ModernBertConfig, masked_lm
from model.attention import KERNELS
from pipeline.filters.check import decide
from pipeline.filters.gopher import GopherQuality
from pipeline.measure.language import detect
from pipeline.measure.stage import NUMBERS, measure_text
from pipeline.readers import FORMATS, SourceConfig
from pipeline.readers.config import RECORD_FIELDS
from pipeline.workdir.errors import UserError
from tests.profiles import share, thorough

RECIPES = Path(__file__).parents[2] / "recipes"
LEAST: dict[str, Any] = {
    "name": "least",
    "workdir": "work",
    "sources": [{"name": "mine", "domain": "web", "format": "jsonl", "path": "data/*.jsonl"}],
    "phases": [{"name": "only", "tokens": 1000}],
}
BERT: dict[str, Any] = {"architecture": "bert"}


def source(**change: Any) -> dict[str, Any]:
    return {"sources": [{**LEAST["sources"][0], **change}]}


def load(tmp_path: Path, change: dict[str, Any]) -> Any:
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump({**LEAST, **change}))
    return load_recipe(path)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_recipe_of_ours_is_sound(path: Path) -> None:
    assert load_recipe(path).name


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_schema_for_editors_takes_every_recipe_of_ours(path: Path) -> None:
    validator = pytest.importorskip("jsonschema").Draft202012Validator(Recipe.model_json_schema())
    validator.validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def test_the_schema_for_editors_tells_architectures_apart() -> None:
    schema = Recipe.model_json_schema()
    validator = pytest.importorskip("jsonschema").Draft202012Validator({"$defs": schema["$defs"], **schema["properties"]["model"]})
    recipes = [load_recipe(path).model.__dict__ for path in RECIPES.glob("*.yaml")]
    for model in ({}, {"layers": 3}, {"architecture": "modernbert"}, BERT, {**BERT, "dropout": 0.0}, *recipes):
        validator.validate(model)
    for model in ({**BERT, "window": 64}, {"dropout": 0.1}, {"architecture": "gpt"}):
        assert not validator.is_valid(model)


def test_the_readme_shows_the_recipe_for_own_data_as_it_is() -> None:
    assert (RECIPES / "own-data.yaml").read_text(encoding="utf-8") in (RECIPES.parent / "README.md").read_text(encoding="utf-8")


def test_the_recipe_for_a_classic_bert_has_the_data_of_the_one_for_own_data_and_a_model_of_its_size() -> None:
    own, bert = (yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8")) for name in ("own-data", "bert"))
    assert {key for key in own | bert if own.get(key) != bert.get(key)} == {"name", "model"}
    with torch.device("meta"):
        models = [masked_lm(load_recipe(RECIPES / f"{name}.yaml").model) for name in ("own-data", "bert")]
    sizes = [sum(value.numel() for name, value in model.named_parameters() if "embeddings" not in name) for model in models]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)


def test_the_recipe_for_own_data_keeps_text_in_each_language_that_it_allows() -> None:
    german = (
        "Das Haus stand am Ende der Straße, und seit vielen Jahren hatte niemand mehr darin gewohnt. Als die ersten Stürme des Frühlings "
        "kamen, stürzte das Dach mit einem Lärm ein, den man noch im Dorf hören konnte. Da begannen die Leute wieder davon zu sprechen und "
        "sich an jene zu erinnern, die es mit ihren eigenen Händen gebaut hatten."
    )
    english = (
        "The house stood at the end of the road, and nobody had lived in it for many years. When the first of the spring storms came, "
        "the roof gave way with a noise that could be heard in the village. It was then that the people began to talk of it again, and "
        "to remember those who had built it with their own hands."
    )
    families = load_recipe(RECIPES / "own-data.yaml").filter["web"].families()
    statistics = measure_text(pa.array([german, english, "x"]))
    languages, scores = detect([german, english, "x"])
    statistics = statistics.append_column("language", pa.array(languages)).append_column("language_score", pa.array(scores))
    assert decide(statistics, families)["keep"].to_pylist() == [True, True, False]
    assert decide(statistics, [GopherQuality()])["rule"].to_pylist()[0] == "gopher_stop_words"


def test_defaults_are_modernbert_base(tmp_path: Path) -> None:
    recipe = load(tmp_path, {})
    assert (recipe.model.layers, recipe.model.hidden_size, recipe.tokenizer.vocab_size) == (22, 768, 50_368)
    assert (recipe.training.mask_rate, recipe.training.beta2, recipe.near.bands, recipe.near.rows) == (0.3, 0.98, 14, 8)


def test_a_recipe_has_the_model_of_the_architecture_that_it_names(tmp_path: Path) -> None:
    assert load(tmp_path, {}).model == ModernBertConfig()
    assert load(tmp_path, {"model": {"architecture": "modernbert", "layers": 3}}).model == ModernBertConfig(layers=3)
    phases = [{"name": "only", "tokens": 1000, "length": 512}]
    assert load(tmp_path, {"model": {**BERT, "layers": 3}, "phases": phases}).model == ClassicBertConfig(layers=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"near": {"thresold": 0.8}}, r"r\.yaml: near\.thresold: unknown key; did you mean `threshold`\?$"),
        ({"neer": {}}, r"r\.yaml: neer: unknown key; did you mean `near`\?$"),
        ({"model": {"layer": 3}}, r"model\.layer: unknown key; did you mean `layers`\?"),
        ({"filter": {"web": {"gopher_quality": {"min_wrods": 3}}}}, r"min_wrods: unknown key; did you mean `min_words`\?"),
        (
            {"phases": [{"name": "a", "tokens": 10, "mix": {"weight": {}}}]},
            r"phases\.0\.mix\.weight: unknown key; did you mean `weights`\?",
        ),
        ({"near": {"threshold": 1.5}}, r"near\.threshold: Input should be less than or equal to 1, not 1\.5"),
        ({"sources": []}, "sources: List should have at least 1 item"),
        ({"sources": [{"name": "a", "domain": "web", "path": "x"}]}, r"sources\.0\.format: is missing; add it"),
        ({"model": {"heads": 7}}, r"model: model\.hidden_size 768 is not divisible by model\.heads 7"),
        ({"tokenizer": {"vocab_size": 1000}}, r"vocab_size: is 1000, not a multiple of 64"),
        ({"model": {"vocab_size": 64}}, r"model\.vocab_size is 64 and tokenizer\.vocab_size 50368; make them equal"),
        ({"filter": {"wbe": {}}}, r"filter\.wbe: no domain and no source is named wbe; did you mean `web`\?"),
        (
            {"phases": [{"name": "a", "tokens": 10, "mix": {"weights": {"math": 1}}}]},
            r"phases\.a\.mix: no domain and no source is named math; known here: mine, web",
        ),
        (
            {"filter": {"web": {"limits": {"wrods": {"min": 3}}}}},
            r"filter\.web\.limits: no statistic is named wrods; did you mean `words`\?$",
        ),
        ({"filter": {"web": {"limits": {"url": {"min": 3}}}}}, r"filter\.web\.limits: no statistic is named url; known here: .*words"),
        (
            {"phases": [{"name": "a", "tokens": 10, "mix": {"quality": {"web": {"statistic": "classifier_edu"}}}}]},
            r"phases\.a\.mix\.quality\.web: no statistic is named classifier_edu; known here: ",
        ),
        (
            {"ingest": {"personal": {"domains": {"wbe": ["ip"]}}}},
            r"ingest\.personal\.domains: no domain is named wbe; did you mean `web`\?$",
        ),
        ({"phases": [{"name": "a", "tokens": 10, "length": 9000}]}, "length: 9000 is over model.max_length 8192"),
        ({"sources": LEAST["sources"] * 2}, "two sources are named mine"),
        ({"near": {"thresold": 0.8, "bnads": 3}}, r"\(and 1 more\)"),
        ({"model": {"architecture": "gpt"}}, r"r\.yaml: model\.architecture: there are 'modernbert', 'bert', not 'gpt'$"),
        ({"model": {"architecture": ["bert"]}}, r"r\.yaml: model\.architecture: there are 'modernbert', 'bert', not \"\['bert'\]\"$"),
        ({"model": 7}, r"r\.yaml: model: Input should be a mapping, not 7$"),
        ({"model": {"layers": "many"}}, r"r\.yaml: model\.layers: Input should be a valid integer.*, not 'many'$"),
        ({"model": {**BERT, "layer": 3}}, r"r\.yaml: model\.layer: unknown key; did you mean `layers`\?$"),
        ({"model": {**BERT, "global_every": 3}}, r"r\.yaml: model\.global_every: unknown key; known here: vocab_size, .*, architecture$"),
        ({"model": {**BERT, "layers": "many"}}, r"r\.yaml: model\.layers: Input should be a valid integer.*, not 'many'$"),
        ({"model": {**BERT, "heads": 7}}, r"r\.yaml: model: model\.hidden_size 768 is not divisible by model\.heads 7$"),
        ({"model": BERT}, r"phases\.only\.length: 1024 is over model\.max_length 512$"),
        (
            {"model": BERT, "phases": [{"name": "only", "tokens": 1000, "length": 512, "global_theta": 10_000}]},
            r"phases\.only\.global_theta: a classic BERT has no rotary embedding; leave it out$",
        ),
        (
            {"model": {**BERT, "max_length": 1024}, "training": {"attention": "sdpa"}},
            r"training\.attention: sdpa is a kernel of ModernBERT's; a classic BERT has its own, leave it out$",
        ),
        ({"training": {"attention": "spda"}}, r"r\.yaml: training\.attention: no kernel is named spda; did you mean `sdpa`\?$"),
        (
            {"training": {"attention": "best"}},
            r"training\.attention: no kernel is named best; known here: auto, flash4, flash3, flash2, varlen, flex, sdpa, matmul; if a package adds it, install that package here$",
        ),
        ({"training": {"compile": True, "zero_stage": 3}}, r"r\.yaml: training: compile: not with zero_stage 3"),
        (
            source(delimiter=";", join="file"),
            r"sources\.0\.delimiter: is a key of format csv and huggingface, not of jsonl; leave it out; the keys of jsonl alone are "
            r"`encoding`, `fields` \(and 1 more\)$",
        ),
        (source(feilds={}), r"sources\.0\.feilds: unknown key; did you mean `fields`\?$"),
        (source(fields={"titel": "key"}), r"sources\.0\.fields: a record has no `titel`; did you mean `title`\?$"),
        (
            source(format="csv", fields={"text": "a", "author": "b"}),
            r"sources\.0\.fields: a record has no `author`; known here: id, text, .*date$",
        ),
        (
            {"contamination": {"sets": [{"name": "a", "format": "jsonl", "path": "x", "fields": {"txt": "question"}}]}},
            r"contamination\.sets\.0\.fields: a record has no `txt`; did you mean `text`\?$",
        ),
        (source(format="jsonnl"), r"sources\.0\.format: there are html, .*, rst, not 'jsonnl'; did you mean `jsonl`\?$"),
        (source(max_record_bytes="x"), r"sources\.0\.max_record_bytes: Input should be a valid integer.*, not 'x'$"),
        (source(encoding="klingon"), r"sources\.0\.encoding: klingon is no charset"),
        (
            {"contamination": {"sets": [{"name": "a", "format": "jats", "path": "x", "columns": ["question"]}]}},
            r"contamination\.sets\.0\.columns: is a key of format json, jsonl, parquet, csv and huggingface, not of jats; leave it out$",
        ),
    ],
)
def test_what_is_wrong_is_named_with_a_remedy(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(tmp_path, change)
    assert "\n" not in str(caught.value)
    assert "r.yaml" in str(caught.value)


def test_a_limit_may_be_on_every_number_that_is_measured(tmp_path: Path) -> None:
    measured = measure_text(pa.array(["Some text."], pa.large_string()))
    numbers = {field.name for field in measured.schema if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)}
    names = {*numbers, "language_score", "year", "classifier_good"}
    assert {*NUMBERS, "classifier_good"} == names
    classifier = {"name": "good", "path": "model", "domains": ["web"]}
    bounds = {name: {"min": 0} for name in names}
    assert set(load(tmp_path, {"classifiers": [classifier], "filter": {"web": {"limits": bounds}}}).filter["web"].limits) == names


def test_every_attention_kernel_of_ours_may_be_named(tmp_path: Path) -> None:
    for name in ("auto", *KERNELS.built_in):
        assert load(tmp_path, {"training": {"attention": name}}).training.attention == name


def test_each_format_takes_its_own_keys_and_no_other_format_takes_them(tmp_path: Path) -> None:
    shared = set(SourceConfig.model_fields)
    for name, form in FORMATS.items():
        for owner, other in FORMATS.items():
            for key, field in other.settings.model_fields.items():
                if key in shared:
                    continue
                change = source(format=name, **{key: field.get_default(call_default_factory=True)})
                if key in form.settings.model_fields:
                    assert getattr(load(tmp_path, change).sources[0], key) == field.get_default(call_default_factory=True)
                else:
                    with pytest.raises(UserError, match=rf"sources\.0\.{key}: is a key of format .*{owner}.*, not of {name}; "):
                        load(tmp_path, change)


def test_the_schema_for_editors_tells_formats_apart() -> None:
    validator = pytest.importorskip("jsonschema").Draft202012Validator(Recipe.model_json_schema())
    validator.validate({**LEAST, **source(format="csv", delimiter=";")})
    assert not validator.is_valid({**LEAST, **source(delimiter=";")})
    assert not validator.is_valid({**LEAST, **source(format="jsonnl")})
    validator.validate({**LEAST, **source(fields=dict.fromkeys(RECORD_FIELDS, "x"))})
    assert not validator.is_valid({**LEAST, **source(fields={"titel": "x"})})


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    with pytest.raises(UserError, match="no such recipe"):
        load_recipe(path)
    path.write_text("a: [1, 2\nb: 3")
    with pytest.raises(UserError, match=r"r\.yaml:2: not YAML"):
        load_recipe(path)
    path.write_text("- a\n- b")
    with pytest.raises(UserError, match="a recipe is a mapping"):
        load_recipe(path)
    path.write_text("name: !!python/object/apply:os.system ['echo unsafe']")
    with pytest.raises(UserError, match="not YAML"):
        load_recipe(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        load_recipe(path)


GIVEN_TWICE = [
    ("name: a\nseed: 1\nname: b\n", "r.yaml:3: name: is given twice, in line 1 and in line 3; keep one of the two"),
    (
        "filter:\n  web: {length: {}}\nnear: null\nfilter: {}\n",
        "r.yaml:4: filter: is given twice, in line 1 and in line 4; keep one of the two",
    ),
    (
        "sources:\n- name: a\n- {path: x, name: b,\n   'path': y}\n",
        "r.yaml:4: sources.1.path: is given twice, in line 3 and in line 4; keep one of the two",
    ),
    ("filter: {web: {c4: {}, c4: null}}\n", "r.yaml:1: filter.web.c4: is given twice, in line 1; keep one of the two"),
    ("a: {0x10: 1,\n 16: 2}\n", "r.yaml:2: a.16: is given twice, in line 1 and in line 2; keep one of the two"),
    (
        '- - - {b: 1}\n    - c:\n        ? d\n        : {e: 1, "\\e": 1, "\\e": 2}\n',
        "r.yaml:4: 0.0.1.c.d.\\x1b: is given twice, in line 4; keep one of the two",
    ),
    ("a: &x {b: {c: 1, c: 2}}\nd: *x\n", "r.yaml:1: a.b.c: is given twice, in line 1; keep one of the two"),
]


@pytest.mark.parametrize(("text", "message"), GIVEN_TWICE)
def test_a_key_that_is_given_twice_is_refused_at_every_depth(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    assert str(caught.value) == f"{tmp_path}/{message}"


BOMB = "a: &a [x, x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(24))
UNREADABLE = [
    ("seed: " + "7" * 5000, r"r\.yaml:1: not YAML \('7{40}\.\.\.' is not a number; correct it, or put it in quotes if it is text\)$"),
    ("seed: 0x" + "f" * 5000, r"r\.yaml: seed: is a number beyond 9223372036854775807, the largest that a recipe can have$"),
    ("a:\n- [1, -1.0e+30]", r"r\.yaml: a\.0\.1: is a number beyond 9223372036854775807, the largest that a recipe can have$"),
    ("a: " + "[" * 3000 + "]" * 3000, r"r\.yaml: is nested too deep; "),
    ("a: " + "[" * 200 + "]" * 200, r"r\.yaml: is nested too deep; "),
    (BOMB, r"r\.yaml: has over 1,000,000 values; write it with fewer aliases"),
    ("a: !!timestamp x", r"r\.yaml:1: not YAML \('x' is not what its tag .*timestamp says; "),
    ("a: !!timestamp 2024-01-01", r"r\.yaml: a: is a date; write a text, a number, a list or a mapping$"),
    ("a: !!int x", r"r\.yaml:1: not YAML \('x' is not a number; "),
    ("a: !!bool x", r"r\.yaml:1: not YAML \('x' is not true or false; "),
    ("a: !!set {b, c}", r"r\.yaml: a: is a set; "),
    ("a: {1: b}", r"r\.yaml: a: has a key of type int, which is not text; put it in quotes$"),
    ("no: b", r"r\.yaml: has a key False, which is not text; put it in quotes$"),
    ("? [a, b]\n: c", r"r\.yaml:1: not YAML \(found unhashable key\)$"),
    ("a: b\x07", r"r\.yaml: not YAML \(special characters are not allowed\)$"),
    ("name: 'x" + "y" * 5000 + " z'", r"r\.yaml: name: String should match pattern .*, not 'xy{78}\.\.\. \(and 3 more\)$"),
]


@pytest.mark.parametrize(("text", "message"), UNREADABLE)
def test_what_yaml_or_a_recipe_cannot_hold_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load_recipe(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("format", sorted(FORMATS.built_in))
def test_a_size_that_no_memory_holds_is_refused(tmp_path: Path, format: str) -> None:
    for size in (2**31, 10**18, 2**63 - 1):
        with pytest.raises(UserError, match=r"sources\.0\.max_record_bytes: Input should be less than or equal to 2147483647, not \d+$"):
            load(tmp_path, source(format=format, max_record_bytes=size))
    assert load(tmp_path, source(format=format, max_record_bytes=2**31 - 1))


def test_a_key_shows_no_control_characters(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"r\.yaml: a\\x1b\[31m\\nb: unknown key; known here: name, ") as caught:
        load(tmp_path, {"a\x1b[31m\nb": 1})
    assert str(caught.value).isprintable()


def test_values_are_read_as_editors_read_yaml(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("[3e-4, -1E+2, .5e1, 1_0e3, 1e9, 2.50, 2024-99-99, 2024-01-31, e5, 1e, '3e-4', 1.0e-3, .inf, 12]")
    expected = [3e-4, -100, 5, 10_000, 10**9, 2.5, "2024-99-99", "2024-01-31", "e5", "1e", "3e-4", 0.001, float("inf"), 12]
    assert [(type(value), value) for value in read_yaml(path)] == [(type(value), value) for value in expected]


def scalars(schema: dict[str, Any], value: dict[str, Any], place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The places of all that is no section, below a dumped recipe's sections."""
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from scalars(schema, inner, (*place, key))
        else:
            yield (*place, key)


@pytest.mark.slow
def test_the_schema_for_editors_and_the_loader_agree_on_kinds(tmp_path: Path) -> None:
    schema = Recipe.model_json_schema()
    validator = pytest.importorskip("jsonschema").Draft202012Validator(schema)
    whole = load(tmp_path, {"near": {}, "lines": {}, "substrings": {}, "filter": {"web": {"length": {}, "language": {}}}}).model_dump(
        mode="json"
    )
    whole |= source(format="csv", quotes=False, delimiter=";")
    whole["contamination"] = {"sets": [{"name": "a", "format": "jsonl", "path": "x"}], "ngram": 9}
    whole["training"].pop("optimizer")
    kinds: list[Any] = ["5", 5, 5.5, True, "no", "text", None, [], [5], {}, {"x": 5}]
    path = tmp_path / "r.yaml"
    places = [*scalars(schema, {key: value for key, value in whole.items() if key not in ("sources", "phases")})]
    places += [("sources", 0, key) for key in whole["sources"][0]] + [("phases", 0, key) for key in whole["phases"][0] if key != "mix"]
    tried = [*product(places, kinds)]
    for place, kind in tried if thorough() else tried[::3]:  # of 11 kinds, so that each meets a third of the places
        if place == ("training", "zero_stage") and kind is True:  # which equals 1 for pydantic
            continue
        changed = copy.deepcopy(whole)
        within = changed
        for step in place[:-1]:
            within = within[step]
        within[place[-1]] = kind
        path.write_text(json.dumps(changed))
        try:
            load_recipe(path)
            refused = ""
        except UserError as error:
            refused = str(error)
        if not validator.is_valid(changed):
            assert refused, (place, kind)
        else:
            assert "Input should be a" not in refused, (place, kind, refused)


def test_what_is_merged_may_be_given_again_and_aliases_may_lead_back(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: &b\n  <<: *a\n  x: 3\nc: {<<: [*a, *b], y: 4}\n")
    found = read_yaml(path)
    assert (found["b"], found["c"]) == ({"x": 3, "y": 2}, {"x": 1, "y": 4})
    path.write_text("d: &d {e: [*d]}\n")
    with pytest.raises(UserError, match=r"r\.yaml: is nested too deep; write it with fewer lists and mappings in one another$"):
        load_recipe(path)


@settings(max_examples=share(0.3))
@given(
    st.recursive(
        st.integers(1 - 2**63, 2**63 - 1) | st.booleans() | st.text() | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_a_file_without_such_keys_is_read_as_pyyaml_reads_it(value: Any) -> None:
    text = yaml.safe_dump(value, default_style='"')
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.yaml"
        path.write_text(text)
        assert read_yaml(path) == yaml.safe_load(text)


def test_a_relative_workdir_in_a_ray_job_does_not_lie_in_the_copy_that_ray_deletes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_workdir("work") == str(tmp_path / "work")
    assert resolve_workdir("s3://bucket/run") == "s3://bucket/run"
    copy = tmp_path / "runtime_resources" / "working_dir_files"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("FOUNDRY_HOME", "/shared/home")
    assert resolve_workdir("work") == "/shared/home/work"
