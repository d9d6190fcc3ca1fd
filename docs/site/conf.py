"""Sphinx's configuration of the site; `make docs` builds it from what docs/site/assemble.py puts together."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ["NUMBA_DISABLE_JIT"] = "1"  # so that kernels are plain functions, whose docstrings and arguments are seen

project = "Encoder Foundry"
copyright = "the Encoder Foundry authors, Apache License 2.0"
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["README.md"]  # index.md includes it
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]
html_theme = "furo"
html_title = "Encoder Foundry"
html_show_sourcelink = False
html_copy_source = False
html_static_path = [str(Path(__file__).parent / "static")]
html_css_files = ["site.css"]
pygments_style = "friendly"
pygments_dark_style = "monokai"

add_module_names = False
autodoc_default_options = {"members": True, "member-order": "bysource", "ignore-module-all": True, "exclude-members": "model_config"}
autodoc_mock_imports = ["deepspeed", "flash_attn", "flash_attn_interface", "triton"]
autodoc_typehints_format = "short"
toc_object_entries_show_parents = "hide"
maximum_signature_line_length = 100

_CODE = re.compile(r"``?([^`]+)``?")
_ARRAY = re.compile(r"~?(?:numpy\.)?ndarray\[tuple\[~?(?:typing\.)?Any, \.\.\.\], ~?(?:numpy\.)?dtype\[(~?[\w.]+)\]\]")
_ITEM = re.compile(r"^\s*(?:[-*]|\d+\.) ")


def _plain(line: str) -> str:
    """A line of a docstring as reStructuredText: code between backticks, and all that would be a mark elsewhere made plain."""
    parts = _CODE.split(line)  # text, code, text ...
    parts[::2] = [re.sub(r"([\\*|`]|_(?!\w))", r"\\\1", text) for text in parts[::2]]
    parts[1::2] = [f"\\ ``{code.strip()}``\\ " for code in parts[1::2]]
    return "".join(parts)


def _comments(thing: type) -> dict[str, str]:
    """The comments behind a class's fields, where shapes and units stand."""
    try:
        source = inspect.getsource(thing)
    except (OSError, TypeError):
        return {}
    return dict(re.findall(r"^    (\w+): [^#\n]+#\s*(.+)$", source, re.MULTILINE))


def _fields(thing: Any) -> list[str]:
    """A class's fields with their descriptions, or the comments behind them."""
    found: dict[str, str | None] = {}
    if hasattr(thing, "model_fields"):
        found = {name: field.description for name, field in thing.model_fields.items()}
    elif dataclasses.is_dataclass(thing):
        found = {field.name: field.metadata.get("description") for field in dataclasses.fields(thing)}
    elif hasattr(thing, "_fields"):
        found = dict.fromkeys(thing._fields)
    comments = _comments(thing) if found else {}
    described = {name: text or comments.get(name) for name, text in found.items()}
    return [f"- `{name}`: {' '.join(text.split())}" for name, text in described.items() if text]


def _arguments(lines: Sequence[str]) -> list[str]:
    """The lines with those below "Args:" as a list, an argument an item."""
    made: list[str] = []
    within = False
    for line in lines:
        within = line == "Args:" or (within and (line.startswith("    ") or not line.strip()))
        if not within or not line.strip():
            made.append(line)
        elif line == "Args:":
            made += [line, ""]
        elif line.startswith("     "):
            made.append("  " + line.strip())
        else:
            made.append("- `" + line.strip().replace(":", "`:", 1))
    return made


def docstring(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Make a docstring, which is plain text with backticks, lists and indented tables, reStructuredText."""
    made: list[str] = []
    table = False  # within an indented block that is to stay as it is
    for line in [*_arguments(lines), *(["", *_fields(thing)] if what == "class" else [])]:
        before = next((text for text in reversed(made) if text.strip()), "")
        indented = line.startswith("    ") and not line.lstrip().startswith(">>>")
        if line.strip():
            table = indented and (table or (bool(made) and not made[-1].strip() and not before.startswith(" ") and not _ITEM.match(before)))
        if table and made and not made[-1].strip() and made[-2:] != ["::", ""] and not before.startswith(" "):
            made += ["::", ""]
        if _ITEM.match(line) and made and made[-1].strip() and not _ITEM.match(made[-1]) and not made[-1].startswith(" "):
            made.append("")
        mark = _ITEM.match(line)
        begin = mark.end() if mark else 0
        made.append(line if table else line[:begin] + _plain(line[begin:]))
    lines[:] = made


def signature(app: Any, what: str, name: str, thing: Any, options: Any, arguments: str | None, returns: str | None) -> Any:
    """Arrays by numpy's short name; nothing for a section of a recipe, which is written by its keys."""
    if what == "class" and hasattr(thing, "model_fields"):
        return "", None
    return tuple(_ARRAY.sub(r"NDArray[\1]", text) if text else text for text in (arguments, returns))


def setup(app: Any) -> None:
    """Hooks into autodoc."""
    app.connect("autodoc-process-docstring", docstring)
    app.connect("autodoc-process-signature", signature)
