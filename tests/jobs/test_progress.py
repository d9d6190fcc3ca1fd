"""What a run tells of itself: on a terminal, to a program, and from another process's lines."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.board import Board
from jobs.head import _Log
from jobs.timeline import Timeline
from pipeline.report.tasks import assigned, file_of, read_stage, read_timeline, squeezed, timeline
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.progress import TaskEvent
from tests.integration.small import ROOT
from tests.profiles import share

# A run that shows a stage, says so on its error stream, and then waits, or ends by a fault.
RUN = """
import sys, time
from jobs import cli
from jobs.progress import StageProgress
from pipeline.workdir.progress import TaskEvent
@cli.app.command()
def watched():
    progress = StageProgress()
    try:
        progress.start("measure", 1000, 200, "bytes", 10, 2)
        progress.event(TaskEvent("measure", "a", "begun", node="node-1"))
        progress.event(TaskEvent("measure", "b", "begun", node="node-2"))
        progress.event(TaskEvent("measure", "b", "again", why="its node was lost"))
        progress.event(TaskEvent("measure", "a", "done", node="node-1", seconds=1.0, memory=300_000_000))
        progress.advance(400)
        time.sleep(0.5)
        print("there", file=sys.stderr, flush=True)
        %s
    finally:
        progress.close()
sys.argv = ["foundry", "watched"]
cli.main()
"""
WAITS, FAILS = "time.sleep(600)", "raise RuntimeError('a fault')"


def on_a_terminal(ending: str, number: int | None) -> tuple[int, str, str, bool]:
    """The exit code of a run, what a terminal was sent, what stood on the error stream, and whether the terminal's settings are as before."""
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    command = [sys.executable, "-c", RUN % ending]
    shown: list[bytes] = []
    reader = threading.Thread(target=_drain, args=(master, shown), daemon=True)  # a terminal that takes nothing stops who writes to it
    reader.start()
    run = subprocess.Popen(command, cwd=ROOT, stdin=slave, stdout=slave, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert run.stderr is not None
        assert run.stderr.readline() == "there\n"
        if number is not None:
            run.send_signal(number)
        errors = run.stderr.read()
        code = run.wait()
    finally:
        run.kill()
    same = termios.tcgetattr(slave) == before
    os.close(slave)
    reader.join()
    os.close(master)
    return code, b"".join(shown).decode(), errors, same


def _drain(master: int, shown: list[bytes]) -> None:
    try:
        while piece := os.read(master, 1 << 16):
            shown.append(piece)
    except OSError:  # nobody holds the other end any more
        pass


@pytest.mark.parametrize(
    ("ending", "number", "code", "words"),
    [
        (WAITS, signal.SIGINT, 130, "foundry: interrupted; run the same command again to go on\n"),
        (WAITS, signal.SIGTERM, 143, "foundry: ended by SIGTERM; run the same command again to go on\n"),
        (FAILS, None, 1, "RuntimeError: a fault\n"),
    ],
)
def test_however_a_run_ends_the_terminal_is_as_it_was_and_how_to_go_on_is_said(
    ending: str, number: int | None, code: int, words: str
) -> None:
    ended, shown, errors, same = on_a_terminal(ending, number)
    assert ended == code
    assert errors.endswith(words)
    assert same
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l"), "the cursor is shown again"
    for word in ("measure", "60%", "3 of 10", "kept", "node-1", "300 MB", "started again", "its node was lost"):
        assert word in shown


@pytest.mark.launch
def test_elsewhere_than_on_a_terminal_lines_are_plain_or_json_or_none() -> None:
    def said(mode: str) -> list[str]:
        code = (RUN % "pass").replace("progress = StageProgress()", f"cli.switch({mode!r}); progress = StageProgress(); print('word')")
        return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()

    assert said("text") == ["word", "stage measure, task b: started again: its node was lost"]
    assert said("quiet") == []
    lines: list[dict[str, Any]] = [json.loads(line) for line in said("json")]
    assert [line["kind"] for line in lines] == ["text", "stage", "again"]
    assert lines[0]["text"] == "word"
    assert (lines[1]["stage"], lines[1]["total"], lines[1]["before"], lines[1]["tasks"], lines[1]["kept"]) == ("measure", 1000, 200, 10, 2)


def test_a_board_is_the_same_on_the_other_side_of_a_line_of_json() -> None:
    board = Board("measure", "bytes", 1000, 200, 10, 2)
    board.amount, board.nodes = 300, {"a": 2}
    board.add("done", "x", "", 5)
    board.add("again", "y", "out of memory", 0)
    state = json.loads(json.dumps(board.state()))
    other = Board.of(state)
    assert {**vars(other), "begun": 0} == {**vars(board), "begun": 0}


@settings(max_examples=share(1))
@given(st.text(alphabet="ab\n{", max_size=60), st.lists(st.tuples(st.integers(0, 60), st.integers(1, 7)), max_size=4))
def test_a_log_that_is_cut_anywhere_and_comes_again_is_heard_once(text: str, cuts: list[tuple[int, int]]) -> None:
    heard: list[str] = []
    log = _Log(heard.append)
    for end, piece in [*cuts, (len(text), 3)]:
        log.begin()
        for start in range(0, min(end, len(text)), piece):
            log.add(text[start : min(start + piece, end, len(text))])
    log.close()
    assert heard == (text.split("\n") if not text.endswith("\n") and text else text.split("\n")[:-1])


# --- the timeline ------------------------------------------------------------------------------------------------------


def test_the_timeline_has_each_task_once_by_its_last_run_and_damaged_lines_are_left_out(tmp_path: Path) -> None:
    workdir = Workdir(str(tmp_path))
    for word in ("first", "second"):
        watcher = Timeline(workdir)
        for task in ("a", "b") if word == "first" else ("b",):
            watcher.event(TaskEvent("exact: hash", task, "begun", node=word))
            watcher.event(TaskEvent("exact: hash", task, "done", seconds=2.0, memory=7))
        watcher.close()
    found = read_stage(workdir, "exact: hash")
    assert [(line["task"], line["node"], line["seconds"], line["memory"]) for line in found] == [
        ("a", "first", 2.0, 7),
        ("b", "second", 2.0, 7),
    ]
    path = tmp_path / "timeline" / file_of("exact: hash")
    path.write_text(
        path.read_text() + '{"task": 3}\nnonsense\n{"stage": "x", "task": "c", "node": "n", "begun": NaN, "seconds": 1, "end": "done"}\n'
    )
    assert read_timeline(workdir) == sorted(found, key=lambda line: float(line["begun"]))


def line(task: str, node: str, begun: float, seconds: float, end: str = "done") -> dict[str, Any]:
    return {"stage": "s", "task": task, "node": node, "begun": begun, "seconds": seconds, "end": end}


def test_places_hold_a_task_at_a_time_and_long_rests_are_taken_out() -> None:
    lines = [line("a", "n", 0.0, 10.0), line("b", "n", 1.0, 4.0), line("c", "n", 6.0, 4.0), line("d", "m", 1000.0, 10.0)]
    assert assigned(lines) == {("n", 0): [0], ("n", 1): [1, 2], ("m", 0): [3]}
    at, breaks = squeezed(lines)
    assert at[:3] == [0.0, 1.0, 6.0]
    assert 10.0 < breaks[0] < at[3] < 11.0


def test_the_report_tells_the_longest_task_and_what_was_started_again(tmp_path: Path) -> None:
    workdir = Workdir(str(tmp_path))
    assert timeline(workdir) is None
    lines = [line("a", "n", 0.0, 1.0), line("b", "n", 1.0, 3.0, "again"), line("b", "m", 4.0, 5.0)]
    workdir.write("".join(json.dumps(each) + "\n" for each in lines).encode(), "timeline", "s.jsonl")
    found = timeline(workdir)
    assert found is not None
    assert found["nodes"] == "2 nodes"
    assert found["rows"] == [("s", "2", "6.0", "3.00", "5.00", "", "1", "b on m")]
    assert "<svg" in found["svg"]
