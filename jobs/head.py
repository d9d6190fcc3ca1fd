"""The head of a Ray cluster, by the job API of its dashboard: submit, list, stop, and follow a job through lost connections."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from pipeline.workdir import cluster
from pipeline.workdir.errors import UserError

CONNECT, ANSWER = 8.0, 60.0  # seconds for a connection, and for an answer
QUIET = 30.0  # seconds without a word after which it is looked whether the job is still there
_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0)  # seconds between attempts to connect again; the last goes on
_TALKATIVE = ("ray.dashboard.modules.job.sdk", "ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging")
_ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")  # with which Ray would override what it is given


class Head:
    """A cluster's job API. Its methods raise `UserError` of what the user can mend, and `OSError` where it cannot be reached."""

    def __init__(self, address: str) -> None:
        """Connect. `address`: of the dashboard, http://HOST:8265, or, on a node of the cluster, HOST:6379 or `auto`."""
        self.address = address
        url = address if "://" in address else ""
        if url:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
                raise UserError(f"Ray cluster {address}: is no address of a dashboard; give http://HOST:8265")
            try:
                port = parts.port or (443 if parts.scheme == "https" else 80)
            except ValueError:
                raise UserError(f"Ray cluster {address}: its port is no number from 1 to 65535; give http://HOST:8265") from None
            cluster.authenticate()
            cluster.reach(address, parts.hostname, port)
        elif ":" not in address and address != "auto":
            raise UserError(f"Ray cluster {address}: is no address; give that of its dashboard, http://HOST:8265")
        else:
            cluster.check(address)
        self.errors = _errors()
        self._client = self._connect(address)

    def _connect(self, address: str) -> Any:
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient

        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)

        class Client(JobSubmissionClient):
            """Ray's, which would wait for ever for a head that says nothing."""

            def _do_request(self, method: str, endpoint: str, **named: Any) -> Any:
                return super()._do_request(method, endpoint, **{"timeout": (CONNECT, ANSWER), **named})

        set_aside = {name: os.environ.pop(name) for name in _ADDRESSES if name in os.environ}
        try:
            return Client(address)
        except AuthenticationError as error:
            raise cluster.refused(address) from error
        except self.errors + (ValueError, RuntimeError, KeyError) as error:  # noqa: RUF005 (mypy does not know the other form)
            why = " ".join(str(error).split())[:200]
            raise UserError(
                f"Ray cluster {address}: what listens there is no dashboard of Ray's ({why}); its port is 8265, unless `ray start` says "
                "another"
            ) from error
        finally:
            os.environ.update(set_aside)

    # --- jobs ----------------------------------------------------------------------------------------------------------

    def submit(self, command: str, folder: str, job: str, metadata: dict[str, str], variables: dict[str, str]) -> None:
        """Send a bundle, and begin its command as a job of this id."""
        environment = {"working_dir": folder, "env_vars": variables}
        self._asked(lambda: self._client.submit_job(entrypoint=command, runtime_env=environment, submission_id=job, metadata=metadata))

    def jobs(self) -> list[Any]:
        """All jobs that were submitted, the newest first."""
        found = [job for job in self._asked(self._client.list_jobs) if job.submission_id]
        return sorted(found, key=lambda job: -(job.start_time or 0))

    def info(self, job: str) -> Any:
        """What is known of a job."""
        return self._asked(lambda: self._client.get_job_info(job), job)

    def stop(self, job: str) -> bool:
        """Have a job end. Returns whether it was running."""
        return bool(self._asked(lambda: self._client.stop_job(job), job))

    def file(self, node: str, name: str) -> bytes | None:
        """A file among the logs of a node; None where there is none."""
        from urllib.parse import urlencode

        query = urlencode({"node_id": node, "filename": name, "lines": -1, "download_filename": name})
        answer = self._client._do_request("GET", f"/api/v0/logs/file?{query}")
        return answer.content if answer.status_code == 200 else None

    def _asked(self, question: Callable[[], Any], job: str = "") -> Any:
        from ray.exceptions import AuthenticationError

        try:
            return question()
        except AuthenticationError as error:
            raise cluster.refused(self.address) from error
        except RuntimeError as error:
            text = " ".join(str(error).split())
            if job and ("status code 404" in text or "does not exist" in text):
                raise UserError(
                    f"job {job}: the cluster {self.address} knows none of this name; `foundry jobs` lists those it has"
                ) from error
            if "status code 4" in text:
                raise UserError(f"Ray cluster {self.address}: {text[:400]}") from error
            raise ConnectionError(text[:200]) from error  # its dashboard, or what stands before it, is ill

    # --- following -----------------------------------------------------------------------------------------------------

    def follow(self, job: str, hear: Callable[[str], None], tell: Callable[[str], None], until: Callable[[], bool] = lambda: False) -> Any:
        """Hear a job's lines as it prints them, from its first on, until it has ended or `until` says so. Returns what is known of it.

        Where the connection is lost, `tell` is told, and it is tried again for as long as the job may be there.
        """
        log = _Log(hear)
        attempt, lost = 0, False
        while True:
            try:
                self.info(job)  # which says it where there is no such job
                if lost:
                    tell(f"connected to {self.address} again")
                attempt, lost = 0, False
                ended = asyncio.run(self._listen(job, log, until))
                info = self.info(job)
                if until() or (ended and info.status.is_terminal()):
                    log.close()
                    return info
            except self.errors as error:
                if log.failed:  # what was heard could not be printed, which is no fault of the connection's
                    raise
                if not lost:
                    tell(f"the connection to {self.address} is lost ({_why(error)}); the job goes on, and it is tried again")
                lost = True
            time.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)] if lost else 0.3)
            attempt += 1

    async def _listen(self, job: str, log: _Log, until: Callable[[], bool]) -> bool:
        """Listen to a job's log from its beginning, and hear what was not heard before. Returns whether it came to its end."""
        log.begin()
        lines = self._client.tail_job_logs(job)
        coming: asyncio.Task[str] | None = None
        try:
            while not until():
                coming = asyncio.ensure_future(anext(lines))
                done, _ = await asyncio.wait({coming}, timeout=QUIET)
                if not done:
                    return False  # it may be that nothing is said, or that nothing comes through any more
                log.add(coming.result())
        except StopAsyncIteration:
            return True
        except RuntimeError as error:  # Ray's own, of a connection that was cut
            raise ConnectionError(str(error)) from error
        finally:
            if coming is not None and not coming.done():
                coming.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await coming
            await lines.aclose()
        return False


class _Log:
    """A log of which the first part may come several times over."""

    def __init__(self, hear: Callable[[str], None]) -> None:
        self._hear, self.failed = hear, False
        self._heard, self._at, self._rest = 0, 0, ""

    def begin(self) -> None:
        """The log comes again from its beginning."""
        self._at = 0

    def add(self, text: str) -> None:
        """The next part of it."""
        self._at += len(text)
        new = text[max(0, len(text) - (self._at - self._heard)) :] if self._at > self._heard else ""
        self._heard = max(self._heard, self._at)
        *whole, self._rest = (self._rest + new).split("\n")
        for line in whole:
            self.failed = True  # unless it comes through
            self._hear(line)
            self.failed = False

    def close(self) -> None:
        """No more comes."""
        if self._rest:
            self._hear(self._rest)
        self._rest = ""


def _errors() -> tuple[type[Exception], ...]:
    """What says that a head cannot be reached."""
    import aiohttp  # these two are Ray's own dependencies
    import requests

    return (OSError, TimeoutError, asyncio.TimeoutError, aiohttp.ClientError, requests.RequestException)


def _why(error: Exception) -> str:
    """An error in a few words."""
    inner: BaseException = error
    while inner.__context__ is not None and not isinstance(inner, ConnectionError):
        inner = inner.__context__
    text = getattr(inner, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return text[:120]
