"""Jupyter notebooks as light scripts: code as it is, text as comments, outputs left out (as in The Stack v2's notebooks, converted
by Jupytext's light format; Lozhkov et al. 2024, arXiv 2402.19173, section 2.3)."""

from __future__ import annotations

import re

from pipeline.readers.json_records import parse
from pipeline.readers.languages import KNOWN, MODES

_COMMENTS = {
    "R": "#",
    "Julia": "#",
    "Scala": "//",
    "C++": "//",
    "JavaScript": "//",
    "TypeScript": "//",
    "C#": "//",
    "F#": "//",
    "Java": "//",
    "Kotlin": "//",
    "Go": "//",
    "Rust": "//",
    "Haskell": "--",
    "SQL": "--",
    "Lua": "--",
    "MATLAB": "%",
    "Common Lisp": ";;",
    "Clojure": ";;",
    "Scheme": ";;",
    "OCaml": "//",
}
_KERNELS = {
    "ir": "R",
    "xcpp": "C++",
    "xeus": "C++",
    "ijavascript": "JavaScript",
    "tslab": "TypeScript",
    "bash": "Shell",
    "sos": "Python",
    "pyspark": "Python",
}


def _source(cell: object) -> str:
    value = cell.get("source", cell.get("input")) if isinstance(cell, dict) else None
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""


def _language(notebook: dict[str, object]) -> str:
    metadata = notebook.get("metadata")
    if isinstance(metadata, dict):
        for key in ("language_info", "kernelspec"):
            part = metadata.get(key)
            if isinstance(part, dict):
                for name in (part.get("name"), part.get("language")):
                    small = name.lower().rstrip("0123456789.-") if isinstance(name, str) else ""
                    for prefix, language in _KERNELS.items():
                        if small == prefix or small.startswith(prefix + "-") or (len(prefix) > 3 and small.startswith(prefix)):
                            return language
                    if found := MODES.get(small) or KNOWN.get(small):
                        return found
    return "Python"


# Magics of cells that stay Python (IPython 9, ipykernel, line_profiler, memory_profiler, Spark and Colab).
_PYTHON_CELLS = frozenset({
    "time", "timeit", "capture", "prun", "python", "python3", "px", "autopx", "pypy", "memit", "mprun", "lprun", "snakeviz", "heat",
    "debug", "spark", "pyspark", "wandb", "scalene", "notify", "skip", "ipytest",
})  # fmt: skip
_CELL_MAGIC = re.compile(r"\s*%%([A-Za-z_][\w.]*)")
# A line that begins with a magic or a command of the shell, or that assigns what one gives, or that asks for help.
_MAGIC = re.compile(r"\s*(?:[%!?]|[\w.,\[\]'\" ()]{1,200}=\s*(?:!|%[A-Za-z_]))|\s*[\w.]{1,200}\?{1,2}\s*\Z")
# What matters to whether a line begins a statement: strings, comments, brackets, and lines that go on.
_PIECES = re.compile(r"\"\"\"|\'\'\'|\\.|[\"'#()\[\]{}]|\\\Z")


def _is_of_another_language(body: str) -> bool:
    """Whether a cell begins with a magic after which it is no Python."""
    found = _CELL_MAGIC.match(body)
    return found is not None and found[1] not in _PYTHON_CELLS


def _without_magics(lines: list[str]) -> list[str]:
    """Lines of Python with IPython's own made comments, as Jupytext does; not within strings, brackets, or a line that goes on."""
    given: list[str] = []
    quote, depth, goes_on, is_magic = "", 0, False, False
    for line in lines:
        begins = not quote and not depth and not goes_on
        if (begins and _MAGIC.match(line)) or (goes_on and is_magic):
            indent = line[: len(line) - len(line.lstrip())]
            given.append(f"{indent}# {line.lstrip()}")
            goes_on = is_magic = line.endswith("\\")
            continue
        given.append(line)
        quote, depth, goes_on = _after(line, quote, depth)
    return given


def _after(line: str, quote: str, depth: int) -> tuple[str, int, bool]:
    """What is open after a line: a string (by its quotation mark), how many brackets, and whether the line goes on."""
    for found in _PIECES.finditer(line):
        piece = found[0]
        if piece[0] == "\\":
            if found.end() == len(line) and len(piece) == 1:
                return quote, depth, True
        elif quote:
            quote = "" if piece == quote else quote
        elif piece == "#":
            break
        elif piece[0] in "\"'":
            quote = piece
        else:
            depth = max(0, depth + (1 if piece in "([{" else -1))
    return (quote if len(quote) == 3 else ""), depth, False


def script(text: str) -> tuple[str, str]:
    """A notebook (format 3 or 4) as a script, and the script's language. Raises `ValueError` where it is no notebook.

    Cells are parted by a blank line. Markdown and raw text become comments, one a line, so that the script is one. Of Python so do lines
    of IPython's own (`%magic`, `!shell`, `name?`), and cells that a magic hands to another language or a file (`%%bash`, `%%writefile`).
    """
    try:
        notebook = parse(text)
    except RecursionError:
        raise ValueError("JSON nested too deep") from None
    if not isinstance(notebook, dict):
        raise ValueError("a notebook is a JSON object")
    cells = notebook.get("cells")
    if cells is None and isinstance(sheets := notebook.get("worksheets"), list):  # format 3
        cells = [cell for sheet in sheets if isinstance(sheet, dict) and isinstance(sheet.get("cells"), list) for cell in sheet["cells"]]
    if not isinstance(cells, list):
        raise ValueError("a notebook has `cells`")
    language = _language(notebook)
    comment = _COMMENTS.get(language, "#")
    parts = []
    for cell in cells:
        body = _source(cell).strip("\n").replace("\r\n", "\n")
        if not body.strip():
            continue
        lines = body.split("\n")
        if cell.get("cell_type") != "code" or (language == "Python" and _is_of_another_language(body)):
            lines = [f"{comment} {line}".rstrip() for line in lines]
        elif language == "Python":
            lines = _without_magics(lines)
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + ("\n" if parts else ""), language
