"""Compiled kernels: numba's, kept in a cache that knows what they were made of.

numba's own cache lies beside the source and asks only whether that one file has changed. A kernel that inlines a function of
another file would then go on as it was when that file changes, and every new folder (a Ray job's, a clone) would compile all of
them anew, which takes a minute. Ours lies in the user's cache folder, under a fingerprint of the file and of all of our files
that it imports, wherever they are.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.caching import _CacheLocator
from numba.extending import intrinsic

from kernel.cache import cache_folder

_ROOT = Path(__file__).resolve().parents[1]
_LOCATORS = f"{__name__}.Locator,InTreeCacheLocator,UserWideCacheLocator"  # the others, where the first cannot write


@cache
def _ours() -> frozenset[str]:
    """The packages that came with this one: those that an installed wheel's list of files names, or all of a checkout."""
    for record in _ROOT.glob("encoder_foundry-*.dist-info/RECORD"):
        return frozenset(line.split("/")[0] for line in record.read_text(encoding="utf-8").splitlines() if "/" in line)
    return frozenset(path.parent.name for path in _ROOT.glob("*/*.py"))


@cache
def _file_of(module: str) -> Path | None:
    """The file of a module of ours; None of any other."""
    if module.split(".")[0] not in _ours():
        return None
    path = _ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


# Linear: tried at the start of a line, and what is in brackets is bounded.
_IMPORT = re.compile(rb"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]{0,3000}\)|[^\n#]+)|import[ \t]+([^\n#]+))", re.MULTILINE)
_NAME = re.compile(r"([\w.]+)(?:[ \t]+as[ \t]+\w+)?")


@cache
def _imports(file: Path) -> tuple[bytes, tuple[Path, ...]]:
    """A file's content, and our files that it imports (a line of a docstring that looks like an import counts as one)."""
    content = file.read_bytes()
    found: set[Path | None] = set()
    for module, names, modules in _IMPORT.findall(content):
        for name in _NAME.findall((names or modules).decode()):
            found.add(_file_of(f"{module.decode()}.{name}" if module else name))
        found.add(_file_of(module.decode()) if module else None)
    return content, tuple(sorted(path for path in found if path is not None))


@cache
def fingerprint(file: Path) -> str:
    """Of a source file and all of ours that it imports, directly or not."""
    seen, ahead = {file}, [file]
    while ahead:
        more = set(_imports(ahead.pop())[1]) - seen
        seen |= more
        ahead += sorted(more)
    parts = sorted((path.relative_to(_ROOT).as_posix() if path.is_relative_to(_ROOT) else path.name, path) for path in seen)
    return hashlib.sha256(b"\0".join(name.encode() + b"\0" + _imports(path)[0] for name, path in parts)).hexdigest()[:16]


class Locator(_CacheLocator):
    """Where the compiled form of a kernel lies, as numba asks for it."""

    def __init__(self, function: Callable[..., Any], file: Path) -> None:
        self._line = function.__code__.co_firstlineno
        self._stamp = fingerprint(file)
        base = Path(numba.config.CACHE_DIR) if numba.config.CACHE_DIR else cache_folder("kernels")
        self._folder = base / f"{function.__module__}-{self._stamp}"

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return self._stamp

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> Locator | None:
        try:
            self = cls(function, Path(file).resolve())
            self.ensure_cache_path()
        except OSError:  # no such file (a notebook's cell), or a folder that cannot be written: the next locator has its turn
            return None
        return self


def kernel(function: Any = None, **options: Any) -> Any:
    """Compile a function of arrays and numbers when it is first called, without the GIL; `options` as of `numba.njit`."""
    if function is None:
        return lambda function: kernel(function, **options)
    before, numba.config.CACHE_LOCATOR_CLASSES = numba.config.CACHE_LOCATOR_CLASSES, _LOCATORS
    try:
        return numba.njit(cache=True, nogil=True, **options)(function)
    finally:
        numba.config.CACHE_LOCATOR_CLASSES = before


def leaf(function: Any = None, **options: Any) -> Any:
    """`kernel`, of a function that makes no array: numba refuses to compile one that does.

    In others numba counts the references to arrays, wherever one is handed on in a loop or bound to a name again, by atomic
    instructions that take longer than what most of our loops do. So the loops are in leaves, and their callers make the arrays.
    """
    return kernel(function, _nrt=False, **options)


def _byte_at(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    """A pointer to the bytes of an element of an array, counted over all its dimensions."""
    place = builder.gep(context.make_array(kind)(context, builder, array).data, [at])
    return builder.bitcast(place, ir.IntType(8).as_pointer())


@intrinsic
def load64(_: Any, data: Any, at: Any) -> Any:
    """Eight bytes of a uint8 array from `data[at]` on as one number, the first byte lowest. They must lie in it."""
    if data.dtype != types.uint8 or data.layout != "C" or sys.byteorder != "little":
        return None  # numba says that there is no such function

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _byte_at(context, builder, signature.args[0], *arguments)
        return builder.load(builder.bitcast(place, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(data, types.intp), generate


@intrinsic
def prefetch(_: Any, array: Any, at: Any) -> Any:
    """Ask for the cache line of an element, which is soon to be written; `at` counts over all dimensions."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [_byte_at(context, builder, signature.args[0], *arguments), number(1), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate
