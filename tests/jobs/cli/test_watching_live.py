"""Watching on a real terminal: what is drawn, and what Ctrl-C does and does not end."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from uuid import UUID

from scheduler.reconcile import stop_due
from store import transitions
from store.tenants import DEFAULT_TENANT
from tests.jobs.parking import QUESTION, SIGNAL, parked, take
from tests.jobs.serving import TOKEN, Served
from tests.running import eventually
from tests.stepping import COMPLETED


class Terminal:
    """A command on a pseudo-terminal."""

    def __init__(self, process: subprocess.Popen[bytes], screen: int) -> None:
        self.process = process
        self._screen = screen
        self.seen = ""

    def read_until(self, words: str, timeout_s: float = 20.0) -> None:
        deadline = monotonic() + timeout_s
        while words not in self.seen:
            assert monotonic() < deadline, f"{words!r} never came; seen: {self.seen!r}"
            ready, _, _ = select.select([self._screen], [], [], 0.2)
            if ready:
                with suppress(OSError):
                    self.seen += os.read(self._screen, 65536).decode(errors="replace")


@contextmanager
def on_a_terminal(served: Served, *words: str) -> Iterator[Terminal]:
    screen, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.cli.main", *words],
        stdin=side,
        stdout=side,
        stderr=side,
        # A shell that runs the tests in the background has made its children deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        cwd=Path(__file__).parents[3],
        env={
            **os.environ,
            "STEPWELL_URL": served.url,
            "STEPWELL_API_TOKEN": TOKEN,
            "TERM": "xterm-256color",
            "COLUMNS": "100",
        },
    )
    os.close(side)
    try:
        yield Terminal(process, screen)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(screen)


def test_a_running_step_is_drawn_with_its_progress_and_then_its_ending(served: Served) -> None:
    hand = served.hand
    job_id = hand.put_down()
    held = hand.take(job_id, 1, hand.start_worker())
    with on_a_terminal(served, "watch", str(job_id)) as terminal:
        terminal.read_until("model.test")
        tell_progress(served, job_id, "counting the sheep")
        terminal.read_until("counting the sheep")
        hand.commit(held, event={"seq": 1, "name": "model.test", "ms": 1234.0}, ending=COMPLETED)
        terminal.read_until("completed")
        terminal.read_until("stepwell show")
        assert terminal.process.wait(timeout=10) == 0
        assert "1.2 s" in terminal.seen


def test_ctrl_c_leaves_the_job_running_and_says_how_to_come_back(served: Served) -> None:
    job_id = served.hand.put_down()
    with on_a_terminal(served, "watch", str(job_id)) as terminal:
        terminal.read_until("waiting for a worker")
        terminal.process.send_signal(signal.SIGINT)
        terminal.read_until(f"stepwell watch {str(job_id)[-8:]}")
        assert terminal.process.wait(timeout=10) == 130
    assert served.hand.job(job_id).status == "queued"
    assert served.hand.job(job_id).cancel_requested_at is None


def test_a_parked_job_says_what_it_waits_for_and_goes_on_when_answered(served: Served) -> None:
    job_id = parked(served, QUESTION)
    with on_a_terminal(served, "watch", str(job_id)) as terminal:
        terminal.read_until("Which one?")
        terminal.read_until(f"stepwell answer {str(job_id)[-8:]} --step 1 left")
        terminal.read_until("parked · Ctrl-C leaves the job waiting")
        with served.client as client:
            client.answer(str(job_id), 1, 1, "left")
        terminal.read_until("it was answered; it goes on")
        terminal.read_until("waits for a worker")
        served.hand.commit(take(served, job_id), ending=COMPLETED)
        terminal.read_until("✓ completed")
        assert terminal.process.wait(timeout=10) == 0


def test_a_job_that_waits_for_a_signal_says_how_to_send_it(served: Served) -> None:
    job_id = parked(served, SIGNAL)
    with on_a_terminal(served, "watch", str(job_id)) as terminal:
        terminal.read_until("waits for the signal 'paid'")
        terminal.read_until(f"stepwell signal {str(job_id)[-8:]} paid")


def test_a_job_whose_deadline_passes_is_told_as_expired(served: Served) -> None:
    with served.client as client:
        job_id = UUID(client.submit("echo", {}, deadline_s=1.0)["id"])
    with on_a_terminal(served, "watch", str(job_id)) as terminal:
        terminal.read_until("waiting for a worker")
        eventually(lambda: stop_due(served.doors), timeout_s=10)
        terminal.read_until("✗ expired")
        terminal.read_until("Its deadline passed")
        assert terminal.process.wait(timeout=10) == 1


def tell_progress(served: Served, job_id: UUID, message: str) -> None:
    with served.doors.hot() as connection:
        told = {"seq": 1, "message": message, "done": 0.5}
        transitions.tell(connection, DEFAULT_TENANT, job_id, "job.progress", told)
