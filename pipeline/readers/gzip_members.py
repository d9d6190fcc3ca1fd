"""Gzip as a run of members: where each begins is known, a checksum or an end that is missing is an error, and reading can go
on at the next member after damage. Python's own `gzip` knows neither; isal inflates twice as fast as zlib.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from isal import isal_zlib

from pipeline.readers.window import Window

_IsalError: type[Exception] = cast(Any, isal_zlib.IsalError)  # its stub has an instance

MAGIC = b"\x1f\x8b"
_BEGIN = re.compile(b"\x1f\x8b\x08[\x00-\x1f]")  # deflate is the only method there is, and three flags are reserved
_INPUT = 1 << 16
_LOOK_BACK = 8 << 20  # compressed bytes of a member that are kept, to look for the next one in, where it turns out damaged
_CANDIDATES = 10_000  # places that look like a member and are none, before looking is given up: a bound on hostile input


class GzipMembers(io.RawIOBase):
    """The contents of a gzip stream, all members one after the other.

    `member` is the place of the current member in the stream. Reading raises `zlib.error` where a member is damaged, and
    `EOFError` where its end is missing; zeros after the last member are padding.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._window = Window.of(stream)
        self._at = 0  # offset of the next byte to inflate
        self._inflate: Any = None
        self._tries = 0
        self.member = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, but at least one unless the stream is at its end."""
        if size < 0:
            return self.readall()
        while True:
            if self._inflate is None and not self._begin():
                return b""
            assert self._inflate is not None, "a member has begun"
            data = self._window.get(self._at, self._at + _INPUT)
            if not data:
                raise EOFError(f"the gzip member at byte {self.member} is cut off")
            try:
                out = self._inflate.decompress(data, size)
            except _IsalError as error:
                raise zlib.error(f"the gzip member at byte {self.member} is damaged: {error}") from None
            self._at += len(data) - len(self._inflate.unconsumed_tail) - len(self._inflate.unused_data)
            self._window.forget(max(self.member, self._at - _LOOK_BACK))
            if self._inflate.eof:
                self._inflate = None
            if out:
                return bytes(out)

    def _begin(self) -> bool:
        while True:
            head = self._window.get(self._at, self._at + _INPUT)
            padding = len(head) - len(head.lstrip(b"\0"))
            if not head or not padding or self._at == 0:
                break
            self._at += padding
            self._window.forget(self._at)
        if not head:
            return False
        self.member = self._at
        if not head.startswith(MAGIC):
            raise zlib.error(f"no gzip member at byte {self._at}")
        self._inflate = isal_zlib.decompressobj(31)
        return True

    def resume(self, accept: Callable[[bytes], bool]) -> bool:
        """After an error, goes to the next member whose first bytes (up to 64) `accept` takes. False where there is none."""
        self._inflate = None
        at = self.member + 1
        while self._tries < _CANDIDATES:
            found = self._window.search(_BEGIN, at, 4)
            if found is None:
                break
            self._tries += 1
            try:
                first = isal_zlib.decompressobj(31).decompress(self._window.get(found, found + 4096), 64)
            except _IsalError:
                first = b""
            if accept(first):
                self._at = self.member = found
                return True
            at = found + 1
        return False
