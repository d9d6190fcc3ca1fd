"""Files of one repository in one document, those that others import before them.

As DeepSeek-Coder's repositories (Guo et al. 2024, arXiv 2401.14196, section 2.2): imports are found by patterns, files are sorted
so that what a file imports stands above it, and each file begins with a comment that names its path. Departures: ties go by path and
not by chance; a cycle is broken at the file with the fewest imports still to come, then by path; languages are sorted together, since an
import crosses them (C and C++, JavaScript and TypeScript).
"""

from __future__ import annotations

import heapq
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_MAX_IMPORTS = 1000  # of one file
_IMPORT_HEAD = 1 << 17  # characters of a file in which imports are looked for


@dataclass(frozen=True)
class _Imports:
    """How a language imports: the pattern of an import, whose first group that matches is the name; what separates the parts of a
    dotted name; the endings that the imported file may have."""

    pattern: re.Pattern[str]
    separator: str  # "" where the name is a path
    endings: tuple[str, ...]


def _imports(pattern: str, separator: str, *endings: str) -> _Imports:
    return _Imports(re.compile(pattern, re.MULTILINE), separator, endings)


# Linear: what is repeated before something that may fail is bounded.
_PYTHON = _imports(
    r"^[ \t]{0,40}(?:from[ \t]{1,40}([\w.]{1,300})[ \t]{1,40}c?import[ \t]+\(?([\w, \t]{1,400})|c?import[ \t]+([\w., \t]{1,400}))",
    ".",
    ".py",
    ".pyi",
    ".pyx",
    ".pxd",
    "/__init__.py",
)
_SCRIPT = _imports(
    r"(?:^[ \t]{0,40}(?:import|export)\b[^'\"\n;]{0,400}|\brequire\(|\bimport\()[ \t]{0,40}['\"](\.[^'\"\n]{1,300})['\"]",
    "",
    "",
    ".ts",
    ".tsx",
    ".js",
    ".jsx",
    ".mjs",
    ".cjs",
    ".d.ts",
    ".vue",
    ".svelte",
    ".json",
    "/index.ts",
    "/index.tsx",
    "/index.js",
    "/index.jsx",
)
_INCLUDE = _imports(r"^[ \t]{0,40}#[ \t]{0,40}(?:include|import)[ \t]*[\"<]([^\">\n]{1,300})[\">]", "", "")
_JVM = _imports(r"^[ \t]{0,40}import[ \t]+(?:static[ \t]+)?([\w.]{1,300})", ".", ".java", ".kt", ".scala", ".groovy")
_HOW: Mapping[str, _Imports] = {
    "Python": _PYTHON,
    "Cython": _PYTHON,
    "JavaScript": _SCRIPT,
    "TypeScript": _SCRIPT,
    "TSX": _SCRIPT,
    "Vue": _SCRIPT,
    "Svelte": _SCRIPT,
    "C": _INCLUDE,
    "C++": _INCLUDE,
    "Objective-C": _INCLUDE,
    "Objective-C++": _INCLUDE,
    "Cuda": _INCLUDE,
    "OpenCL": _INCLUDE,
    "GLSL": _INCLUDE,
    "Java": _JVM,
    "Kotlin": _JVM,
    "Scala": _JVM,
    "Groovy": _JVM,
    "Go": _imports(r"^[ \t]{0,40}(?:import[ \t]+)?(?:[\w.]+[ \t]+)?\"([\w.~/-]{1,300})\"[ \t]*$", "", "/"),
    "Rust": _imports(
        r"^[ \t]{0,40}(?:pub(?:\([\w ]{1,40}\))?[ \t]+)?(?:mod[ \t]+(\w+)[ \t]*;|use[ \t]+((?:crate|super|self)::[\w:]{1,300}))",
        "::",
        ".rs",
        "/mod.rs",
    ),
    "Ruby": _imports(r"^[ \t]{0,40}require(?:_relative)?[ \t(]+['\"]([^'\"\n]{1,300})['\"]", "", "", ".rb"),
    "PHP": _imports(
        r"^[ \t]{0,40}(?:(?:require|include)(?:_once)?[ \t(]+(?:__DIR__[ \t]*\.[ \t]*)?['\"]/?([^'\"\n]{1,300})['\"]|"
        r"use[ \t]+([\w\\]{1,300}))",
        "\\",
        "",
        ".php",
    ),
    "Lua": _imports(r"\brequire[ \t(]+['\"]([^'\"\n]{1,300})['\"]", ".", ".lua", "/init.lua"),
    "Perl": _imports(r"^[ \t]{0,40}(?:use|require)[ \t]+([A-Z][\w:]{1,300})", "::", ".pm"),
    "Shell": _imports(r"^[ \t]{0,40}(?:source|\.)[ \t]+[\"']?([\w./-]{1,300})", "", "", ".sh"),
    "Haskell": _imports(r"^import[ \t]+(?:qualified[ \t]+)?([A-Z][\w.]{0,300})", ".", ".hs"),
    "Dart": _imports(r"^[ \t]{0,40}(?:import|export|part)[ \t]+['\"](?:package:\w+/)?([^'\"\n:]{1,300})['\"]", "", ""),
    "Protocol Buffer": _imports(r"^import[ \t]+(?:public[ \t]+|weak[ \t]+)?\"([^\"\n]{1,300})\"", "", ""),
    "Zig": _imports(r"@import\(\"([^\"\n]{1,300}\.zig)\"\)", "", ""),
    "Julia": _imports(r"^[ \t]{0,40}include\(\"([^\"\n]{1,300})\"\)", "", ""),
    "R": _imports(r"\bsource\(['\"]([^'\"\n]{1,300})['\"]", "", ""),
    "Erlang": _imports(r"^-include(?:_lib)?\(\"([^\"\n]{1,300})\"\)", "", ""),
    "Verilog": _imports(r"^[ \t]{0,40}`include[ \t]+\"([^\"\n]{1,300})\"", "", ""),
    "SystemVerilog": _imports(r"^[ \t]{0,40}`include[ \t]+\"([^\"\n]{1,300})\"", "", ""),
    "TeX": _imports(r"\\(?:input|include|usepackage)\{([^}\n]{1,300})\}", "", "", ".tex", ".sty"),
    "SCSS": _imports(r"^[ \t]{0,40}@(?:import|use|forward)[ \t]+['\"]([^'\"\n]{1,300})['\"]", "", "", ".scss"),
    "Nim": _imports(r"^[ \t]{0,40}(?:import|include)[ \t]+([\w/.]{1,300})", "", ".nim"),
    "OCaml": _imports(r"^[ \t]{0,40}open!?[ \t]+([A-Z]\w{0,300})", ".", ".ml"),
    "Thrift": _imports(r"^include[ \t]+\"([^\"\n]{1,300})\"", "", ""),
}


@dataclass(frozen=True)
class File:
    """One file of a repository, as text."""

    path: str
    language: str
    text: str


def _names(file: File) -> list[str]:
    """What a file imports, as paths without their endings; a leading `./` or `../` is relative to the file's folder."""
    how = _HOW.get(file.language)
    if how is None:
        return []
    names: list[str] = []
    for match in how.pattern.finditer(file.text[:_IMPORT_HEAD]):
        if len(names) >= _MAX_IMPORTS:
            break
        if how is _PYTHON:
            base, members, modules = match.groups()
            if modules:
                names.extend(word.split()[0].replace(".", "/") for word in modules.split(",") if word.split())
            else:
                dots = len(base) - len(base.lstrip("."))
                stem = ("./" + "../" * (dots - 1) if dots else "") + base.lstrip(".").replace(".", "/")
                stem = stem.rstrip("/") or "."
                names.extend(f"{stem}/{word.split()[0]}" for word in members.split(",") if word.split())
                names.append(stem)
            continue
        name = next((group for group in match.groups() if group), "")
        if file.language == "Rust":
            name = re.sub(r"^(?:crate|self)::", "", name).replace("super::", "../")
            parts = name.split("::")
            names.extend("/".join(parts[:size]) for size in range(len(parts), 0, -1))
        elif how.separator:
            names.append(name if "/" in name or "." in how.endings else name.replace(how.separator, "/"))
        else:
            names.append(name)
    return names


class _Index:
    """Finds the file that an import means: relative to the importing file, else by the end of its path, the nearest first."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = {path: number for number, path in enumerate(paths)}
        self._by_last: dict[str, list[int]] = defaultdict(list)
        self._folders: dict[str, list[int]] = defaultdict(list)
        self._list = paths
        for number, path in enumerate(paths):
            self._by_last[posixpath.basename(path)].append(number)
            folder = posixpath.basename(posixpath.dirname(path))
            if folder:
                self._by_last[f"{folder}/{posixpath.basename(path)}"].append(number)
            self._folders[posixpath.basename(posixpath.dirname(path))].append(number)

    def _nearest(self, found: Sequence[int], path: str) -> int:
        def rank(number: int) -> tuple[int, str]:
            other = self._list[number]
            return -len(posixpath.commonprefix([posixpath.dirname(path) + "/", other])), other

        return min(found, key=rank)

    def find(self, path: str, name: str, endings: Sequence[str]) -> list[int]:
        folder = posixpath.dirname(path)
        for ending in endings:
            if ending == "/":  # a package is a folder: all its files
                tail = name.strip("/")
                members = [
                    n
                    for n in self._folders.get(posixpath.basename(tail), ())
                    if f"/{posixpath.dirname(self._list[n])}".endswith(f"/{tail}")
                ]
                if not members and "/" in tail:  # the module's own name stands before the repository's folders
                    last = posixpath.basename(tail)
                    members = [n for n in self._folders.get(last, ()) if _tail_agrees(posixpath.dirname(self._list[n]), tail)]
                return members[:_MAX_IMPORTS]
            here = posixpath.normpath(posixpath.join(folder, name + ending))
            if (number := self._paths.get(here)) is not None:
                return [number]
            if name.startswith("."):
                continue
            wanted = posixpath.normpath(name + ending).lstrip("/")
            keys = wanted.split("/")
            key = "/".join(keys[-2:]) if len(keys) > 1 else keys[0]
            found = [n for n in self._by_last.get(key, ())[:_MAX_IMPORTS] if f"/{self._list[n]}".endswith(f"/{wanted}")]
            if found:
                return [self._nearest(found, path)]
        return []


def _tail_agrees(folder: str, package: str) -> bool:
    """Whether a Go package's path ends as the folder's does, past the repository's first folder."""
    inner = folder.split("/", 1)[-1]
    return bool(inner) and f"/{package}".endswith(f"/{inner}")


def order(files: Sequence[File]) -> list[int]:
    """The files' numbers, those imported before those that import them; ties by path; cycles broken as the module says."""
    index = _Index([file.path for file in files])
    imports: list[set[int]] = []
    importers: dict[int, list[int]] = defaultdict(list)
    for number, file in enumerate(files):
        how = _HOW.get(file.language)
        wanted: set[int] = set()
        for name in _names(file) if how else ():
            if len(wanted) < _MAX_IMPORTS:
                wanted.update(index.find(file.path, name, how.endings) if how else ())
        wanted.discard(number)
        imports.append(wanted)
        for other in sorted(wanted):
            importers[other].append(number)
    waiting = [len(wanted) for wanted in imports]
    heap = [(waiting[number], file.path, number) for number, file in enumerate(files)]
    heapq.heapify(heap)
    done: set[int] = set()
    result: list[int] = []
    while heap:
        count, _, number = heapq.heappop(heap)
        if number in done or count != waiting[number]:
            continue  # counted anew since
        done.add(number)
        result.append(number)
        for importer in importers[number]:
            if importer not in done:
                waiting[importer] -= 1
                heapq.heappush(heap, (waiting[importer], files[importer].path, importer))
    return result


_SLASHES = frozenset(
    [
        "C",
        "C++",
        "Objective-C",
        "Objective-C++",
        "Cuda",
        "OpenCL",
        "GLSL",
        "HLSL",
        "Java",
        "JavaScript",
        "TypeScript",
        "TSX",
        "Go",
        "Rust",
        "C#",
        "F#",
        "Kotlin",
        "Scala",
        "Groovy",
        "Swift",
        "Dart",
        "PHP",
        "SCSS",
        "Less",
        "Stylus",
        "Protocol Buffer",
        "Thrift",
        "Verilog",
        "SystemVerilog",
        "Zig",
        "D",
        "Solidity",
        "V",
        "Odin",
        "WGSL",
        "Metal",
        "Processing",
        "Jsonnet",
        "Pascal",
        "Haxe",
        "Reason",
        "ReScript",
        "QML",
        "ActionScript",
    ]
)
_BETWEEN = {
    **dict.fromkeys(("HTML", "XML", "Markdown", "SVG", "Vue", "Svelte", "XSLT", "Astro", "MDX"), ("<!-- ", " -->")),
    **dict.fromkeys(("CSS", "Yacc", "Lex"), ("/* ", " */")),
    **dict.fromkeys(("OCaml", "Standard ML", "Mathematica", "Rocq Prover"), ("(* ", " *)")),
    **dict.fromkeys(
        ("SQL", "PLSQL", "Lua", "Haskell", "Ada", "VHDL", "Elm", "AppleScript", "PureScript", "Agda", "Idris", "Lean"), ("-- ", "")
    ),
    **dict.fromkeys(("TeX", "BibTeX", "MATLAB", "Erlang", "Prolog", "PostScript"), ("% ", "")),
    **dict.fromkeys(("Common Lisp", "Emacs Lisp", "Scheme", "Racket", "Clojure", "LLVM", "Assembly", "INI", "AutoHotkey"), ("; ", "")),
    **dict.fromkeys(("Fortran", "Fortran Free Form"), ("! ", "")),
    **dict.fromkeys(("Visual Basic .NET", "VBA"), ("' ", "")),
    "Vim Script": ('" ', ""),
    "Batchfile": ("REM ", ""),
    "reStructuredText": (".. ", ""),
    "AsciiDoc": ("// ", ""),
    "Roff": ('.\\" ', ""),
}


def header(path: str, language: str) -> str:
    """A comment line of the language that names the file."""
    before, after = _BETWEEN.get(language) or (("// ", "") if language in _SLASHES else ("# ", ""))
    return f"{before}{' '.join(path.split())}{after}\n"


def pieces(files: Sequence[File], most_bytes: int) -> Iterator[tuple[list[int], str]]:
    """Joined documents of at most `most_bytes` UTF-8 bytes, split between files: the files' numbers, in order, and the text. A file
    longer than that stands alone."""
    numbers: list[int] = []
    parts: list[str] = []
    size = 0
    for number in order(files):
        file = files[number]
        part = header(file.path, file.language) + file.text + ("" if file.text.endswith("\n") else "\n")
        length = len(part.encode("utf-8", "surrogatepass")) + 1
        if numbers and size + length > most_bytes:
            yield numbers, "\n".join(parts)
            numbers, parts, size = [], [], 0
        numbers.append(number)
        parts.append(part)
        size += length
    if numbers:
        yield numbers, "\n".join(parts)
