"""What rules for source code look at: comments, encoded data, markup and the text in it.

Li et al. 2023 (StarCoder, arXiv 2305.06161, section 3) and Lozhkov et al. 2024 (StarCoder 2 and The Stack v2, arXiv 2402.19173,
section 2). Comments are found by the marks that begin and end them in a language; strings are skipped, and no file is parsed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernel import characters as char
from kernel.compile import kernel
from kernel.utf8 import Bytes, Offsets, is_inside
from pipeline.measure.columns import places

COLUMNS = {
    "comments": "characters in comments and doc strings / characters",
    "encoded": "characters in base64, hex and \\u escapes in runs / characters",
    "longest_encoded": "characters of the longest run of encoded data",
    "xml": "1 where an XML declaration stands in the first 100 characters, else 0",
    "markup_text": "characters outside of tags, scripts and styles / characters (of HTML; else 1)",
    "markup_text_characters": "characters outside of tags, scripts and styles (of HTML; else all)",
    "total_lines": "lines, blank ones too",
}
_INTEGERS = ("longest_encoded", "xml", "markup_text_characters", "total_lines")
_AT = places(COLUMNS)

# Up to two marks that begin a comment to the end of the line, a pair of marks around a comment, and the quotes of strings.
_STYLES = {
    "c": (("//",), ("/*", "*/"), "\"'`"),
    "css": ((), ("/*", "*/"), "\"'"),
    "hash": (("#",), ("", ""), "\"'"),
    "python": (("#",), ('"""', '"""'), "\"'"),
    "php": (("//", "#"), ("/*", "*/"), "\"'"),
    "sql": (("--",), ("/*", "*/"), "\"'"),
    "haskell": (("--",), ("{-", "-}"), '"'),
    "lua": (("--",), ("--[[", "]]"), "\"'"),
    "dash": (("--",), ("", ""), '"'),
    "percent": (("%",), ("", ""), ""),
    "semicolon": ((";",), ("", ""), '"'),
    "fortran": (("!",), ("", ""), "\"'"),
    "markup": ((), ("<!--", "-->"), ""),
    "ml": ((), ("(*", "*)"), '"'),
    "none": ((), ("", ""), ""),
}
_NAMES = list(_STYLES)
_LANGUAGES = {
    "c": "C, C++, C#, Java, JavaScript, TypeScript, TSX, JSX, Go, Rust, Swift, Kotlin, Scala, Dart, SCSS, Less, Objective-C, "
    "Objective-C++, Cuda, Solidity, Verilog, SystemVerilog, Groovy, Zig, GLSL, HLSL, D, Jsonnet, Thrift, Vala, Haxe, "
    "ActionScript, OpenCL, QML, Stylus, JSON5, Protocol Buffer, JSON with Comments, V, Odin, Move, ShaderLab, WebAssembly, "
    "Devicetree, ANTLR, Prisma, Stan, FlatBuffers, Apex, Gradle, Sway, Noir, WGSL, Metal, Processing, Squirrel, Ballerina, Chapel, "
    "Modelica, Xtend, P4, Slang, TypeSpec, Smithy, Bicep, AL",
    "css": "CSS",
    "php": "PHP, Hack",
    "lua": "Lua, Luau, MoonScript",
    "sql": "SQL, PLSQL, PLpgSQL, TSQL",
    "haskell": "Haskell, Elm, PureScript, Agda, Idris, Dhall",
    "dash": "Ada, VHDL, Eiffel, AppleScript",
    "python": "Python, Cython, Starlark, Julia, Elixir",
    "hash": "Ruby, Shell, Perl, Raku, R, YAML, TOML, Makefile, Dockerfile, CMake, PowerShell, Nim, Tcl, Awk, Crystal, GraphQL, "
    "CoffeeScript, Fish, fish, Nix, Puppet, HCL, Gnuplot, Meson, Just, sed, Snakemake, Mako, "
    "Tcsh, Nushell, Elvish, GDScript, Open Policy Agent, WDL, Ninja, Gentoo Ebuild",
    "semicolon": "Emacs Lisp, Common Lisp, Clojure, Scheme, Racket, Assembly, INI, LLVM, AutoHotkey, NewLisp",
    "percent": "TeX, Erlang, MATLAB, Prolog, BibTeX, Mercury, PostScript",
    "fortran": "Fortran, Fortran Free Form",
    "markup": "HTML, XML, XSLT, SVG, Vue, Svelte, Markdown",
    "ml": "OCaml, Coq, Rocq Prover, F#, Pascal, Mathematica, Standard ML, Isabelle",
}
_OF_LANGUAGE = {language: style for style, languages in _LANGUAGES.items() for language in languages.split(", ")}


def _style_table() -> tuple[Bytes, npt.NDArray[np.bool_]]:
    """For each style four tokens of up to four bytes (two of lines, begin, end): uint8 (styles, 4, 5), the size last; its quotes."""
    tokens, quotes = np.zeros((len(_STYLES), 4, 5), np.uint8), np.zeros((len(_STYLES), 256), bool)
    for style, (lines, (begin, end), quoted) in enumerate(_STYLES.values()):
        for place, token in enumerate([*lines, *[""] * (2 - len(lines)), begin, end]):
            tokens[style, place, : len(token)] = list(token.encode())
            tokens[style, place, 4] = len(token)
        quotes[style, list(quoted.encode())] = True
    return tokens, quotes


_BEGIN, _END, _SIZE = 2, 3, 4  # rows of a style's tokens, and the column of a token's size
_TOKENS, _QUOTES = _style_table()
_PYTHON = _NAMES.index("python")


@kernel(inline="always")
def _is_at(data: Bytes, at: int, end: int, token: Bytes) -> bool:  # pragma: no cover - compiled
    size = int(token[_SIZE])
    if size == 0 or at + size > end:
        return False
    for index in range(size):  # noqa: SIM110 - numba compiles loops, not generators
        if data[at + index] != token[index]:
            return False
    return True


@kernel
def _comment_characters(data: Bytes, start: int, end: int, style: int) -> int:  # pragma: no cover - compiled
    """Characters in comments: from their first mark to their end, line ends left out."""
    tokens, quotes = _TOKENS[style], _QUOTES[style]
    total = 0
    at = start
    first_on_line = True
    while at < end:
        byte = data[at]
        if byte == char.LINE_FEED:
            first_on_line = True
            at += 1
            continue
        block = _is_at(data, at, end, tokens[_BEGIN])
        docstring = style == _PYTHON and (
            block or (byte == char.APOSTROPHE and at + 2 < end and data[at + 1] == char.APOSTROPHE and data[at + 2] == char.APOSTROPHE)
        )
        if docstring:
            counts = first_on_line  # a string that stands alone; others are data
            quote = byte
            begin = at
            at += 3
            while at < end and not (data[at] == quote and at + 2 < end and data[at + 1] == quote and data[at + 2] == quote):
                at += 2 if data[at] == char.BACKSLASH else 1
            at = min(at + 3, end)
            if counts:
                for place in range(begin, at):
                    total += not is_inside(data[place]) and data[place] != char.LINE_FEED
            first_on_line = False
            continue
        if block:
            begin = at
            at += int(tokens[_BEGIN, _SIZE])
            while at < end and not _is_at(data, at, end, tokens[_END]):
                at += 1
            at = min(at + int(tokens[_END, _SIZE]), end)
            for place in range(begin, at):
                total += not is_inside(data[place]) and data[place] != char.LINE_FEED
            continue
        if _is_at(data, at, end, tokens[0]) or _is_at(data, at, end, tokens[1]):
            while at < end and data[at] != char.LINE_FEED:
                total += not is_inside(data[at])
                at += 1
            continue
        if byte != char.SPACE and byte != char.TAB:
            first_on_line = False
        if quotes[byte]:
            at += 1
            while at < end and data[at] != byte and (data[at] != char.LINE_FEED or byte == char.GRAVE_ACCENT):
                at += 2 if data[at] == char.BACKSLASH and at + 1 < end and data[at + 1] != char.LINE_FEED else 1
            if at < end and data[at] == byte:
                at += 1
            continue
        at += 1
    return total


@kernel(inline="always")
def _is_hex(byte: int) -> bool:  # pragma: no cover - compiled
    return char.is_digit(byte) or char.a <= (byte | char.CASE) <= char.f


@kernel(inline="always")
def _is_alphanumeric(byte: int) -> bool:  # pragma: no cover - compiled
    return char.is_digit(byte) or char.is_letter(byte) or byte == char.UNDERSCORE or byte >= char.ASCII_END


@kernel
def _encoded(data: Bytes, start: int, end: int, out: npt.NDArray[np.int64]) -> None:  # pragma: no cover - compiled
    """`out` = (characters in runs of encoded data, the longest run). Runs are ASCII, so bytes are characters.

    base64: 64 and more of letters, digits, +, /, = and line ends. hex: 8 and more bytes of two digits, each with 0x or \\x before
    it or not, with commas and white space between them, or none before a further \\x. Escapes: 8 and more \\uXXXX.
    """
    total = longest = 0
    at = start
    while at < end:
        # base64
        stop = at
        while stop < end and (
            char.is_digit(data[stop])
            or char.is_letter(data[stop])
            or data[stop] in (char.PLUS_SIGN, char.SLASH, char.EQUALS_SIGN, char.LINE_FEED)
        ):
            stop += 1
        if stop - at >= 64:
            total += stop - at
            longest = max(longest, stop - at)
            at = stop
            continue
        base64_stop = stop
        begins = at == start or not _is_alphanumeric(data[at - 1])
        # hex bytes and \\u escapes, which begin where no word goes on
        place = at
        items = 0
        last = at
        while begins and place < end:
            item = place
            if item + 1 < end and (data[item] == char.ZERO or data[item] == char.BACKSLASH) and data[item + 1] == char.x:
                item += 2
            if item + 1 >= end or not _is_hex(data[item]) or not _is_hex(data[item + 1]):
                break
            item += 2
            if item < end and _is_alphanumeric(data[item]):
                break
            items += 1
            last = item
            place = item
            while place < end and (
                data[place] == char.COMMA or data[place] == char.SPACE or data[place] == char.TAB or data[place] == char.LINE_FEED
            ):
                place += 1
            if place == item and not (item < end and data[item] == char.BACKSLASH):
                break
        if items >= 8:
            total += last - at
            longest = max(longest, last - at)
            at = max(place, last)
            continue
        place = at
        items = 0
        while place + 5 < end and data[place] == char.BACKSLASH and data[place + 1] == char.u:
            if not (_is_hex(data[place + 2]) and _is_hex(data[place + 3]) and _is_hex(data[place + 4]) and _is_hex(data[place + 5])):
                break
            items += 1
            place += 6
        if items >= 8:
            total += place - at
            longest = max(longest, place - at)
            at = place
            continue
        # go on behind the word that begins here, so that every byte is looked at a bounded number of times
        is_word = _is_alphanumeric(data[at])
        at += 1
        while is_word and at < base64_stop and _is_alphanumeric(data[at]):
            at += 1
    out[0], out[1] = total, longest


@kernel
def _opens(data: Bytes, at: int, end: int, name: Bytes) -> bool:  # pragma: no cover - compiled
    if at + len(name) > end:
        return False
    for index in range(len(name)):  # noqa: SIM110 - numba compiles loops, not generators
        if (data[at + index] | char.CASE) != name[index]:
            return False
    return True


_SCRIPT, _STYLE = np.frombuffer(b"script", np.uint8), np.frombuffer(b"style", np.uint8)


@kernel
def _visible_characters(data: Bytes, start: int, end: int) -> int:  # pragma: no cover - compiled
    """Characters of a page outside of tags, comments, scripts and styles; runs of white space count as one."""
    total = 0
    at = start
    space = True
    while at < end:
        byte = data[at]
        if byte == char.LESS_THAN:
            hidden = 0  # 1 script, 2 style
            if _opens(data, at + 1, end, _SCRIPT):
                hidden = 1
            elif _opens(data, at + 1, end, _STYLE):
                hidden = 2
            comment = at + 3 < end and data[at + 1] == char.EXCLAMATION_MARK and data[at + 2] == char.HYPHEN and data[at + 3] == char.HYPHEN
            while at < end and not (
                data[at] == char.GREATER_THAN and (not comment or (data[at - 1] == char.HYPHEN and data[at - 2] == char.HYPHEN))
            ):
                at += 1
            at += 1
            if hidden:
                while at < end and not (
                    data[at] == char.LESS_THAN
                    and at + 1 < end
                    and data[at + 1] == char.SLASH
                    and _opens(data, at + 2, end, _SCRIPT if hidden == 1 else _STYLE)
                ):
                    at += 1
            continue
        blank = char.is_blank(byte)
        if not (blank and space):
            total += not is_inside(byte)
        space = blank
        at += 1
    return total


_XML = np.frombuffer(b"<?xml version=", np.uint8)


@kernel
def _code(
    offsets: Offsets, data: Bytes, styles: npt.NDArray[np.int64], is_page: npt.NDArray[np.bool_], out: npt.NDArray[np.float64]
) -> None:  # pragma: no cover - compiled
    encoded = np.zeros(2, np.int64)
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        if styles[document] < 0:
            continue
        characters = lines = 0
        for at in range(start, end):
            characters += not is_inside(data[at])
            lines += data[at] == char.LINE_FEED
        row = out[document]
        row[_AT.comments] = _comment_characters(data, start, end, styles[document]) / max(1, characters)
        _encoded(data, start, end, encoded)
        row[_AT.encoded] = encoded[0] / max(1, characters)
        row[_AT.longest_encoded] = encoded[1]
        row[_AT.xml] = 0
        for at in range(start, min(end, start + 100)):
            if _opens(data, at, end, _XML):
                row[_AT.xml] = 1
                break
        visible = _visible_characters(data, start, end) if is_page[document] else characters
        row[_AT.markup_text] = visible / max(1, characters)
        row[_AT.markup_text_characters] = visible
        row[_AT.total_lines] = lines + (end > start and data[end - 1] != char.LINE_FEED)


def measure_code(offsets: Offsets, data: Bytes, languages: Sequence[str | None], wanted: npt.NDArray[np.bool_]) -> dict[str, pa.Array]:
    """The columns of `COLUMNS`, an entry a document; null where not `wanted`, bool (documents,). `languages`: as linguist names them."""
    styles = np.array([_NAMES.index(_OF_LANGUAGE.get(language or "", "none")) for language in languages], np.int64)
    is_page = np.array([language in ("HTML", "Vue", "Svelte") for language in languages], bool)
    out = np.zeros((len(offsets) - 1, len(COLUMNS)), np.float64)
    _code(offsets, data, np.where(wanted, styles, -1), is_page, out)
    return {
        name: pa.array(out[:, index].astype(np.int64 if name in _INTEGERS else np.float64), mask=~wanted)
        for index, name in enumerate(COLUMNS)
    }
