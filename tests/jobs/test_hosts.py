"""Hostfiles, and what hosts say of themselves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import hosts
from jobs.hosts import Host, read_hostfile
from jobs.probe import Found, parse
from pipeline.workdir.errors import UserError

NAMES = st.from_regex(r"[a-z][a-z0-9.-]{0,8}", fullmatch=True).filter(lambda name: name != "localhost")
BLANK = st.sampled_from(["", "   ", "# a comment", "  # slots=3", "\t"])


@given(st.dictionaries(NAMES, st.integers(1, 99), min_size=1, max_size=6), st.data())
def test_a_hostfile_is_read_whatever_stands_around_its_hosts(pool: dict[str, int], data: st.DataObject) -> None:
    lines: list[str] = []
    places = {}
    for name, slots in pool.items():
        lines += data.draw(st.lists(BLANK, max_size=2))
        space, end = data.draw(st.sampled_from([" ", "   ", "\t"])), data.draw(st.sampled_from(["", " ", " # the fast one", "#no space"]))
        lines.append(f"{data.draw(st.sampled_from(['', '  ']))}{name}{space}slots={slots}{end}")
        places[name] = len(lines)
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"hosts-{os.getpid()}"
    path.write_text("\n".join(lines) + data.draw(st.sampled_from(["", "\n", "\n\n"])))
    try:
        assert read_hostfile(path) == [Host(name, slots, places[name]) for name, slots in pool.items()]
    finally:
        path.unlink()


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_whatever_a_hostfile_holds_it_is_hosts_or_one_line(content: str | bytes) -> None:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"hosts-{os.getpid()}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    said = f"{path}: hosts"
    try:
        assert read_hostfile(path)
    except UserError as error:
        said = str(error)
    finally:
        path.unlink()
    assert said.startswith(str(path))
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": names no host; each of its lines is `HOST slots=N`"),
        ("# a\n\n", ": names no host"),
        ("# a\nnode1\n", ", line 2: node1 has no slots; write `node1 slots=N`"),
        ("node1 slots=0", ", line 1: slots=0 is no number of processes from 1 on"),
        ("node1 slots=two", ", line 1: slots=two is no number"),
        ("node1 slots=", ", line 1: slots= is no number"),
        ("node1 slots=2 slots=2", ", line 1: slots stands there twice"),
        ("node1 gpus=2", ", line 1: `gpus=2` is not known in a hostfile; write `node1 slots=N`"),
        ("node1 slots = 2", ", line 1: `slots` is not known"),
        ("a slots=1\nb slots=2\na slots=1", ", line 3: a stands in line 1 already"),
        ("a slots=1\r\nme@A slots=2\r\n", ", line 2: me@A stands in line 1 already"),
        ("node1:22 slots=8", ", line 1: `node1:22` has a port, which a hostfile does not; write node1, and the port as `Port`"),
        ("me@[fd00::1]:22 slots=8", ", line 1: `me@[fd00::1]:22` is no host's name"),
        ("[fd00::1]:22 slots=8", ", line 1: `[fd00::1]:22` has a port, which a hostfile does not; write fd00::1, and"),
        ("[fd00::1] slots=8", ", line 1: `[fd00::1]` has brackets; write an IPv6 address without them"),
        ("a@b@c slots=8", ", line 1: `a@b@c` is no host's name"),
        ("@a slots=8", ", line 1: `@a` is no host's name"),
        ("node[1-4] slots=8", ", line 1: `node[1-4]` is no host's name"),
        ("-oProxyCommand=x slots=1", ", line 1: `-oProxyCommand=x` is no host's name"),
        ("a slots=1\nlocalhost slots=1", ", line 2: localhost is another machine on each host"),
    ],
)
def test_what_is_wrong_with_a_hostfile_is_one_line_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "hosts"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_hostfile(path)
    assert f"{path}{message}" in str(error.value)


def test_addresses_and_users_are_names_of_hosts(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(b"\xef\xbb\xbfroot@node-1.x\tslots=2\t# Windows wrote this\r\n\r\n10.0.0.2 slots=01\r\nfd00::3 slots=1\r\n")
    assert read_hostfile(path) == [Host("root@node-1.x", 2, 1), Host("10.0.0.2", 1, 3), Host("fd00::3", 1, 4)]


def test_slots_are_checked_against_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(UserError, match=r"hosts, line 3: slots=8, but a has 4 GPUs; write slots=4"):
        hosts.check_gpus(Host("a", 8, 3), Found(gpus=4), Path("hosts"))
    hosts.check_gpus(Host("a", 8, 3), Found(gpus=0), Path("hosts"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    hosts.check_gpus(Host("a", 8, 3), Found(gpus=4), Path("hosts"))


def test_hosts_with_other_software_and_clocks_that_are_off_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By what their probes say, in place of such hosts."""
    software = ("Python 3.11", "torch 2.8.0", "deepspeed 0.18", "encoder-foundry 1f")
    now = 5000.0
    monkeypatch.setattr(time, "time", lambda: now)
    told = {
        "a": Found(("10.0.0.1",), 0, 7, None, "one", now, software),
        "b": Found(("10.0.0.2",), 0, 7, None, "two", now + 3600, ("Python 3.12", "torch 2.8.0", "deepspeed 0.18", "encoder-foundry 2f")),
    }

    def ssh(host: str, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 0, json.dumps(asdict(told[host])), "")

    monkeypatch.setattr(hosts, "ssh", ssh)
    monkeypatch.setattr(shutil, "which", lambda tool: tool)
    said: list[str] = []
    message = (
        "hosts, line 2: b has Python 3.12 and encoder-foundry 2f, but a has Python 3.11 and encoder-foundry 1f; "
        "install the same on every host"
    )
    with pytest.raises(UserError, match=f"^{message}$"):
        hosts.meet_by_ssh([Host("a", 1, 1), Host("b", 1, 2)], Path("hosts"), None, None, said.append)
    assert said == ["b's clock is 3,600 s ahead of this machine's; set it, so that times in logs can be compared"]


def test_what_a_host_says_is_found_among_what_its_shell_says() -> None:
    assert parse('hello\n{"addresses": ["10.0.0.1"], "gpus": 2, "port": 5, "state": null}\nbye') == Found(("10.0.0.1",), 2, 5)
    assert parse("true\n3\n") == parse("") == Found()


def test_hosts_that_are_started_apart_come_to_the_same_meeting() -> None:
    those = [Host("a", 1, 1), Host("b", 1, 2)]
    assert hosts.meet_apart(those, Path("hosts"), 1, None) == hosts.Meeting("a", 29_500)
    assert hosts.meet_apart(those, Path("hosts"), 1, 7) == hosts.Meeting("a", 7)
