"""Children end with us, and a leftover is told from a stranger who was given its pid."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from store.hosting import offspring

ROOT = Path(__file__).parents[3]
NAP = [sys.executable, "-c", "import time; time.sleep(60)"]
PARENT = """
import sys
from store.hosting import offspring
child = offspring.spawn(sys.argv[1:], env={})
print(child.pid, flush=True)
child.wait()
"""

on_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the death signal is Linux's"
)


def eventually(condition: Callable[[], bool], timeout_s: float = 5.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.01)
    return True


def start_nap() -> subprocess.Popen[bytes]:
    return offspring.spawn(NAP, env={})


def end_now(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@on_linux
def test_a_child_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            PARENT,
            *NAP,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    child_pid = int(parent.stdout.readline())
    assert offspring.look_at(child_pid) is not None

    parent.kill()
    parent.communicate()

    assert eventually(lambda: offspring.look_at(child_pid) is None)


def test_a_child_outlives_the_thread_that_asked_for_it() -> None:
    children: list[subprocess.Popen[bytes]] = []
    asking = threading.Thread(target=lambda: children.append(start_nap()))
    asking.start()
    asking.join()
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            children[0].wait(0.3)
    finally:
        end_now(children[0])


def test_the_pid_is_that_of_the_program_itself() -> None:
    child = start_nap()
    try:
        assert eventually(
            lambda: "time.sleep(60)" in getattr(offspring.look_at(child.pid), "command", "")
        )
        assert os.getsid(child.pid) == child.pid
    finally:
        end_now(child)


def test_a_dead_child_nobody_collected_counts_as_gone() -> None:
    child = start_nap()
    os.kill(child.pid, signal.SIGKILL)
    assert eventually(lambda: offspring.look_at(child.pid) is None)
    child.wait()


def test_a_leftover_is_ended(tmp_path: Path) -> None:
    left = start_nap()
    trace = offspring.Trace(tmp_path / "nap.process")
    trace.write(left.pid)

    offspring.Trace(tmp_path / "nap.process").end_leftover()

    assert left.wait(5) == -signal.SIGTERM
    assert not (tmp_path / "nap.process").exists()


def test_a_stranger_with_the_pid_of_a_leftover_is_left_alone(tmp_path: Path) -> None:
    stranger = start_nap()
    try:
        (tmp_path / "nap.process").write_text(f"{stranger.pid} 12345\n")
        offspring.Trace(tmp_path / "nap.process").end_leftover()
        with pytest.raises(subprocess.TimeoutExpired):
            stranger.wait(0.2)
    finally:
        end_now(stranger)


@pytest.mark.parametrize("text", ["", "\n", "x y\n", "-1 0\n", "999999999 1\n"])
def test_a_damaged_trace_is_no_trace(tmp_path: Path, text: str) -> None:
    (tmp_path / "nap.process").write_text(text)
    offspring.Trace(tmp_path / "nap.process").end_leftover()
    assert not (tmp_path / "nap.process").exists()


def test_ps_tells_the_same_story_where_there_is_no_proc() -> None:
    child = start_nap()
    try:
        seen = offspring._ask_ps(child.pid)
        assert seen is not None
        assert seen.started
        assert seen == offspring._ask_ps(child.pid)
    finally:
        end_now(child)
    assert offspring._ask_ps(child.pid) is None
