"""Compiled kernels: numba's, kept in a cache that knows what they were made of.

numba's own cache lies beside the source and asks only whether that one file has changed. A kernel that inlines a function of
another file would then go on as it was when that file changes, and every new folder (a Ray job's, a clone) would compile all of
them anew, which takes a minute. Ours lies in the user's cache folder, under a fingerprint of the file and of all of our files
that it imports, wherever they are.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.caching import FunctionCache, IndexDataCacheFile, _CacheLocator
from numba.extending import intrinsic

from kernel.cache import cache_folder

_ROOT = Path(__file__).resolve().parents[1]
_LOCATORS = f"{__name__}.Locator,InTreeCacheLocator"  # the others, where the first cannot write
if os.path.expanduser("~") != "~":  # numba's would make a folder of this name
    _LOCATORS += ",UserWideCacheLocator"
_DIGEST = 32  # bytes of a file's checksum, at its end


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
        except OSError:  # no such file (a notebook's cell), a folder that cannot be written, no home: the next locator has its turn
            return None
        return self


class _Files(IndexDataCacheFile):
    """numba's index and files of one kernel, each with a checksum. One that is damaged counts as absent, and is written again."""

    def _dump(self, obj: Any) -> bytes:
        data: bytes = super()._dump(obj)
        return data + hashlib.sha256(data).digest()

    def _load_index(self) -> dict[Any, str]:
        try:
            with open(self._index_path, "rb") as file:
                pickle.load(file)  # numba's version, which stands before what was dumped
                _check(file.read())
            index: dict[Any, str] = super()._load_index()
        except Exception:  # pickle raises whatever the bytes say
            return {}
        return index

    def _load_data(self, name: str) -> Any:
        _check(Path(self._data_path(name)).read_bytes())
        return super()._load_data(name)

    def load(self, key: Any) -> Any:
        try:
            return super().load(key)
        except Exception:
            return None

    def save(self, key: Any, data: Any) -> None:
        with suppress(OSError):  # a full disk: what was compiled is used, and not kept
            super().save(key, data)


def _check(data: bytes) -> None:
    """Raises `ValueError` where what was dumped is not what was written."""
    if hashlib.sha256(data[:-_DIGEST]).digest() != data[-_DIGEST:]:
        raise ValueError("damaged")


class _Cache(FunctionCache):
    """numba's cache of a kernel over files that may be damaged. Raises `RuntimeError` where no locator has a place for them."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp())


def kernel(function: Any = None, **options: Any) -> Any:
    """Compile a function of arrays and numbers when it is first called, without the GIL; `options` as of `numba.njit`."""
    if function is None:
        return lambda function: kernel(function, **options)
    compiled = numba.njit(nogil=True, **options)(function)
    if not hasattr(compiled, "_cache"):  # the function itself, where the compiler is off
        return compiled
    before, numba.config.CACHE_LOCATOR_CLASSES = numba.config.CACHE_LOCATOR_CLASSES, _LOCATORS
    try:
        compiled._cache = _Cache(function)
    except RuntimeError:  # there is no place for it: compiled in each process
        pass
    finally:
        numba.config.CACHE_LOCATOR_CLASSES = before
    return compiled


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
