"""Examples from files of every format are the same table; what is wrong with one is a line."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.errors import TrainerError
from trainer.tuning.config import AnswerConfig, ClassifyConfig, DenseConfig, PairConfig, RegressConfig, TagConfig, TaskConfig
from trainer.tuning.examples import DataConfig, read_examples

ROWS = [{"sentence": f'he said "{number}", and left', "gold": "ab"[number % 2], "more": number} for number in range(40)]


def as_jsonl(folder: Path) -> str:
    (folder / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return "x.jsonl"


def as_packed(folder: Path) -> str:
    (folder / "x.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(row) + "\n\n" for row in ROWS).encode()))
    return "x.jsonl.gz"


def as_parquet(folder: Path) -> str:
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table.set_column(1, "gold", table["gold"].dictionary_encode()), folder / "x.parquet")
    return "x.parquet"


def as_csv(folder: Path) -> str:
    with (folder / "x.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(ROWS[0]))
        writer.writeheader()
        writer.writerows(ROWS)
    return "x.csv"


def as_tsv(folder: Path) -> str:
    lines = ["\t".join(ROWS[0]), *("\t".join(map(str, row.values())) for row in ROWS)]
    (folder / "x.tsv").write_text("\r\n".join(lines) + "\r\n")
    return "x.tsv"


def as_saved(folder: Path) -> str:
    """As `datasets.save_to_disk` lays a dataset out: an Arrow stream, its state, and features with the names of classes."""
    place = folder / "saved"
    place.mkdir()
    table = pa.table({"sentence": [row["sentence"] for row in ROWS], "gold": ["ab".index(str(row["gold"])) for row in ROWS]})
    with pa.ipc.new_stream(str(place / "data-00000-of-00001.arrow"), table.schema) as stream:
        stream.write_table(table)
    (place / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    features = {"sentence": {"dtype": "string", "_type": "Value"}, "gold": {"names": ["a", "b"], "_type": "ClassLabel"}}
    (place / "dataset_info.json").write_text(json.dumps({"features": features}))
    return "saved"


@pytest.mark.parametrize("write", [as_jsonl, as_packed, as_parquet, as_csv, as_tsv, as_saved])
def test_every_format_gives_the_same_examples(tmp_path: Path, write: Callable[[Path], str]) -> None:
    config = DataConfig(path=write(tmp_path), columns={"text": "sentence", "label": "gold"}, validation_share=0.3, test_share=0.2)
    found = read_examples(config, ClassifyConfig(), tmp_path, seed=3).table
    assert found["text"].to_pylist() == [row["sentence"] for row in ROWS]
    assert found["label"].to_pylist() == [row["gold"] for row in ROWS]
    (tmp_path / "other").mkdir()
    as_jsonl(tmp_path / "other")
    again = read_examples(config.model_copy(update={"path": "other/x.jsonl"}), ClassifyConfig(), tmp_path, seed=3).table
    assert found["split"].to_pylist() == again["split"].to_pylist(), "that the draw goes by the text"
    assert set(found["split"].to_pylist()) == {"train", "validation", "test"}


def test_files_for_splits_and_a_column_of_splits(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.tsv").write_text(f"text {name}\t1.5\n")
    config = DataConfig(train="a.tsv", validation="b.tsv", test="c.tsv", names=["text", "label"])
    assert read_examples(config, RegressConfig(), tmp_path).table.to_pylist() == [
        {"text": f"text {name}", "label": "1.5", "split": split} for name, split in zip("abc", ("train", "validation", "test"), strict=True)
    ]
    (tmp_path / "d.jsonl").write_text("\n".join(json.dumps({"text": "t", "label": 1, "part": part}) for part in ("train", "dev", "test")))
    found = read_examples(DataConfig(path="d.jsonl", split="part"), RegressConfig(), tmp_path).table
    assert found["split"].to_pylist() == ["train", "validation", "test"]


def test_equal_texts_are_drawn_to_one_side(tmp_path: Path) -> None:
    rows = [{"query": f"q{number // 4}", "text": f"t{number}"} for number in range(200)]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for most in (None, 30):
        table = read_examples(DataConfig(path="x.jsonl", validation_share=0.4, most=most), DenseConfig(), tmp_path).table
        sides: dict[str, set[str]] = {}
        for row in table.to_pylist():
            sides.setdefault(row["query"], set()).add(row["split"])
        assert all(len(side) == 1 for side in sides.values())
        counts = [table["query"].to_pylist().count(query) for query in sides]
        assert set(counts) == {4}, "that a query keeps all its texts"


def test_rows_without_a_value_are_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "a", "label": "x"}\n{"text": "b"}\n{"text": null, "label": "y"}\n')
    found = read_examples(DataConfig(path="x.jsonl"), ClassifyConfig(), tmp_path)
    assert (len(found.table), found.left_out) == (1, 2)


def beir(folder: Path, *, qrels: dict[str, str] | None = None) -> Path:
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": f"d{n}", "title": f"T{n}", "text": f"text {n}"}) + "\n" for n in range(5))
    )
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": f"q{n}", "text": f"query {n}"}) + "\n" for n in range(3)))
    header = "query-id\tcorpus-id\tscore\n"
    for name, body in (qrels or {"train": "q0\td1\t1\nq0\td2\t2\n", "dev": "q1\td3\t1\n", "test": "q2\td4\t1\nq2\td0\t0\n"}).items():
        (folder / "qrels" / f"{name}.tsv").write_text(header + body)
    return folder


def test_a_beir_folder_is_queries_with_what_answers_them_and_all_texts_to_rank(tmp_path: Path) -> None:
    beir(tmp_path / "set")
    found = read_examples(DataConfig(path="set"), DenseConfig(), tmp_path)
    assert [tuple(row.values()) for row in found.table.to_pylist()] == [
        ("query 0", "T1 text 1", 1.0, "train"),
        ("query 0", "T2 text 2", 2.0, "train"),
        ("query 1", "T3 text 3", 1.0, "validation"),
        ("query 2", "T4 text 4", 1.0, "test"),
    ]
    assert len(found.candidates) == 5


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)


Case = tuple[TaskConfig, dict[str, Any], str]
BAD: dict[str, Case] = {
    "no file": (ClassifyConfig(), {"path": "none.jsonl"}, r"^data.path: .*none.jsonl: not there"),
    "no column": (ClassifyConfig(), {"path": "x.jsonl"}, r"^data.columns.text: .*x.jsonl has no column 'text'; it has: sentence, gold"),
    "near column": (
        ClassifyConfig(),
        {"path": "x.jsonl", "columns": {"text": "sentense", "label": "gold"}},
        r"has no column 'sentense'; did you mean `sentence`",
    ),
    "strange column": (
        ClassifyConfig(),
        {"path": "x.jsonl", "columns": {"txt": "sentence"}},
        r"^data.columns.txt: classify has no such column",
    ),
    "empty": (ClassifyConfig(), {"path": "empty.jsonl"}, r"has no column|has no example"),
    "no json": (ClassifyConfig(), {"path": "bad.jsonl"}, r"bad.jsonl: line 1 is no JSON"),
    "ragged": (ClassifyConfig(), {"path": "bad.tsv"}, r"bad.tsv: row 3 has 3 fields, and there are 2 columns"),
    "unknown": (ClassifyConfig(), {"path": "x.bin"}, r"x.bin: what is it\? set data.format"),
    "no qrels": (DenseConfig(), {"path": "noqrels"}, r"has no qrels/train.tsv, dev.tsv or test.tsv"),
    "no judgement": (DenseConfig(), {"path": "nothing"}, r"no judgement is above 0"),
    "strange judgement": (DenseConfig(), {"path": "strange"}, r"line 2 names a query or text that is not there: q9 d0 1"),
    "folder": (DenseConfig(), {"path": "plain"}, r"is neither a BEIR folder .* nor one of `datasets`"),
    "no start": (AnswerConfig(), {"path": "answers.jsonl"}, r"^data.columns.start: .* give the character"),
    "no split": (PairConfig(), {"path": "x.jsonl", "split": "part"}, r"^data.split: .* has no column 'part'"),
    "no words": (TagConfig(), {"path": "x.jsonl"}, r"^data.columns.words"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_a_line(tmp_path: Path, case: str) -> None:
    as_jsonl(tmp_path)
    write(tmp_path, "empty.jsonl", "")
    write(tmp_path, "bad.jsonl", "{nope\n")
    write(tmp_path, "bad.tsv", "text\tlabel\na\tb\na\tb\tc\n")
    write(tmp_path, "x.bin", "")
    write(tmp_path, "answers.jsonl", '{"query": "q", "text": "t", "answer": "t", "start": "first"}\n')
    (tmp_path / "plain").mkdir()
    beir(tmp_path / "nothing", qrels={"train": "q0\td0\t0\n"})
    beir(tmp_path / "strange", qrels={"train": "q9\td0\t1\n"})
    beir(tmp_path / "noqrels", qrels={"none": ""})
    task, settings, message = BAD[case]
    with pytest.raises(TrainerError, match=message) as error:
        read_examples(DataConfig(**settings), task, tmp_path)
    assert "\n" not in str(error.value)
