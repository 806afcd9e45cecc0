"""Rounds: each caretaker at its own pace; one that stumbles keeps nobody else at home."""

from __future__ import annotations

from threading import Event, Thread

import pytest
import structlog
from structlog.testing import capture_logs

from broker.errors import BrokerDown
from scheduler import rounds
from scheduler.rounds import Round, walk_rounds
from store.errors import Unreachable
from tests.running import eventually


class Walks:
    """Counts walks, and stumbles over whatever it is told to."""

    def __init__(self) -> None:
        self.count = 0
        self.error: Exception | None = None

    def __call__(self) -> None:
        self.count += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def walks() -> tuple[Walks, Walks]:
    return Walks(), Walks()


def walk(rounds: list[Round], until: Event) -> Thread:
    thread = Thread(target=walk_rounds, args=(rounds, until), daemon=True)
    thread.start()
    return thread


def test_each_walks_at_its_own_pace_until_told_to_stop(walks: tuple[Walks, Walks]) -> None:
    often, seldom = walks
    stop = Event()
    thread = walk([Round("often", 0.01, often), Round("seldom", 600, seldom)], stop)
    eventually(lambda: often.count > 5)
    stop.set()
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert seldom.count == 1


def test_a_stop_is_heard_at_once_however_far_the_next_round_is(walks: tuple[Walks, Walks]) -> None:
    stop = Event()
    thread = walk([Round("seldom", 600, walks[0])], stop)
    eventually(lambda: walks[0].count == 1)
    stop.set()
    thread.join(timeout=2)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    "error", [Unreachable("away"), BrokerDown("away"), KeyError("a bug")], ids=lambda e: repr(e)
)
def test_one_that_stumbles_walks_again_and_keeps_nobody_at_home(
    walks: tuple[Walks, Walks], error: Exception
) -> None:
    stumbling, well = walks
    stumbling.error = error
    stop = Event()
    thread = walk([Round("stumbling", 0.01, stumbling), Round("well", 0.01, well)], stop)
    eventually(lambda: stumbling.count > 2 and well.count > 2)
    stumbling.error = None
    seen = stumbling.count
    eventually(lambda: stumbling.count > seen)
    stop.set()
    thread.join(timeout=5)


def test_an_outage_is_logged_when_it_begins_and_when_it_ends(
    walks: tuple[Walks, Walks], monkeypatch: pytest.MonkeyPatch
) -> None:
    stumbling, _ = walks
    stumbling.error = Unreachable("Postgres does not answer")
    stop = Event()
    # A logger that no earlier test has used, because a used one keeps its way out.
    monkeypatch.setattr(rounds, "log", structlog.get_logger())
    with capture_logs() as said:
        thread = walk([Round("stumbling", 0.01, stumbling)], stop)
        eventually(lambda: stumbling.count > 5)
        stumbling.error = None
        seen = stumbling.count
        eventually(lambda: stumbling.count > seen + 2)
        stop.set()
        thread.join(timeout=5)
    assert [line["event"] for line in said] == [
        "round failed, will try again",
        "round is well again",
    ]
