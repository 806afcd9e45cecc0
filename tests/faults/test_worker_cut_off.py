"""A worker that Postgres no longer hears of has stopped before anybody takes its steps over."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from redis import Redis

from store.states import JobStatus, StepState
from tests.processes import Crew, Member, Viewer
from tests.programs import as_input
from tests.running import eventually

LEASE_S = 4.0
LOOKS = 1_000
TAKEN_OVER_S_MAX = 12.0


class Wire:
    """A way to Postgres that can be cut: what either side says is lost, and no side is told."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = str(Path(parse_qs(parts.query)["host"][0]) / ".s.PGSQL.5432")
        self._is_cut = False
        self._ends: list[socket.socket] = []
        self._door = socket.create_server(("127.0.0.1", 0))
        Thread(target=self._let_in, daemon=True).start()
        who, database = parts.netloc.rpartition("@")[0], parts.path.lstrip("/")
        self.url = f"postgresql://{who}@127.0.0.1:{self._door.getsockname()[1]}/{database}"

    def cut(self) -> None:
        self._is_cut = True

    def mend(self) -> None:
        """New connections get through; the old ones have missed too much."""
        self._is_cut = False
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.mend()
        self._door.close()

    def _let_in(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._door.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                self._ends += [client, server]
                for source, target in ((client, server), (server, client)):
                    Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not self._is_cut:
                    target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def wire(crew: Crew) -> Iterator[Wire]:
    made = Wire(crew.database.runtime_url)
    yield made
    made.close()


def ticks(crew: Crew, member: Member) -> list[float]:
    """When this process ticked, by the clock that all processes share."""
    pid = str(member.process.pid)
    told = [line.split() for line in crew.effects("tick")]
    return [float(at) for _, _, who, at in told if who == pid]


def start_behind(wire: Wire, crew: Crew) -> Member:
    return crew.start_worker(STEPWELL_DATABASE_URL=wire.url).wait_for("worker ready")


@pytest.mark.parametrize("program", ["ticking", "ticking_softly"])
def test_a_step_is_over_here_before_it_begins_there(
    crew: Crew, viewer: Viewer, wire: Wire, program: str
) -> None:
    crew.start_scheduler()
    cut_off = start_behind(wire, crew)
    job_id = viewer.submit(program, {"gate": "open"})
    eventually(lambda: ticks(crew, cut_off), 30)
    heir = crew.start_worker().wait_for("worker ready")

    wire.cut()
    eventually(lambda: ticks(crew, heir), TAKEN_OVER_S_MAX)
    margin_s = ticks(crew, heir)[0] - ticks(crew, cut_off)[-1]
    print(f"{program}: over {margin_s:.2f} s before it began elsewhere")
    assert margin_s > 0.0
    crew.open_gate("open")
    assert viewer.wait_for_end(job_id).status is JobStatus.COMPLETED
    (step,) = viewer.steps(job_id)
    assert (step.state, step.epoch, step.losses) == (StepState.COMMITTED, 2, 1)
    viewer.check_history(job_id)

    wire.mend()
    cut_off.wait_for("incarnation replaced", 30)
    heir.kill()
    again = viewer.submit("walk", {})
    assert viewer.wait_for_end(again).status is JobStatus.COMPLETED
    assert cut_off.process.poll() is None


def test_a_step_that_was_stopped_is_handed_back_when_nobody_has_taken_it_over(
    crew: Crew, viewer: Viewer, wire: Wire
) -> None:
    # Without a scheduler nobody finds the worker lost, however long it is not heard of.
    worker = start_behind(wire, crew)
    job_id = viewer.submit("ticking", {"gate": "open"})
    eventually(lambda: ticks(crew, worker), 30)
    wire.cut()
    worker.wait_for("step handed back", 2 * LEASE_S)
    seen = len(ticks(crew, worker))
    wire.mend()
    eventually(lambda: viewer.steps(job_id)[0].state is StepState.READY, 30)
    assert len(ticks(crew, worker)) == seen
    crew.start_scheduler()
    crew.open_gate("open")
    assert viewer.wait_for_end(job_id).status is JobStatus.COMPLETED
    (step,) = viewer.steps(job_id)
    assert (step.epoch, step.attempts, step.losses) == (2, 0, 0)
    viewer.check_history(job_id)


def test_a_call_that_must_not_happen_twice_goes_on_and_is_not_made_elsewhere(
    crew: Crew, viewer: Viewer, wire: Wire
) -> None:
    crew.start_scheduler()
    start_behind(wire, crew)
    job_id = viewer.submit("scripted", as_input([("charge", {"gate": "open"})]))
    eventually(lambda: crew.effects("begin charge"), 30)
    crew.start_worker().wait_for("worker ready")
    wire.cut()
    # Its new holder can only ask what came of it.
    eventually(lambda: viewer.steps(job_id)[1].state is StepState.WAITING, TAKEN_OVER_S_MAX)
    crew.open_gate("open")
    eventually(lambda: crew.effects("end charge"))
    assert crew.effects("begin charge") == [f"begin charge {job_id}:2"]


def blocked(client: Redis) -> int:
    """How many clients of Redis wait for something to be put on a lane."""
    return int(client.info("clients")["blocked_clients"])


def test_a_worker_in_doubt_leaves_its_lanes_and_comes_back_to_them(
    crew: Crew, viewer: Viewer, wire: Wire, redis_url: str
) -> None:
    # There is no scheduler to ring twice, so a ring that is taken and dropped is lost.
    worker = start_behind(wire, crew)
    with Redis.from_url(redis_url) as client:
        eventually(lambda: blocked(client) == 1)
        wire.cut()
        # Between one wait for a ring and the next it stands at no lane for a moment.
        eventually(lambda: not any(blocked(client) for _ in range(LOOKS)), 2 * LEASE_S)
        job_id = viewer.submit("walk", {})
        with pytest.raises(AssertionError, match="not within"):
            eventually(lambda: client.llen("stepwell.default.waits") == 0, 1.0)
    wire.mend()
    assert viewer.wait_for_end(job_id).status is JobStatus.COMPLETED
    assert "worker restarts" not in worker.said(), "that would have been for another reason"


def test_a_frozen_worker_stops_at_once_what_others_run_by_now(crew: Crew, viewer: Viewer) -> None:
    crew.start_scheduler()
    frozen = crew.start_worker().wait_for("worker ready")
    job_id = viewer.submit("ticking", {"gate": "open"})
    eventually(lambda: ticks(crew, frozen), 30)
    heir = crew.start_worker().wait_for("worker ready")
    frozen.signal(signal.SIGSTOP)
    eventually(lambda: ticks(crew, heir), TAKEN_OVER_S_MAX)
    before = len(ticks(crew, frozen))
    frozen.signal(signal.SIGCONT)
    frozen.wait_for("step handed back", 10)
    woken = ticks(crew, frozen)[before:]
    print(f"went on for {woken[-1] - woken[0] if woken else 0.0:.2f} s after it woke")
    assert not woken or woken[-1] - woken[0] < 1.0
    crew.open_gate("open")
    assert viewer.wait_for_end(job_id).status is JobStatus.COMPLETED
    viewer.check_history(job_id)


def test_what_a_leaving_worker_hands_back_is_over_before_it_begins_elsewhere(
    crew: Crew, viewer: Viewer
) -> None:
    crew.start_scheduler()
    leaving = crew.start_worker().wait_for("worker ready")
    jobs: list[UUID] = [
        viewer.submit(program, {"gate": "open"}) for program in ("ticking", "ticking_softly")
    ]
    eventually(lambda: len({line.split()[1] for line in crew.effects("tick")}) == 2, 30)
    heir = crew.start_worker().wait_for("worker ready")
    leaving.signal(signal.SIGTERM)
    assert leaving.process.wait(20) == 0
    eventually(lambda: ticks(crew, heir))
    assert ticks(crew, leaving)[-1] < ticks(crew, heir)[0]
    # They were ended, and not only torn off by the end of their process.
    pid = leaving.process.pid
    assert sorted(crew.effects("left")) == sorted(f"left {job_id}:1 {pid}" for job_id in jobs)
    crew.open_gate("open")
    for job_id in jobs:
        assert viewer.wait_for_end(job_id).status is JobStatus.COMPLETED
        (step,) = viewer.steps(job_id)
        assert (step.epoch, step.attempts, step.losses) == (2, 0, 0)
        viewer.check_history(job_id)
