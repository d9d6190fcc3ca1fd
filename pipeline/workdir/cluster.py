"""How a Ray cluster is reached by its address. What Ray tells by tracebacks, or after minutes, is one line within seconds."""

from __future__ import annotations

import atexit
import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.workdir.errors import UserError

SECONDS = 8.0  # for each of: the host's name, a connection, an answer

_HOST_AND_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>\d{1,5})")
_KNOWN = ("auto", "local")  # what Ray has besides hosts with ports
# What any client asks a head at first. Where another version of Ray has another name for it, the answer says so, and Ray is asked itself.
_QUESTION = "/ray.rpc.NodeInfoGcsService/CheckAlive"


def check_form(address: str) -> None:
    """Raises `UserError` where an address cannot be that of a cluster which stages run on."""
    what = f"Ray cluster {address}"
    if address.startswith(("http://", "https://")):
        raise UserError(
            f"{what}: is the address of a dashboard, which `foundry submit` takes; give the one that `ray start --head` prints, HOST:6379"
        )
    if address.startswith("ray://"):
        raise UserError(f"{what}: Ray Client cannot run stages; use `foundry submit RECIPE --address http://HOST:8265` instead")
    if address not in _KNOWN:
        split(address, "HOST:6379, as `ray start --head` prints it, or `auto`")


def split(address: str, wanted: str) -> tuple[str, int]:
    """Host and port of an address. Raises `UserError` that says what is wanted."""
    match = _HOST_AND_PORT.fullmatch(address)
    if match is None or not 0 < int(match["port"]) < 65_536:
        raise UserError(f"Ray cluster {address}: is no address; give {wanted}")
    return match["host"].strip("[]"), int(match["port"])


def reach(address: str, host: str, port: int) -> None:
    """Raises `UserError` where there is no such host, or nothing that listens there."""
    found: list[Any] = []
    asking = threading.Thread(target=_resolve, args=(host, port, found), daemon=True)  # a dead server of names is waited for long
    asking.start()
    asking.join(SECONDS)
    if not found or isinstance(found[0], OSError):
        why = found[0].strerror if found else f"no answer within {SECONDS:.0f} seconds"
        raise UserError(f"Ray cluster {address}: the host {host} is not known ({why}); correct the address")
    try:
        socket.create_connection((host, port), timeout=SECONDS).close()
    except OSError as error:
        why = error.strerror or f"no answer within {SECONDS:.0f} seconds"
        raise UserError(
            f"Ray cluster {address}: cannot be reached ({why}); start it with `ray start --head`, or correct the address"
        ) from error


def _resolve(host: str, port: int, found: list[Any]) -> None:
    try:
        found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except OSError as error:
        found.append(error)
    except UnicodeError:  # a name with an empty or endless part
        found.append(OSError(0, "it is no name of a host"))


def token() -> tuple[str, str]:
    """The token that Ray would authenticate with, and where it is from; empty where there is none, or none is to be used."""
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return "", ""
    if value := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return value, "RAY_AUTH_TOKEN"
    try:
        path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
        return path.read_text(encoding="utf-8").strip(), str(path)
    except (OSError, UnicodeError, RuntimeError):  # the last: there is no home folder
        return "", ""


def authenticate() -> None:
    """Have Ray use the token that there is. It must be called before Ray is imported."""
    if "RAY_AUTH_MODE" not in os.environ and token()[0]:
        os.environ["RAY_AUTH_MODE"] = "token"


def refused(address: str) -> UserError:
    """What is told where a cluster does not take the token, or wants one."""
    given, place = token()
    print_it = "`ray get-auth-token` on its head prints it"
    if given:
        return UserError(f"Ray cluster {address}: does not take the token of {place}; give the cluster's own ({print_it})")
    mode = "RAY_AUTH_MODE=token and " if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token" else ""
    return UserError(
        f"Ray cluster {address}: wants a token, and there is none here; set {mode}RAY_AUTH_TOKEN to it, or write it to ~/.ray/auth_token "
        f"({print_it})"
    )


def check(address: str) -> None:
    """Raises `UserError`, within half a minute, where a cluster's head cannot be reached or does not take the token."""
    check_form(address)
    authenticate()
    if address in _KNOWN:
        return
    host, port = split(address, "HOST:6379")
    reach(address, host, port)
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return  # Ray knows the certificates
    import grpc  # Ray's own dependency

    metadata = [("authorization", f"Bearer {token()[0]}")] if token()[0] else []
    code = None
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_unary(_QUESTION, request_serializer=bytes, response_deserializer=bytes)
        try:
            ask(b"", timeout=SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            code = error.code()
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        raise refused(address)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        raise UserError(f"Ray cluster {address}: what listens there is no head of Ray's; give the address that `ray start --head` prints")


def connect(address: str | None, workers: int | None, *, log_to_driver: bool = True) -> Any:
    """Ray, connected to the cluster at an address, or, without one, started on this machine with so many CPUs (default: all allowed).

    Raises `UserError` where the cluster cannot be reached, or Ray does not start.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address:
        check(address)
    import ray

    if ray.is_initialized():
        return ray
    if not address:
        try:
            ray.init(
                address="local",  # a cluster that runs on this machine is used where it is asked for
                num_cpus=workers or len(os.sched_getaffinity(0)),
                include_dashboard=False,
                object_store_memory=96 << 20,  # enough, since no bulk data passes through it
                logging_level="ERROR",
                log_to_driver=log_to_driver,
            )
        except Exception as error:  # Ray's own class for one of its processes that did not come up is no other
            why = " ".join(str(error).split())
            raise UserError(
                f"Ray could not be started on this machine ({why}); run the same command again, and where that does not help, make room in "
                "memory and on the disk of /tmp, where Ray has its logs"
            ) from error
        _have_a_witness()
        return ray
    try:
        ray.init(address=address, logging_level="ERROR", log_to_driver=log_to_driver)
    except ray.exceptions.AuthenticationError as error:
        raise refused(address) from error
    except (ConnectionError, ValueError, RuntimeError) as error:  # another version of Ray or Python is a RuntimeError
        why = " ".join(str(error).split())
        raise UserError(
            f"Ray cluster {address}: cannot be used ({why}); start it with `ray start --head`, and from a machine that is no node of it "
            "use `foundry submit`"
        ) from error
    return ray


_WITNESS = (
    "import sys; sys.stdin.buffer.read() or sys.stderr.write('foundry: ended without a word: this process, or what Ray has running on this "
    "machine, was killed, perhaps for want of memory; run the same command again to go on\\n')"
)


@cache
def _have_a_witness() -> None:
    """Have a small process say so where this one ends without a word: Ray ends it at once where Ray's own processes here are gone."""
    witness = subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", _WITNESS], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    )
    owner = os.getpid()

    def well() -> None:
        if os.getpid() == owner:  # and no process that it has forked
            with suppress(OSError, ValueError):
                witness.communicate(b"well")

    atexit.register(well)


def disconnect() -> None:
    """Stop Ray, or disconnect from the cluster."""
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        ray.shutdown()
