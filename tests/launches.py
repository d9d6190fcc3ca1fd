"""Which tests start Ray or another Python: told from their code, so that nobody keeps a list."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

STARTERS = {"ray", "executable"}  # Ray is imported, or `sys.executable` is what is run
FOLLOWED = ("tests", "jobs.launch", "jobs.ranks", "jobs.corpus")  # packages whose functions are looked into


def launches(item: pytest.Item) -> bool:
    """Whether a test, a fixture that it asks for, or a function of the tests that one of them calls, names what starts a process."""
    fixtures: dict[str, Any] = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    functions = [getattr(item, "function", None), *(definition.func for found in fixtures.values() for definition in found)]
    seen: set[CodeType] = set()
    return any(_starts(function, seen) for function in functions if function is not None)


def _starts(function: Callable[..., Any], seen: set[CodeType]) -> bool:
    function = (getattr(function, "hypothesis", None) and function.hypothesis.inner_test) or function  # type: ignore[attr-defined]
    function = getattr(function, "__wrapped__", function)
    function = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]
    if not isinstance(function, FunctionType) or not function.__module__.startswith(FOLLOWED) or function.__code__ in seen:
        return False
    if function.__module__ == __name__:
        return False
    seen.add(function.__code__)
    names = set(_names(function.__code__))
    if names & STARTERS:
        return True
    known = [function.__globals__[name] for name in names if name in function.__globals__]
    within = [vars(module).get(name) for module in known if isinstance(module, ModuleType) for name in names]
    return any(_starts(other, seen) for other in (*known, *within) if callable(other))


def _names(code: CodeType) -> Iterator[str]:
    """Names of globals, attributes and imports in a function and those within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def refuse_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    """For one test: starting another Python is an error, and Ray would look for its cluster where none is."""
    start = subprocess.Popen.__init__

    def refuse(self: Any, args: Any, *more: Any, **named: Any) -> None:
        assert sys.executable != (args if isinstance(args, str) else args[0]), "starts a Python, which tests/launches.py did not see"
        start(self, args, *more, **named)

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
