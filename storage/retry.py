"""Trying again: with waits that grow and differ, within a stated time."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from storage.errors import Kind, Refused, StorageError, Unreachable, kind, remedy, why
from storage.location import Location

Value = TypeVar("Value")

VARIABLE = "FOUNDRY_RETRY_SECONDS"
SECONDS = 120.0  # in which one request is tried again, where the variable says nothing else
FIRST_SECONDS = 10.0  # for what a command asks first of a place that may be misspelt
FORBIDDEN_SECONDS = 10.0  # for 403, which servers give for some seconds after a change of permissions, or under load
FIRST_WAIT, LONGEST_WAIT = 0.5, 20.0  # seconds, each times 0.5 to 1.5, so that many workers do not come back at once
LEAST_WAIT = 0.01  # seconds; who has less left has none


def stated() -> float:
    """Seconds for which one request is tried again: `FOUNDRY_RETRY_SECONDS`, by default 120. Raises `Refused` where that is no number."""
    text = os.environ.get(VARIABLE, "")
    try:
        return max(0.0, float(text)) if text else SECONDS
    except ValueError:
        raise Refused(VARIABLE, f"`{text}` is no number", "give seconds, such as 120") from None


@dataclass(frozen=True)
class Patience:
    """How long a request is tried again. `seconds`: None takes what `stated` says, at the time of the request."""

    seconds: float | None = None
    wait: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def again(self, action: Callable[[], Value], what: str, location: Location, *, local: bool = False) -> Value:
        """What the action returns, tried until it is done.

        What is missing is missing: `FileNotFoundError` is raised at once. Raises `Refused` for what does not pass by itself, and
        `Unreachable` for what has not passed within the time. `what`: the place and what could not be done, for their message.
        """
        begin: float | None = None
        attempt = 0
        while True:
            try:
                return action()
            except (FileNotFoundError, MemoryError, StorageError):
                raise
            except Exception as error:  # each library has errors of its own
                now = self.clock()
                begin = now if begin is None else begin
                reason = kind(error, local=local)
                left = self._time(reason) - (now - begin)
                if left < LEAST_WAIT:
                    raise _failed(reason, what, why(error, location), now - begin, local=local) from error
                # The last wait ends with the time, so that all of it is used, whatever was drawn.
                pause = min(left, min(LONGEST_WAIT, FIRST_WAIT * 2**attempt) * random.uniform(0.5, 1.5))
            self.wait(pause)
            attempt += 1

    def _time(self, reason: Kind) -> float:
        if reason is Kind.LASTING:
            return -1.0
        whole = stated() if self.seconds is None else self.seconds
        return min(whole, FORBIDDEN_SECONDS) if reason is Kind.FORBIDDEN else whole


def _failed(reason: Kind, what: str, told: str, seconds: float, *, local: bool) -> StorageError:
    if reason is Kind.PASSING:
        tried = f"{told}; tried for {seconds:.0f} s" if seconds >= 1 else told
        cause = "the disk" if local else "the URI, the network and the server"
        return Unreachable(what, tried, f"check {cause}, then run the same command again")
    if local:
        if what.endswith("written"):
            return Refused(what, told, "free space or correct the permissions, then run again")
        if "denied" in told or "permitted" in told:
            return Refused(what, told, "correct the permissions, then run again")
    return Refused(what, told, f"{remedy(told)}, then run again")
