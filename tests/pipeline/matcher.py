"""A plain backtracking matcher of Python's regular expressions that counts its steps: work that is the same on every machine.

It reads the expression as `re` does (by `re._parser`) and tries alternatives in the same order, so that it takes as many steps as
`re`'s own engine but for a constant factor: a step is one character looked at, one position tried, or one node of the expression
entered. A test holds it against `re`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

# How the expression itself is read; there is no public way to it.
op: Any = import_module("re._constants")
parser: Any = import_module("re._parser")

Step = Callable[[int], bool]  # tries to match from a position on; whether that came to an end
MOST = sys.maxsize


class TooManySteps(Exception):
    """A match was given up after its limit."""


class Known(dict[str, bool]):
    """Whether a class of characters has a character, looked at once."""

    def __init__(self, look: Callable[[str], bool]) -> None:
        super().__init__()
        self.look = look

    def __missing__(self, character: str) -> bool:
        found = self[character] = self.look(character)
        return found


class Matcher:
    """One expression. `steps` counts from its making on; `limit` ends a match by `TooManySteps`."""

    def __init__(self, pattern: re.Pattern[Any]) -> None:
        self.ascii = isinstance(pattern.pattern, bytes) or bool(pattern.flags & re.ASCII)
        self.steps, self.limit = 0, MOST
        self.text, self.end, self.whole = "", 0, False
        self.starts: dict[int, int] = {}
        self.groups: dict[int, tuple[int, int]] = {}
        self.stacks: list[list[tuple[int, int]]] = []
        flags = pattern.flags & (re.IGNORECASE | re.MULTILINE | re.DOTALL | re.VERBOSE)
        self.first = self._sequence(list(parser.parse(pattern.pattern, flags)), flags, self._accept)

    # --- how it is applied -----------------------------------------------------------------------------------------

    def apply(self, how: str, text: str | bytes) -> list[tuple[int, int]]:
        """Spans that `match`, `fullmatch`, `search` or `finditer` of `re` find."""
        self.text = text if isinstance(text, str) else text.decode("latin-1")
        self.whole = how == "fullmatch"
        found, at = [], 0
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(1_000_000)  # frames of Python code, which lie on no stack of the processor's
        try:
            while at <= len(self.text):
                self._tick()
                if self.groups:  # as the last match has left them
                    self.groups.clear()
                for stack in self.stacks:
                    stack.clear()
                if self.first(at):
                    found.append((at, self.end))
                    if how != "finditer":
                        break
                    at = self.end if self.end > at else at + 1
                elif how in ("match", "fullmatch"):
                    break
                else:
                    at += 1
        finally:
            sys.setrecursionlimit(before)
        return found

    def _tick(self) -> None:
        self.steps += 1
        if self.steps > self.limit:
            raise TooManySteps

    def _accept(self, at: int) -> bool:
        self.end = at
        return not self.whole or at == len(self.text)

    # --- the expression, each node with what follows it --------------------------------------------------------------

    def _sequence(self, items: list[Any], flags: int, following: Step) -> Step:
        for kind, value in reversed(items):
            following = self._node(kind, value, flags, following)
        return following

    def _node(self, kind: Any, value: Any, flags: int, following: Step) -> Step:
        single = self._single(kind, value, flags)
        if single is not None:
            return self._character(single, following)
        if kind is op.AT:
            return self._place(value, flags, following)
        if kind is op.BRANCH:
            return self._alternatives([self._sequence(list(branch), flags, following) for branch in value[1]])
        if kind is op.SUBPATTERN:
            group, added, removed, body = value
            return self._group(group, list(body), (flags | added) & ~removed, following)
        if kind in (op.ASSERT, op.ASSERT_NOT):
            return self._look(kind is op.ASSERT, value[0], value[1], flags, following)
        if kind is op.ATOMIC_GROUP:
            return self._atomic(list(value), flags, following)
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            least, most, body = value
            return self._repeat(kind, least, most, body, flags, following)
        if kind is op.GROUPREF:
            return self._again(value, flags, following)
        if kind is op.GROUPREF_EXISTS:
            group, yes, no = value
            there, absent = self._sequence(list(yes), flags, following), self._sequence(list(no or ()), flags, following)
            return lambda at: there(at) if group in self.groups else absent(at)
        raise AssertionError(f"{kind}: not known here")

    def _single(self, kind: Any, value: Any, flags: int) -> Callable[[str], bool] | None:
        """Whether a character is one that a node takes, of nodes that take exactly one."""
        if kind is op.ANY:
            return (lambda character: True) if flags & re.DOTALL else (lambda character: character != "\n")
        if kind is op.LITERAL:
            items: list[Any] = [(op.LITERAL, value)]
        elif kind is op.NOT_LITERAL:
            items = [(op.NEGATE, None), (op.LITERAL, value)]
        elif kind is op.IN:
            items = list(value)
        else:
            return None
        negated = items[0][0] is op.NEGATE

        def look(character: str) -> bool:
            forms = {character, *((character.lower(), character.upper()) if flags & re.IGNORECASE else ())}
            within = any(self._member(item, form) for item in items[negated:] for form in forms if len(form) == 1)
            return within != negated

        return Known(look).__getitem__

    def _member(self, item: Any, character: str) -> bool:
        kind, value = item
        if kind is op.LITERAL:
            return bool(ord(character) == value)
        if kind is op.RANGE:
            return bool(value[0] <= ord(character) <= value[1])
        letter = {"DIGIT": "d", "SPACE": "s", "WORD": "w"}[str(value).removeprefix("CATEGORY_").removeprefix("NOT_")]
        within = re.match(f"\\{letter}", character, re.ASCII if self.ascii else 0) is not None
        return within != ("_NOT_" in str(value))

    def _character(self, takes: Callable[[str], bool], following: Step) -> Step:
        def step(at: int) -> bool:
            self.steps += 1
            return at < len(self.text) and takes(self.text[at]) and following(at + 1)

        return step

    def _place(self, value: Any, flags: int, following: Step) -> Step:
        lines = bool(flags & re.MULTILINE)
        kind = re.ASCII if self.ascii else re.NOFLAG
        word = Known(lambda character: re.match(r"\w", character, kind) is not None)

        def is_word(at: int) -> bool:
            return 0 <= at < len(self.text) and word[self.text[at]]

        def ends(at: int) -> bool:
            left = len(self.text) - at
            return left == 0 or (self.text[at] == "\n" and (lines or left == 1))

        holds: Callable[[int], bool]
        if value is op.AT_BEGINNING and lines:
            holds = lambda at: at == 0 or self.text[at - 1] == "\n"  # noqa: E731
        elif value in (op.AT_BEGINNING, op.AT_BEGINNING_STRING):
            holds = lambda at: at == 0  # noqa: E731
        elif value is op.AT_END:
            holds = ends
        elif value is op.AT_END_STRING:
            holds = lambda at: at == len(self.text)  # noqa: E731
        else:
            assert value in (op.AT_BOUNDARY, op.AT_NON_BOUNDARY), value
            boundary = value is op.AT_BOUNDARY
            holds = lambda at: (is_word(at - 1) != is_word(at)) == boundary  # noqa: E731

        def step(at: int) -> bool:
            self.steps += 1
            return holds(at) and following(at)

        return step

    def _alternatives(self, branches: list[Step]) -> Step:
        def step(at: int) -> bool:
            for branch in branches:  # noqa: SIM110
                if branch(at):
                    return True
            return False

        return step

    def _group(self, group: int | None, body: list[Any], flags: int, following: Step) -> Step:
        if group is None:
            return self._sequence(body, flags, following)

        def close(at: int) -> bool:
            before = self.groups.get(group)
            self.groups[group] = (self.starts[group], at)
            if following(at):
                return True
            if before is None:
                del self.groups[group]
            else:
                self.groups[group] = before
            return False

        inner = self._sequence(body, flags, close)

        def enter(at: int) -> bool:
            before = self.starts.get(group, 0)
            self.starts[group] = at
            if inner(at):
                return True
            self.starts[group] = before
            return False

        return enter

    def _apart(self, body: list[Any], flags: int) -> Callable[[int], int | None]:
        """A part that is matched for itself: where its first match ends."""
        ends: list[int] = []

        def accept(at: int) -> bool:
            ends.append(at)
            return True

        inner = self._sequence(body, flags, accept)
        return lambda at: ends.pop() if inner(at) else None

    def _look(self, wanted: bool, direction: int, body: Any, flags: int, following: Step) -> Step:
        inner = self._apart(list(body), flags)
        back = body.getwidth()[0] if direction < 0 else 0

        def step(at: int) -> bool:
            self._tick()
            there = at >= back and inner(at - back) is not None
            return there == wanted and following(at)

        return step

    def _atomic(self, body: list[Any], flags: int, following: Step) -> Step:
        inner = self._apart(body, flags)

        def step(at: int) -> bool:
            end = inner(at)
            return end is not None and following(end)

        return step

    def _again(self, group: int, flags: int, following: Step) -> Step:
        def step(at: int) -> bool:
            if group not in self.groups:
                return False
            start, end = self.groups[group]
            for place in range(start, end):
                self._tick()
                other = at + place - start
                if other >= len(self.text):
                    return False
                one, two = self.text[place], self.text[other]
                if one != two and not (flags & re.IGNORECASE and one.lower() == two.lower()):
                    return False
            return following(at + end - start)

        return step

    def _repeat(self, kind: Any, least: int, most: Any, body: Any, flags: int, following: Step) -> Step:
        most = MOST if most is op.MAXREPEAT else most
        items = list(body)
        while len(items) == 1 and items[0][0] is op.SUBPATTERN and items[0][1][0] is None and not items[0][1][1] and not items[0][1][2]:
            items = list(items[0][1][3])
        single = self._single(items[0][0], items[0][1], flags) if len(items) == 1 else None
        if single is not None:
            return self._run(kind, least, most, single, following)
        if kind is op.POSSESSIVE_REPEAT:
            return self._atomic([(op.MAX_REPEAT, (least, most if most < MOST else op.MAXREPEAT, body))], flags, following)
        return self._loop(kind is op.MIN_REPEAT, least, most, list(body), flags, following)

    def _run(self, kind: Any, least: int, most: int, takes: Callable[[str], bool], following: Step) -> Step:
        """A repetition of one character."""

        def longest(at: int, limit: int) -> int:
            end, text = at, self.text
            stop = min(len(text), at + limit)
            while end < stop and takes(text[end]):
                end += 1
            self.steps += end - at
            self._tick()
            return end

        def step(at: int) -> bool:
            if kind is op.MIN_REPEAT:
                end = longest(at, least)
                if end < at + least:
                    return False
                while not following(end):
                    self._tick()
                    if end - at >= most or end >= len(self.text) or not takes(self.text[end]):
                        return False
                    end += 1
                return True
            end = longest(at, most)
            if kind is op.POSSESSIVE_REPEAT:
                return end >= at + least and following(end)
            for back in range(end, at + least - 1, -1):
                self.steps += 1
                if following(back):
                    return True
            return False

        return step

    def _loop(self, lazy: bool, least: int, most: int, body: list[Any], flags: int, following: Step) -> Step:
        """A repetition of anything: of each that is under way, how often it went round and where the last round began."""
        stack: list[tuple[int, int]] = []
        self.stacks.append(stack)

        def round_from(at: int) -> bool:
            before = stack[-1]
            stack[-1] = (before[0] + 1, at)
            if inner(at):
                return True
            stack[-1] = before
            return False

        def attempt(at: int) -> bool:
            self._tick()
            count, last = stack[-1]
            if count < least:
                return round_from(at)
            more = count < most and at != last  # a round that takes nothing is the last
            if lazy:
                return leave(at) or (more and round_from(at))
            return (more and round_from(at)) or leave(at)

        def leave(at: int) -> bool:
            mine = stack.pop()
            if following(at):
                return True
            stack.append(mine)
            return False

        inner = self._sequence(body, flags, attempt)

        def enter(at: int) -> bool:
            stack.append((0, -1))
            if attempt(at):
                return True
            stack.pop()
            return False

        return enter
