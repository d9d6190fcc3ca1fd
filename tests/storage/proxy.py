"""A proxy on the loopback that does wrong, in aimed ways, to the requests of S3 and the web that pass through it."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_BODY = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>by the proxy</Message></Error>"
_CODES = {"500": "InternalError", "503": "SlowDown", "403": "AccessDenied", "404": "NoSuchKey"}


@dataclass
class Fault:
    """What happens to requests of which `METHOD /path?query` matches a pattern.

    `act`: `500`, `503`, `403`, `404` are answered in the server's place; `drop` closes the connection before the request is passed on, `lost` after
    it was, without its answer; `cut` gives the answer but for its last third; `hold` passes the request on once `go` is set. `times`: of
    so many requests; the rest pass. `every`: of so many that match only the last. `seen` is set by the first.
    """

    pattern: str
    act: str
    times: int = 1 << 30
    every: int = 1
    matched: int = 0
    seen: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)


class Proxy:
    """Passes requests on to a port of the loopback, one a connection, but for those that `faults` name."""

    def __init__(self, upstream: int) -> None:
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self._upstream, self._lock = upstream, threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Answer nobody any more."""
        for fault in self.faults:
            fault.go.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def add(self, pattern: str, act: str, times: int = 1 << 30, every: int = 1) -> Fault:
        """Do wrong from now on."""
        fault = Fault(pattern, act, times, every)
        self.faults.insert(0, fault)
        return fault

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._guarded, args=(client,), daemon=True).start()

    def _guarded(self, client: socket.socket) -> None:
        with client, suppress(OSError, EOFError):
            self._pass(client)

    def _fault(self, line: str) -> Fault | None:
        with self._lock:
            self.requests.append(line)
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.pattern, line):
                    fault.matched += 1
                    if fault.matched % fault.every:
                        continue
                    fault.times -= 1
                    fault.seen.set()
                    return fault
        return None

    def _pass(self, client: socket.socket) -> None:
        reader = client.makefile("rb")
        head = _head(reader.readline)
        method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        fault = self._fault(f"{method} {path}")
        if re.search(rb"(?i)\r\nexpect: *100-continue", head):
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = _body(head, reader.read, reader.readline)
        act = fault.act if fault is not None else "pass"
        if act in _CODES:
            answer = b"" if method == "HEAD" else _BODY.format(code=_CODES[act]).encode()
            client.sendall(
                f"HTTP/1.1 {act} X\r\nContent-Type: application/xml\r\nContent-Length: {len(answer)}\r\nConnection: close\r\n\r\n".encode()
                + answer
            )
            return
        if act == "drop":
            return
        if act == "hold":
            assert fault is not None
            fault.go.wait()
        head = re.sub(rb"(?i)\r\n(?:connection|expect):[^\r]*", b"", head)[:-2] + b"Connection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self._upstream)) as server:
            server.sendall(head + body)
            parts = list(iter(lambda: server.recv(1 << 16), b""))
        answer = b"".join(parts)
        if act != "lost":
            client.sendall(answer[: len(answer) * 2 // 3] if act == "cut" else answer)


def _head(readline: Callable[[], bytes]) -> bytes:
    lines = []
    while (line := readline()) != b"\r\n":
        if not line:
            raise EOFError
        lines.append(line)
    return b"".join([*lines, b"\r\n"])


def _body(head: bytes, read: Callable[[int], bytes], readline: Callable[[], bytes]) -> bytes:
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if length is not None:
        return read(int(length[1]))
    parts = []
    if re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
        while True:
            line = readline()
            parts += [line, read(int(line.split(b";")[0], 16) + 2)]
            if parts[-1] == b"\r\n":  # trailers may come instead of it, after the last chunk
                break
            if line.startswith(b"0"):
                parts.append(_head(readline))
                break
    return b"".join(parts)


@contextmanager
def proxy(upstream: int) -> Iterator[Proxy]:
    """A proxy before a port of the loopback."""
    running = Proxy(upstream)
    try:
        yield running
    finally:
        running.close()
