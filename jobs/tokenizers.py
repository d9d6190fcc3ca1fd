"""`foundry tokenizer`: tokenizers compared on held-out documents, and a text's tokens on the terminal."""

from __future__ import annotations

import io
import json
import math
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zstandard
from rich.table import Table
from rich.text import Text

from jobs.console import console, number
from pipeline.dataset import Workdir
from pipeline.documents import DOCUMENTS
from pipeline.errors import UserError
from pipeline.mixing import SPLIT, VALIDATION
from pipeline.tokens import cut_texts
from tokenizer import Encoder
from tokenizer.judge import ALL, Judged, judge, page, shown

_MOST_BYTES = 8 << 20  # of text in each domain, unless told otherwise: what `tokenizers` encodes in seconds
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
        raise UserError(f"{workdir.uri}: no document is held out; raise mix.validation_share, or give --texts")
    return dict(sorted(groups.items(), key=lambda item: (item[0] != ALL, ":" in item[0], item[0]))), code


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as raw:
            stream = zstandard.ZstdDecompressor().stream_reader(raw) if path.suffix == ".zst" else raw
            yield from io.TextIOWrapper(stream, encoding="utf-8")
    except (OSError, UnicodeDecodeError, zstandard.ZstdError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give JSON Lines with `text`, plain or .zst") from error


def from_files(paths: Sequence[Path], most: int = _MOST_BYTES) -> tuple[Groups, list[str]]:
    """Texts of JSON Lines files with `text`: a group for each file, and for each `language` in it."""
    groups: Groups = {ALL: []}
    code: list[str] = []
    for path in paths:
        name, size = path.name.split(".")[0], 0
        for line_number, line in enumerate(_lines(path), 1):
            try:
                record = json.loads(line)
                text, language = record["text"], record.get("language")
                size += len(text)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(f"{path}:{line_number}: not a JSON object with `text` ({error!r})") from error
            groups[ALL].append(text)
            groups.setdefault(name, []).append(text)
            if language:
                groups.setdefault(f"{name}: {language}", []).append(text)
            if "code" in str(path):
                code.append(text)
            if size > most:
                break
    if not groups[ALL]:
        raise UserError(f"{', '.join(map(str, paths))}: no texts in there; give JSON Lines with `text`")
    return groups, code


def installed() -> list[Path]:
    """The tokenizer.json files that installed packages ship."""
    return sorted(Path(sysconfig.get_path("purelib")).glob("**/*tokenizer*.json"))


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
        out.add_column(f"{one.name} ({one.vocab_size:,})", justify="right")
    for group, first in judged[0].groups.items():
        title = f"{group} ({first.texts:,} documents, {number(first.bytes)}B): bytes a token"
        out.add_row(title, *(f"{one.groups[group].bytes_per_token:.3f}" for one in judged))
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


def show_tokens(folder: Path, text: str) -> None:
    """A text's tokens in colour, and their ids."""
    encoder = Encoder(folder, compare=False)
    tokens, line = shown(encoder, text), Text()
    for index, token in enumerate(tokens):
        line.append(token.text.replace("\n", "⏎\n"), style=f"black {_SHADES[index % len(_SHADES)]}" if console.is_terminal else "")
        if not console.is_terminal:
            line.append("|")
    console.print(line)
    console.print(" ".join(str(token.number) for token in tokens), soft_wrap=True)
    console.print(f"{len(tokens)} tokens, {len(text.encode()) / max(1, len(tokens)):.2f} bytes a token")
