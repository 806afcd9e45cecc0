"""Children are started, watched, started again and stopped together: tiny ones, but real."""

from __future__ import annotations

import http.server
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.platform.logs import MergedLog
from jobs.platform.processes import Child, RestartPolicy, Supervisor
from store.hosting import offspring
from store.hosting.errors import CannotRun

QUICK = RestartPolicy(restart_delay_s=0.02, restart_delay_max_s=0.05, restarts_max=3)
NEVER = threading.Event()


def eventually(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.01)
    return True


def child(name: str, code: str, **more: object) -> Child:
    more = more if "ready_url" in more else {"ready_line": "ready", **more}
    return Child(name, (sys.executable, "-uSc", code), env={}, **more)  # type: ignore[arg-type]


NAP = "import time\nprint('up and ready')\ntime.sleep(60)"
STUBBORN = f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{NAP}"


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    log = MergedLog(tmp_path / "logs")
    supervisor = Supervisor(log, tmp_path, policy=QUICK)
    yield supervisor
    supervisor.kill()
    supervisor.stop()
    log.close()


def logged(tmp_path: Path, name: str) -> str:
    path = tmp_path / "logs" / f"{name}.log"
    return path.read_text() if path.exists() else ""


def test_a_killed_child_is_started_again(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start([child("nap", NAP)])
    assert supervisor.await_ready(10, NEVER)
    first = supervisor.pids()["nap"]

    os.kill(first, signal.SIGKILL)

    assert eventually(lambda: supervisor.pids().get("nap", first) != first)
    assert "[ended by SIGKILL; starting again in 0.0 s]" in logged(tmp_path, "nap")
    supervisor.check()


def test_a_child_that_cannot_start_is_quoted(supervisor: Supervisor) -> None:
    supervisor.start([child("nap", NAP), child("sick", "raise SystemExit('no such table')")])
    with pytest.raises(CannotRun, match="sick does not run; its last lines:\nno such table"):
        supervisor.await_ready(10, NEVER)


def test_a_child_must_have_a_way_to_tell_that_it_is_ready() -> None:
    with pytest.raises(ValueError, match="nap needs a ready_line or a ready_url"):
        Child("nap", (sys.executable,), env={})


def test_a_child_that_is_not_ready_in_time_is_quoted(supervisor: Supervisor) -> None:
    supervisor.start([child("slow", NAP, ready_line="never said")])
    with pytest.raises(CannotRun, match=r"slow is not ready after 0.5 s.*\nup and ready"):
        supervisor.await_ready(0.5, NEVER)


def test_a_program_that_does_not_exist_is_given_up(supervisor: Supervisor) -> None:
    supervisor.start([Child("lost", ("/no/such/program",), env={}, ready_line="ready")])
    with pytest.raises(CannotRun, match="lost does not run"):
        supervisor.await_ready(10, NEVER)


def test_an_essential_child_that_keeps_crashing_is_given_up(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    crash = "print('ready')\nimport time\ntime.sleep(0.2)\nraise SystemExit(3)"
    supervisor.start([child("crash", crash)])
    assert supervisor.await_ready(10, NEVER)

    def is_reported() -> bool:
        try:
            supervisor.check()
        except CannotRun as error:
            return "crash does not run" in str(error)
        return False

    assert eventually(is_reported)
    assert logged(tmp_path, "crash").count("exited with code 3; starting again") == 3


def test_a_child_that_is_not_essential_is_only_missed(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    supervisor.start([child("extra", "raise SystemExit(1)", essential=False)])
    assert eventually(lambda: "given up" in logged(tmp_path, "extra"))
    supervisor.check()


def test_ready_means_that_the_url_answers(supervisor: Supervisor) -> None:
    class Healthy(http.server.BaseHTTPRequestHandler):
        status = 503

        def do_GET(self) -> None:
            self.send_response(self.status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/healthz"
        supervisor.start([child("api", NAP, ready_url=url)])
        with pytest.raises(CannotRun, match="api is not ready"):
            supervisor.await_ready(0.3, NEVER)
        Healthy.status = 200
        assert supervisor.await_ready(10, NEVER)
        server.shutdown()


def test_waiting_ends_when_asked_to_stop(supervisor: Supervisor) -> None:
    asked = threading.Event()
    asked.set()
    supervisor.start([child("slow", NAP, ready_line="never said")])
    assert supervisor.await_ready(60, asked) is False


def test_all_stop_together_and_the_stubborn_are_killed(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    supervisor.start(
        [
            child("nap", NAP),
            child("stubborn", STUBBORN, stop_timeout_s=1.0),
            child("also", STUBBORN, stop_timeout_s=1.0),
        ]
    )
    assert supervisor.await_ready(10, NEVER)
    pids = supervisor.pids().values()
    started = time.monotonic()

    supervisor.stop()

    assert time.monotonic() - started < 1.9, "one patience for all, not one after the other"
    assert all(offspring.look_at(pid) is None for pid in pids)
    assert "killed" in logged(tmp_path, "stubborn")
    assert "killed" not in logged(tmp_path, "nap")
    assert not list(tmp_path.glob("*.process"))


def test_what_a_child_had_started_goes_with_it(supervisor: Supervisor, tmp_path: Path) -> None:
    family = (
        "import subprocess, sys, time\n"
        "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print('grandchild', grandchild.pid, 'ready')\ntime.sleep(60)"
    )
    supervisor.start([child("family", family)])
    assert supervisor.await_ready(10, NEVER)
    grandchild = int(logged(tmp_path, "family").split("grandchild ")[1].split()[0])

    os.kill(supervisor.pids()["family"], signal.SIGKILL)

    assert eventually(lambda: offspring.look_at(grandchild) is None)


def test_endless_lines_are_cut(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start([child("loud", "print('x' * 300_000)\nprint('ready')")])
    assert eventually(lambda: "ready" in logged(tmp_path, "loud"))
    assert max(map(len, logged(tmp_path, "loud").splitlines())) < 70_000
