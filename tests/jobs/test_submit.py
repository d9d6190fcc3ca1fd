"""Jobs on a Ray cluster: what is sent, what is looked at before anything starts, how a job is followed, and what is told of bad addresses."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.bundle import packages, write_bundle
from jobs.head import Head
from jobs.in_job import differences, others, unseen
from jobs.recipe import load_recipe
from pipeline.workdir.errors import UserError
from tests.integration.small import ROOT, called, files_of
from tests.test_architecture import ALLOWED

RECIPE: dict[str, Any] = {
    "name": "own",
    "workdir": "workdir/own",
    "sources": [{"name": "mine", "domain": "web", "format": "jsonl", "path": "data/*.jsonl"}],
    "tokenizer": {"vocab_size": 512, "unused": 16},
    "model": {"vocab_size": 512, "hidden_size": 64, "layers": 2, "heads": 1, "intermediate_size": 64},
    "phases": [{"name": "stable", "length": 128, "tokens": 8000, "batch_size": 8, "learning_rate": 1e-3, "warmup_tokens": 1000}],
}


def project(folder: Path, **changes: Any) -> Path:
    """A folder with a recipe and the small files that it names; returns the recipe."""
    (folder / "data").mkdir(parents=True)
    for number in range(2):
        words = (f"Sentence {row} of the file {number} says that {row * 7} is not {row * 11}." for row in range(400))
        lines = [json.dumps({"id": f"{number}-{row}", "text": text}) for row, text in enumerate(words)]
        (folder / "data" / f"{number}.jsonl").write_text("\n".join(lines))
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, **changes}))
    return path


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that the user has would be used from then on, by other tests in this process, too."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


# --- addresses ---------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.parametrize("command", ["curate", "run", "pack", "pretrain", "tokenizer train", "demo", "submit", "jobs"])
def test_an_address_that_cannot_be_is_one_line_for_every_command(command: str, tmp_path: Path) -> None:
    recipe = [] if command in ("demo", "jobs") else [project(tmp_path)]
    places = {
        "nonsense": "is no address",
        f"127.0.0.1:{free_port()}": "cannot be reached (Connection refused)",
        "no-such-host.invalid:6379": "the host no-such-host.invalid is not known",
    }
    if command in ("submit", "jobs"):
        places |= {"ftp://127.0.0.1": "is no address of a dashboard", f"http://127.0.0.1:{free_port()}": "cannot be reached"}
    else:
        places |= {"http://127.0.0.1:8265": "`foundry submit` takes", "ray://127.0.0.1:10001": "use `foundry submit"}
    for address, words in places.items():
        result = called(*command.split(), *recipe, "--address", address)
        assert result.returncode == 2
        assert result.stderr.startswith(f"foundry: Ray cluster {address}: ")
        assert words in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_what_listens_and_is_no_head_of_rays_is_told_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        threading.Thread(target=_answers, args=(server,), daemon=True).start()
        result = called("curate", project(tmp_path), "--address", f"127.0.0.1:{port}")
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert "what listens there is no head of Ray's" in result.stderr


def _answers(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


# --- what is sent ------------------------------------------------------------------------------------------------------


def test_a_bundle_has_all_packages_the_recipe_and_its_files_and_is_the_same_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(packages()) >= set(ALLOWED), "a package of ours is not sent"
    recipe = project(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    made = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        job, sent = write_bundle(tmp_path / name, recipe, load_recipe(recipe))
        made.append({path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file()})
    assert made[0] == made[1]
    assert sent == sum(path.stat().st_size for path in (tmp_path / "here" / "data").iterdir())
    for path in ("start.sh", "jobs/cli.py", "pipeline/report/report.html.j2", "recipes/demo.yaml", "files/own.yaml", "files/data/0.jsonl"):
        assert Path(path) in made[0]
    assert job.modified == {f"data/{n}.jsonl": (tmp_path / "here" / "data" / f"{n}.jsonl").stat().st_mtime_ns for n in range(2)}
    assert job.paths == {}


def test_paths_that_cannot_be_sent_are_a_line_or_must_be_on_every_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bundle").mkdir()
    monkeypatch.chdir(tmp_path)

    def bundle(path: str) -> dict[str, str]:
        shutil.rmtree(tmp_path / "bundle")
        (tmp_path / "bundle").mkdir()
        shutil.rmtree(tmp_path / "here", ignore_errors=True)
        recipe = project(tmp_path / "here", sources=[{**RECIPE["sources"][0], "path": path}])
        return write_bundle(tmp_path / "bundle", recipe, load_recipe(recipe))[0].paths

    assert bundle("s3://bucket/data") == {}
    assert bundle("/data/set/*.jsonl") == {"/data/set": "sources.mine.path"}
    with pytest.raises(UserError, match=r"sources\.mine\.path: \.\./data lies above the current folder"):
        bundle("../data")
    with pytest.raises(UserError, match=r"sources\.mine\.path: none: there is nothing there"):
        bundle("none")
    with open(tmp_path / "large", "wb") as file:
        file.truncate(65 << 20)
    with pytest.raises(UserError, match=r"sources\.mine\.path: large has 68\.2 MB, and a job is sent 67\.1 MB at most"):
        bundle("large")


# --- what is looked at -------------------------------------------------------------------------------------------------

JOB = {
    "workdir": "/w",
    "python": "3.11",
    "packages": {"ray": "2.60.0", "pyarrow": "26.0.1"},
    "requirements": ["ray>=2.50", "pyarrow>=20"],
    "version": "0.2.0",
    "paths": {"/data": "sources.mine.path"},
}
NODE = {"host": "n1", "python": "3.11", "packages": {"ray": "2.60.0", "pyarrow": "26.0.1"}, "paths": ["/data", "/w/mark"]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"python": "3.12"}, "n2 has Python 3.12, and the command was given with 3.11"),
        ({"packages": {"ray": "2.60.0"}}, "n2 has no pyarrow; install Encoder Foundry 0.2.0 on every node"),
        ({"packages": {"ray": "2.60.0", "pyarrow": "19.0"}}, "n2 has pyarrow 19.0, and pyarrow>=20 is needed"),
        ({"packages": {"ray": "2.59.0", "pyarrow": "26.0.1"}}, "n2 has Ray 2.59.0, and here it is 2.60.0"),
        ({"paths": []}, "sources.mine.path: /data is not there on n2"),
    ],
)
def test_the_first_thing_that_a_node_lacks_is_a_line(change: dict[str, Any], words: str | None) -> None:
    found = differences(JOB, [NODE, {**NODE, "host": "n2", **change}])
    assert found == words if words is None else found is not None and found.startswith(words)


def test_other_versions_are_told_and_a_workdir_that_a_node_does_not_see_is_a_line() -> None:
    assert others(JOB, [NODE]) is None
    other = {**NODE, "packages": {"ray": "2.60.0", "pyarrow": "25.0.0"}}
    assert "pyarrow 25.0.0 (here 26.0.1)" in str(others(JOB, [NODE, other]))
    assert unseen(JOB, "/w/mark", [NODE]) is None
    assert "workdir /w: n2 does not see" in str(unseen(JOB, "/w/mark", [NODE, {**NODE, "host": "n2", "paths": ["/data"]}]))


# --- a cluster ---------------------------------------------------------------------------------------------------------

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


class Proxy:
    """Stands before a port, and can be cut."""

    def __init__(self, port: int) -> None:
        self._target, self.port = port, free_port()
        self._open: list[socket.socket] = []
        self.mend()

    def mend(self) -> None:
        self._server = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._serve, args=(self._server,), daemon=True).start()

    def cut(self) -> None:
        for each in [self._server, *self._open]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._open.clear()

    def _serve(self, server: socket.socket) -> None:
        while True:
            try:
                one = server.accept()[0]
                other = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self._open += [one, other]
            for pair in ((one, other), (other, one)):
                threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while piece := one.recv(1 << 16):
                other.sendall(piece)
        except OSError:
            pass
        for each in (one, other):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of the dashboard of a cluster that wants a token, started as people do, from a folder of its own."""
    ports = {name: free_port() for name in ("port", "dashboard-port", "ray-client-server-port", "metrics-export-port")}
    folder = Path("/tmp") / f"ray-{secrets.token_hex(4)}"  # short: Ray puts sockets below it
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1"]
    command += [f"--{name}={port}" for name, port in ports.items()]
    command += ["--dashboard-host=127.0.0.1", f"--dashboard-agent-listen-port={free_port()}", f"--temp-dir={folder}"]
    command += ["--object-store-memory=100000000", "--disable-usage-stats"]
    environment = {**os.environ, **TOKEN, "PATH": "/usr/bin:/bin"}  # no `foundry` and no Python of ours on it
    path = tmp_path_factory.mktemp("head") / "log"
    with (
        open(path, "w") as log,
        subprocess.Popen(command, env=environment, cwd="/", stdout=log, stderr=log, start_new_session=True) as process,
    ):
        try:
            while "Ray runtime started" not in path.read_text():
                assert process.poll() is None, path.read_text()
                time.sleep(0.1)
            yield ports["dashboard-port"]
        finally:
            process.send_signal(signal.SIGTERM)  # ends all that it has started
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)


def test_what_cannot_be_printed_is_no_fault_of_the_connection() -> None:
    class Closed(Head):
        """A head whose jobs print a line."""

        def __init__(self) -> None:
            self.address, self.errors, self._client = "here", (OSError,), self

        def info(self, job: str) -> Any:
            return None

        async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
            yield "a line\n"

    def hear(line: str) -> None:
        raise BrokenPipeError(line)

    with pytest.raises(BrokenPipeError, match="a line"):
        Closed().follow("job", hear, pytest.fail)


def command(*arguments: str | Path, cwd: Path, **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **TOKEN, **variables}
    pipe = subprocess.PIPE
    whole = [sys.executable, "-m", "jobs.cli", *map(str, arguments)]
    return subprocess.Popen(whole, cwd=cwd, env=environment, stdout=pipe, stderr=pipe, text=True)


def said(*arguments: str | Path, cwd: Path, **variables: str) -> tuple[int, str, str]:
    process = command(*arguments, cwd=cwd, **variables)
    out, err = process.communicate()
    return process.returncode, out, err


@pytest.mark.thorough
def test_a_job_from_another_folder_ends_as_at_home_through_a_connection_that_is_lost(head: int, tmp_path: Path) -> None:
    home, there = tmp_path / "home", tmp_path / "there"
    recipe, proxy = project(home), Proxy(head)
    shutil.copytree(home, there)
    assert said("pack", recipe.name, "--workers", "1", cwd=home, RAY_ADDRESS="")[0] == 0
    process = command("submit", recipe.name, "--command", "pack", "--address", f"http://127.0.0.1:{proxy.port}", "--json", cwd=there)
    assert process.stdout is not None
    lines: list[dict[str, Any]] = []
    for line in process.stdout:
        lines.append(json.loads(line))
        if lines[-1]["kind"] == "finished" and lines[-1]["stage"] == "ingest":
            proxy.cut()
            threading.Timer(1.5, proxy.mend).start()
    assert process.wait() == 0
    assert process.stderr is not None
    told = process.stderr.read()
    assert re.search(r"the connection to \S+ is lost .*\n.*connected to \S+ again", told), told
    stages = [line["stage"] for line in lines if line["kind"] == "finished"]
    assert len(stages) == len(set(stages))
    assert stages[-1] == "held out"
    assert files_of(there / "workdir" / "own") == files_of(home / "workdir" / "own")
    assert not list(there.glob(".*.seen"))
    job = lines[0]["job"]
    place = ["--address", f"http://127.0.0.1:{head}"]
    assert said("jobs", *place, "--attach", job, "--quiet", cwd=tmp_path) == (0, "", "")
    assert f"{job}  succeeded" in said("jobs", *place, cwd=tmp_path)[1]


@pytest.mark.thorough
def test_a_job_that_fails_or_is_stopped_has_its_own_exit_code_and_a_token_is_asked_for(head: int, tmp_path: Path) -> None:
    place = ["--address", f"http://127.0.0.1:{head}"]
    recipe = project(tmp_path / "bad", sources=[{**RECIPE["sources"][0], "path": str(tmp_path / "nowhere" / "*.jsonl")}])
    code, out, err = said("submit", recipe.name, *place, cwd=tmp_path / "bad")
    assert (code, err.count("foundry: ")) == (2, 1), (out, err)
    assert "sources.mine.path" in err
    for token, words in (
        ({"RAY_AUTH_TOKEN": "another"}, "does not take the token of RAY_AUTH_TOKEN"),
        ({"RAY_AUTH_MODE": "disabled"}, "wants a token"),
    ):
        code, out, err = said("jobs", *place, cwd=tmp_path, **token)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert words in err
    good = project(tmp_path / "good")
    code, out, err = said("submit", good.name, "--no-follow", *place, cwd=tmp_path / "good")
    assert code == 0, err
    job = out.split()[1]
    assert f"job {job} is told to end" in said("jobs", *place, "--stop", job, cwd=tmp_path)[1]
    code, out, err = said("jobs", *place, "--attach", job, cwd=tmp_path)
    assert (code, err.splitlines()[-1]) == (143, f"foundry: job {job} was stopped; submit the recipe again to go on")
    code, out, err = said("jobs", *place, "--attach", "none", cwd=tmp_path)
    assert (code, len(err.splitlines())) == (2, 1)
