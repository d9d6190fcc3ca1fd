"""Jupyter notebooks as light scripts: code as it is, text as comments, outputs left out (as in The Stack v2's notebooks, converted
by Jupytext's light format; Lozhkov et al. 2024, arXiv 2402.19173, section 2.3)."""

from __future__ import annotations

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


def script(text: str) -> tuple[str, str]:
    """A notebook (format 3 or 4) as a script, and the script's language. Raises `ValueError` where it is no notebook.

    Cells are parted by a blank line. Markdown and raw text become comments, one a line; lines of IPython's own (`%magic`, `!shell`) too,
    so that the script is one.
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
        if cell.get("cell_type") == "code":
            lines = [f"{comment} {line}" if line.lstrip()[:1] in ("%", "!") and comment != "%" else line for line in body.split("\n")]
        else:
            lines = [f"{comment} {line}".rstrip() for line in body.split("\n")]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + ("\n" if parts else ""), language
