"""Being asked to stop: each signal is heard once, also where Python would forget it."""

from __future__ import annotations

import os
import signal
import weakref
from collections.abc import Callable, Iterator
from threading import Event
from unittest.mock import Mock

import pytest

from jobs.cli.interruption import STOP_SIGNALS, Interruption


class Thing:
    """Something that can be forgotten."""


@pytest.fixture
def ask() -> Mock:
    return Mock()


@pytest.fixture
def force() -> Mock:
    return Mock()


@pytest.fixture
def interruption(ask: Mock, force: Mock) -> Iterator[Interruption]:
    with Interruption(ask=ask, force=force) as taken_over:
        yield taken_over


def send(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


def forget_one() -> None:
    """Have the first interruption raised where Python only prints it."""
    thing = Thing()
    kept = weakref.ref(thing, lambda _: send())
    del thing
    assert kept() is None


def is_interrupted(interruption: Interruption, work: Callable[[], None]) -> bool:
    """Whether work that would go on for 5 s is broken off."""
    try:
        with interruption.work():
            work()
            Event().wait(5)
    except KeyboardInterrupt:
        return True
    return False


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_work_is_interrupted(interruption: Interruption, ask: Mock, number: int) -> None:
    assert is_interrupted(interruption, lambda: send(number))
    ask.assert_not_called()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_that_python_forgets_is_raised_again(interruption: Interruption) -> None:
    assert is_interrupted(interruption, forget_one)


def test_outside_of_work_it_is_asked_politely_once(
    interruption: Interruption, ask: Mock, force: Mock
) -> None:
    send()
    ask.assert_called_once()
    force.assert_not_called()
    send()
    ask.assert_called_once()
    force.assert_called_once()


def test_what_was_asked_before_the_work_keeps_it_from_beginning(
    interruption: Interruption,
) -> None:
    send()
    with pytest.raises(KeyboardInterrupt), interruption.work():
        raise AssertionError("the work began")


def test_after_the_work_nothing_is_raised_any_more(interruption: Interruption, force: Mock) -> None:
    assert is_interrupted(interruption, send)
    Event().wait(1.3)
    send()
    force.assert_called_once()


def test_the_handlers_of_before_come_back() -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with Interruption(ask=lambda: None, force=lambda: None):
        assert [signal.getsignal(number) for number in STOP_SIGNALS] != before
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before
