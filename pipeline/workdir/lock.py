"""One process writes to a workdir at a time.

In a folder of a machine it is a lock of the kernel's, which ends with its holder, however that ends. In object storage it is a *lease*: an
object that its holder writes anew every few seconds. Whoever wants the workdir and finds one watches it: a lease that does not change for
`LAPSE` is of a holder that is gone. No clocks are compared. Two that take a lapsed lease in the same moment both wait for `SETTLE` after
writing theirs, and whose is there then has it.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from pipeline.workdir.dataset import Workdir
from pipeline.workdir.errors import UserError
from storage.lock import Taken, described, release, sign, take, this_process

LOCAL, LEASE = ".lock", "_lease.json"
BEAT, LAPSE, SETTLE = 10.0, 45.0, 3.0  # seconds


_handles: dict[str, int] = {}  # the files that this process has locked, by path
_leases: dict[str, _Lease] = {}  # by URI


class WorkdirLock:
    """The right of this process to write to a workdir, taken by `hold` and kept until `release` or the process's end."""

    def __init__(self, workdir: Workdir, wait: Callable[[float], None] = time.sleep) -> None:
        self._workdir, self._wait = workdir, wait

    def hold(self) -> bool:
        """Take it; returns whether it was not held yet. Raises `UserError`, naming the holder, where another process has it."""
        workdir = self._workdir
        if workdir.is_local:
            if workdir.path() in _handles:
                return False
            _handles[workdir.path()] = self._taken()
            return True
        if workdir.uri in _leases:
            _leases[workdir.uri].check()
            return False
        _leases[workdir.uri] = _Lease(workdir, self._wait)
        return True

    def is_free(self) -> bool:
        """Whether this process has it, or may have it without waiting; then it has it."""
        try:
            if not self._workdir.is_local and self._workdir.uri not in _leases and self._workdir.read(LEASE) is not None:
                return False  # it may have lapsed, but to see that takes a while
            self.hold()
        except UserError:
            return False
        return True

    def release(self) -> None:
        """Let another process have it."""
        if self._workdir.is_local:
            handle = _handles.pop(self._workdir.path(), -1)
            if handle >= 0:
                release(handle)
        elif (lease := _leases.pop(self._workdir.uri, None)) is not None:
            lease.end()

    def _taken(self) -> int:
        try:
            os.makedirs(self._workdir.path(), exist_ok=True)
            handle = take(self._workdir.path(LOCAL))
        except OSError as error:
            raise UserError(f"workdir {self._workdir.shown}: cannot be written ({error.strerror}); correct its permissions") from error
        except Taken as holder:
            raise UserError(f"workdir {self._workdir.shown}: {holder} writes to it now; wait for its end, or stop it") from None
        sign(handle)
        return handle


class _Lease:
    """A lease of a workdir in object storage, renewed by a thread."""

    def __init__(self, workdir: Workdir, wait: Callable[[float], None]) -> None:
        self._workdir, self._id, self._beats = workdir, uuid.uuid4().hex, 0
        self._end = threading.Event()
        self._lost = False
        found = self._read()
        for _ in range(int(LAPSE / BEAT) + 1 if found is not None else 0):
            wait(BEAT)
            if self._read() is None:
                break
            if self._read() != found:
                raise UserError(f"workdir {workdir.shown}: {described(json.dumps(found))} writes to it now; wait for its end, or stop it")
        self._write()
        wait(SETTLE)
        self.check()
        threading.Thread(target=self._beat, name="lease", daemon=True).start()

    def check(self) -> None:
        """Raises `UserError` where another process has taken the lease since."""
        found = self._read()
        if self._lost or found is None or found.get("id") != self._id:
            self._lost = True
            holder = described(json.dumps(found))
            raise UserError(f"workdir {self._workdir.shown}: {holder} writes to it now; wait for its end, then run again")

    def end(self) -> None:
        """Give it up."""
        self._end.set()
        if not self._lost and (self._read() or {}).get("id") == self._id:
            self._workdir.delete(LEASE)

    def _read(self) -> dict[str, Any] | None:
        body = self._workdir.json(LEASE)
        return body if isinstance(body, dict) else None

    def _write(self) -> None:
        self._beats += 1
        self._workdir.write(json.dumps({**this_process(), "id": self._id, "beats": self._beats}).encode(), LEASE)

    def _beat(self) -> None:
        while not self._end.wait(BEAT):
            try:
                if (self._read() or {}).get("id") != self._id:
                    self._lost = True
                    return
                self._write()
            except Exception:  # the storage is out of reach for a while: `check` says what has become of the lease
                continue
