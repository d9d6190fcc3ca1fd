"""`foundry submit` and `foundry jobs`: a recipe as a job on a cluster, watched from here."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from jobs.console import console, emit, mode, size, warn
from jobs.ending import go_on_by
from jobs.faults import Stopped
from jobs.head import Head
from jobs.in_job import MARK
from jobs.progress import Replay
from pipeline.workdir.errors import UserError
from trainer.words import clock

if TYPE_CHECKING:  # recipes take seconds to import, and whoever lists jobs has none
    from jobs.recipe import Recipe

RESULTS = ("report.html", "summary.json")
STOPPED = 143  # the exit code of a job that was stopped


def chosen_address(address: str | None) -> str:
    """The cluster that is meant. Raises `UserError` where none is named."""
    found = address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS")
    if not found:
        raise UserError("--address: no cluster is named; give that of its dashboard, http://HOST:8265, or set RAY_API_SERVER_ADDRESS")
    return found


def variables(given: Sequence[str]) -> dict[str, str]:
    """Variables of a job's environment, as `--env` names them. Raises `UserError` where one has no value here."""
    found = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals and name not in os.environ:
            raise UserError(f"--env {name}: is not set here; set it, or write {name}=VALUE")
        found[name] = value if equals else os.environ[name]
    return found


def connected(address: str) -> Head:
    """The head of a cluster. Raises `UserError` where it cannot be reached."""
    return Head(address)


def stop(head: Head, job: str) -> None:
    """End a job, and say so."""
    try:
        running = head.stop(job)
    except head.errors as error:
        raise UserError(f"Ray cluster {head.address}: the job could not be stopped ({error}); try again") from error
    _print(f"job {job} {'is told to end' if running else 'had ended before'}", "stopped", {"job": job, "running": running})


def submit(
    head: Head,
    recipe_file: Path,
    recipe: Recipe,
    command: Sequence[str],
    options: Sequence[str],
    environment: dict[str, str],
    *,
    follow: bool,
) -> int:
    """Submit a recipe, and follow the job if that is wanted. Returns the exit code: the job's own, if it was followed.

    `command`: of `foundry`, as `["run"]`; `options`: what comes behind the recipe; `environment`: variables of the job's.
    """
    from jobs.bundle import write_bundle

    address = head.address
    job = f"foundry-{recipe.name}-{secrets.token_hex(4)}"
    mark = Path.cwd() / f".{job}.seen"  # by which the job sees whether it runs on this machine
    metadata = {"foundry": "1", "recipe": recipe.name, "workdir": shown_workdir(recipe)}
    given = {"FOUNDRY_JOB": job, "FOUNDRY_GIVEN": ",".join(environment), "PYTHONUNBUFFERED": "1", MARK: str(mark)}
    try:
        with tempfile.TemporaryDirectory(prefix="foundry-") as folder:
            _, sent = write_bundle(Path(folder), recipe_file, recipe)
            line = shlex.join(["sh", "start.sh", *command, recipe_file.name, "--json", *options])
            with suppress(OSError):  # a folder that cannot be written is none that the job would find
                mark.touch()
            try:
                head.submit(line, folder, job, metadata, {**given, **environment})
            except head.errors as error:
                raise UserError(f"Ray cluster {address}: the job could not be submitted ({error}); try again") from error
        told = {"job": job, "address": address, "bytes": sent}
        _print(f"job {job} on {address}{f', sent with {size(sent)} of files' if sent else ''}", "submitted", told)
        return Watching(head, job, lambda: mark.unlink(missing_ok=True)).watch(to_the_end=follow)
    finally:
        mark.unlink(missing_ok=True)


def _print(text: str, kind: str, what: dict[str, Any]) -> None:
    if mode() == "json":
        emit(kind, **what)
    else:
        console.print(text, markup=False, soft_wrap=True)


def shown_workdir(recipe: Recipe) -> str:
    """The workdir for people: without secrets."""
    from pipeline.workdir.dataset import Workdir

    return Workdir(recipe.workdir).shown if "://" in recipe.workdir else recipe.workdir


class Watching:
    """Follows one job."""

    def __init__(self, head: Head, job: str, checked: Callable[[], None] = lambda: None) -> None:
        """`checked` is called once the job has looked at its cluster."""
        self._head, self._job, self._when_checked = head, job, checked
        self._checked = False
        self._replay = Replay()
        address = shlex.quote(head.address)
        self._attach = f"foundry jobs --address {address} --attach {job}"
        self._stop = f"foundry jobs --address {address} --stop {job}"

    def watch(self, *, to_the_end: bool = True) -> int:
        """Follow to the job's end, fetch its report, and return its exit code; or, until it has looked at its cluster, and return 0."""
        go_on_by(f"the job goes on; `{self._attach}` watches it, `{self._stop}` ends it")
        try:
            info = self._head.follow(self._job, self._hear, self._tell, lambda: self._checked and not to_the_end)
        finally:
            self._replay.close()
        if not info.status.is_terminal():
            _print(f"it runs; `{self._attach}` watches it", "left", {"job": self._job})
            return 0
        self._fetch(info)
        return _code(info, self._job)

    # --- lines ---------------------------------------------------------------------------------------------------------

    def _hear(self, line: str) -> None:
        event = _event(line)
        if event is None:
            if line.startswith("foundry: "):
                self._replay.close()
                print(line, file=sys.stderr, flush=True)
            elif not _is_rays(line):
                console.print(line, markup=False, soft_wrap=True)
            return
        if event["kind"] == "checked":
            self._checked = True
            self._when_checked()
        if mode() == "json":
            print(line, flush=True)
        elif event["kind"] == "checked":
            self._tell_checked(event)
        else:
            self._replay.hear(event)

    def _tell_checked(self, event: dict[str, Any]) -> None:
        names = event["nodes"]
        console.print(
            f"{len(names)} node{'s' * (len(names) != 1)} checked: {', '.join(names[:8])}{' ...' * (len(names) > 8)}", markup=False
        )
        for text in event["warnings"]:
            warn(text)

    def _tell(self, text: str) -> None:
        print(f"foundry: {text}", file=sys.stderr, flush=True)

    # --- the end -------------------------------------------------------------------------------------------------------

    def _fetch(self, info: Any) -> None:
        """Bring here what the job has left for its user."""
        if info.driver_node_id is None:
            return
        folder = Path(self._job)
        found = []
        for name in RESULTS:
            try:
                raw = self._head.file(info.driver_node_id, f"foundry-{self._job}-{name}")
            except self._head.errors as error:
                self._tell(f"{name} could not be fetched ({error}); `{self._attach}` tries again")
                return
            if raw is None:
                continue
            try:
                folder.mkdir(exist_ok=True)
                (folder / name).write_bytes(raw)
            except OSError as error:
                self._tell(f"{folder / name}: cannot be written ({error.strerror}); `{self._attach}` fetches it again")
                return
            found.append(str(folder / name))
        if found:
            console.print(f"fetched: {', '.join(found)}", markup=False, soft_wrap=True)


def _event(line: str) -> dict[str, Any] | None:
    if not line.startswith('{"kind": "'):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _is_rays(line: str) -> bool:
    """Whether a line is Ray's own about the job's begin."""
    return line.startswith("Running entrypoint for job ") or " -- Runtime env is setting up." in line


def _code(info: Any, job: str) -> int:
    """The exit code of a job that has ended. Raises `Stopped` where it has none of its own."""
    if info.status.value == "STOPPED":
        raise Stopped(f"job {job} was stopped; submit the recipe again to go on", STOPPED)
    if info.driver_exit_code is not None and info.driver_exit_code >= 0:
        return int(info.driver_exit_code)
    if info.driver_exit_code is not None:
        print(f"foundry: job {job}: its command was killed by signal {-info.driver_exit_code}", file=sys.stderr)
        return 128 - int(info.driver_exit_code)
    if info.status.value == "SUCCEEDED":
        return 0
    print(f"foundry: job {job}: {' '.join((info.message or 'failed').split())[:400]}", file=sys.stderr)
    return 1


def show_jobs(head: Head) -> None:
    """List a cluster's jobs that were submitted by `foundry submit`, the newest first."""
    try:
        found = [job for job in head.jobs() if (job.metadata or {}).get("foundry")]
    except head.errors as error:
        raise UserError(f"Ray cluster {head.address}: its jobs could not be listed ({error}); try again") from error
    if mode() == "json":
        for job in found:
            emit("job", job=job.submission_id, recipe=job.metadata["recipe"], workdir=job.metadata["workdir"], **_times(job))
        return
    if not found:
        console.print("no jobs of Encoder Foundry's")
        return
    table = Table.grid(padding=(0, 2))
    table.add_row("job", "status", "begun", "took", "workdir", style="dim")
    for job in found:
        times = _times(job)
        begun = time.strftime("%Y-%m-%d %H:%M", time.localtime(times["begun"])) if times["begun"] else ""
        code = f" {times['code']}" if times["code"] else ""
        table.add_row(job.submission_id, times["status"].lower() + code, begun, clock(times["seconds"]), job.metadata["workdir"])
    console.print(table)


def _times(job: Any) -> dict[str, Any]:
    begun, ended = (job.start_time or 0) / 1000, (job.end_time or 0) / 1000
    seconds = max(0.0, (ended or time.time()) - begun) if begun else 0.0
    return {"status": job.status.value, "code": job.driver_exit_code, "begun": begun, "seconds": round(seconds, 1)}
