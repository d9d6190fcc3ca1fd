"""`foundry tokenizer`: tokenizers compared on held-out documents, and a text's tokens on the terminal."""

from __future__ import annotations

import io
import json
import math
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zstandard
from rich.table import Table
from rich.text import Text

from jobs.console import console, number
from pipeline.mix.split import SPLIT, VALIDATION
from pipeline.mix.tokens import cut_texts
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.documents import DOCUMENTS
from pipeline.workdir.errors import UserError
from tokenizer import Encoder
from tokenizer.judge import ALL, Judged, judge, page, shown

_MOST_BYTES = 8 << 20  # of text in each domain, unless told otherwise: what `tokenizers` encodes in seconds
_HEAD = 4096  # bytes of a JSON file; `tokenizers` writes `added_tokens` within the first few hundred
_SHADES = ("on #cfe3f5", "on #fbe3bd", "on #cdeadd", "on #f3d6e6")
Groups = dict[str, list[str]]


def held_out(workdir: Workdir, most: int = _MOST_BYTES) -> tuple[Groups, list[str]]:
    """Validation texts by domain and by natural language, and those of code. Raises `UserError` where none is held out."""
    documents = workdir.require(DOCUMENTS)
    groups: Groups = {ALL: []}
    code: list[str] = []
    sizes: dict[str, int] = {}
    for entry in workdir.require(SPLIT).partitions:
        split = workdir.read_table(SPLIT, entry, ["domain", "split", "cuts"])
        rows = np.flatnonzero(np.asarray(pc.fill_null(pc.equal(split["split"], VALIDATION), False)))
        partition = documents.by_name[entry.name]
        languages = workdir.read_table(DOCUMENTS, partition, ["language"])["language"].take(pa.array(rows)).to_pylist()
        domains = split["domain"].take(pa.array(rows)).to_pylist()
        texts = cut_texts(workdir, partition, split["cuts"], rows)
        for domain, language, text in zip(domains, languages, texts.to_pylist(), strict=True):
            if sizes.get(domain, 0) > most:
                continue
            sizes[domain] = sizes.get(domain, 0) + len(text)
            groups[ALL].append(text)
            groups.setdefault(domain, []).append(text)
            if language:
                groups.setdefault(f"{domain}: {language}", []).append(text)
            if domain == "code":
                code.append(text)
    if not groups[ALL]:
        raise UserError(f"{workdir.shown}: no document is held out; raise mix.validation_share, or give --texts")
    return dict(sorted(groups.items(), key=lambda item: (item[0] != ALL, ":" in item[0], item[0]))), code


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as raw:
            stream = zstandard.ZstdDecompressor().stream_reader(raw) if path.suffix == ".zst" else raw
            yield from io.TextIOWrapper(stream, encoding="utf-8")
    except (OSError, UnicodeDecodeError, zstandard.ZstdError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give JSON Lines with `text`, plain or .zst") from error


def _is_text(value: Any) -> bool:
    """Whether this is a string that UTF-8 can hold: JSON can escape half of a surrogate pair, which no tokenizer encodes."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _record(line: str) -> tuple[str, str | None]:
    """The text and the language of a line. Raises `ValueError` that says what is wrong with it."""
    try:
        record = json.loads(line.rstrip())
    except json.JSONDecodeError as error:  # whose own message counts lines within this one
        raise ValueError(f"not JSON ({error.msg} at column {error.colno})") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON that can be read ({error})") from error
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    if "text" not in record:
        raise ValueError("no `text`")
    text, language = record["text"], record.get("language")
    for name, value in (("text", text), ("language", "" if language is None else language)):
        if not _is_text(value):
            raise ValueError(f"`{name}` is {'cut in the middle of a surrogate pair' if isinstance(value, str) else 'not a string'}")
    return text, language


def from_files(paths: Sequence[Path], most: int = _MOST_BYTES) -> tuple[Groups, list[str]]:
    """Texts of JSON Lines files with `text`: a group for each file, and for each `language` in it. Blank lines are skipped.

    Raises `UserError` naming the line that is wrong.
    """
    groups: Groups = {ALL: []}
    code: list[str] = []
    for path in paths:
        name, size = path.name.split(".")[0], 0
        for line_number, line in enumerate(_lines(path), 1):
            if not line.strip():
                continue
            try:
                text, language = _record(line)
            except ValueError as error:
                raise UserError(
                    f'{path}:{line_number}: {error}; a line is an object such as {{"text": "…", "language": "en"}}; mend it or leave it out'
                ) from error
            size += len(text)
            groups[ALL].append(text)
            groups.setdefault(name, []).append(text)
            if language:
                groups.setdefault(f"{name}: {language}", []).append(text)
            if "code" in path.name:
                code.append(text)
            if size > most:
                break
    if not groups[ALL]:
        raise UserError(f"{', '.join(map(str, paths))}: no texts in there; give JSON Lines with `text`")
    return groups, code


def _is_tokenizer(path: Path) -> bool:
    """Whether a JSON file is a tokenizer: by its name, else by what is at its top level."""
    if not path.is_file() or path.name == "tokenizer_config.json":
        return False
    if path.name == "tokenizer.json":
        return True
    try:
        with path.open("rb") as file:
            if b'"added_tokens"' not in file.read(_HEAD):  # most JSON files are none, and some are large
                return False
        body = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):  # a file that cannot be read is no tokenizer to compare with
        return False
    return isinstance(body, dict) and {"model", "added_tokens"} <= body.keys()


def installed() -> list[Path]:
    """The tokenizers that installed packages ship. Raises `UserError` where there are none."""
    site = Path(sysconfig.get_path("purelib"))
    found = sorted(path for path in site.glob("**/*.json") if _is_tokenizer(path))
    if not found:
        raise UserError(f"{site}: no installed package ships a tokenizer; leave out --installed, or give --with FOLDER")
    return found


def _name(path: Path) -> str:
    return path.parent.name if path.name == "tokenizer.json" else f"{path.parent.name}/{path.stem}" if path.suffix == ".json" else path.name


def compare(paths: Sequence[Path], groups: Groups, code: Sequence[str]) -> list[Judged]:
    """The figures of each tokenizer. Raises `TokenizerError` for one that cannot be loaded."""
    samples = {
        "Prose": "The committee's 2024 report didn't mention 1,234,567 unaffiliated volunteers; naïve, isn't it? — Ελληνικά, 漢字, हिन्दी.",
        "Code": "def parse_header(self, raw: bytes) -> dict[str, int]:\n    if not raw:\n        return {}\n"
        '    for index, line in enumerate(raw.split(b"\\r\\n")):\n        self.max_line_length = max(4096, len(line))\n',
    }
    for group, texts in groups.items():
        if group != ALL and ":" not in group:
            samples[f"Held out: {group}"] = texts[0][:600]
    found: list[Judged] = []
    for path in paths:
        name = _name(path)
        taken = {one.name for one in found}
        encoder = Encoder(path, parallel=True, compare=False)
        found.append(judge(name if name not in taken else str(path), encoder, groups, code, samples))
    return found


def table(judged: Sequence[Judged]) -> Table:
    """The figures that matter most, for a terminal."""
    out = Table(box=None, pad_edge=False, header_style="bold")
    out.add_column("")
    for one in judged:
        out.add_column(Text(f"{one.name} ({one.vocab_size:,})"), justify="right")  # as Text, for names may look like markup
    for group, first in judged[0].groups.items():
        title = f"{group} ({first.texts:,} documents, {number(first.bytes)}B): bytes a token"
        out.add_row(Text(title), *(f"{one.groups[group].bytes_per_token:.3f}" for one in judged))
    rows = [
        ("words a token", [f"{1 / one.groups[ALL].tokens_per_word:.3f}" for one in judged]),
        ("Rényi efficiency", [f"{one.groups[ALL].renyi_efficiency:.4f}" for one in judged]),
        ("vocabulary used", [f"{one.groups[ALL].used_share:.1%}" for one in judged]),
        ("single-byte fallbacks", [f"{one.groups[ALL].fallback_share:.3%}" for one in judged]),
        ("tokens of an identifier", ["–" if math.isnan(one.identifier_tokens) else f"{one.identifier_tokens:.2f}" for one in judged]),
        ("tokens of a number of 6 digits", [f"{one.number_tokens[6]:.2f}" for one in judged]),
        ("tokens of 8 spaces of indentation", [f"{one.indent_tokens['8 spaces']:.0f}" for one in judged]),
    ]
    for name, values in rows:
        out.add_row(name, *values)
    return out


def report(paths: Sequence[Path], groups: Groups, code: Sequence[str], about: str, target: Path) -> None:
    """Compare tokenizers: the table on the console, `comparison.json` and `comparison.html` in `target`."""
    judged = compare(paths, groups, code)
    console.print(table(judged))
    target.mkdir(parents=True, exist_ok=True)
    body = json.dumps({"about": about, "tokenizers": [one.to_json() for one in judged]}, indent=1, ensure_ascii=False)
    (target / "comparison.json").write_text(body + "\n", encoding="utf-8")
    (target / "comparison.html").write_text(page(judged, about), encoding="utf-8")
    console.print(f"report: {target / 'comparison.html'}", soft_wrap=True)


def _given(text: str | None) -> str:
    """The text, or what is on standard input. Raises `UserError` where it is not UTF-8."""
    try:
        found = sys.stdin.read() if text is None else text
        found.encode()  # by locale, bytes that are not UTF-8 come as lone surrogates or as an error of decoding
    except UnicodeError as error:
        place = "standard input" if text is None else "the text"
        raise UserError(f"tokenizer encode: {place} is not UTF-8; convert it first, for example with iconv") from error
    return found


def show_tokens(folder: Path, given: str | None) -> None:
    """The tokens of a text, or of what is on standard input, in colour, and their ids."""
    text = _given(given)
    encoder = Encoder(folder, compare=False)
    tokens, line = shown(encoder, text), Text()
    for index, token in enumerate(tokens):
        line.append(token.text.replace("\n", "⏎\n"), style=f"black {_SHADES[index % len(_SHADES)]}" if console.is_terminal else "")
        if not console.is_terminal:
            line.append("|")
    console.print(line)
    console.print(" ".join(str(token.number) for token in tokens), soft_wrap=True)
    console.print(f"{len(tokens)} tokens, {len(text.encode()) / max(1, len(tokens)):.2f} bytes a token")
