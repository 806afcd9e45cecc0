"""Rounds: each caretaker at its own pace and in a thread of its own, until told to stop.

One that stumbles tries again, and one that hangs keeps nobody else at home: the dispatch round
waits for Redis, and steps of a dead worker must not wait with it. A round that found something
sends the next one on its way at once, because what it made ready has to be rung for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import structlog

from broker.errors import BrokerError
from store import pulse
from store.errors import StoreError

log = structlog.get_logger(__name__)

LEAVE_S_MAX = 5.0


@dataclass
class Round:
    """One caretaker's walk, how often it is due, and who goes at once when it found something.

    `walk` returns how much it found, or None.
    """

    name: str
    every_s: float
    walk: Callable[[], int | None]
    then: Round | None = None
    is_due: Event = field(default_factory=Event)


def walk_rounds(rounds: list[Round], stop: Event, pulse_file: Path | None = None) -> None:
    """Walk every round until `stop` is set. An outage is logged once, when it begins.

    The pulse file is touched after every walk that went well.
    """
    threads = [
        Thread(target=_walk, args=(each, stop, pulse_file), name=each.name, daemon=True)
        for each in rounds
    ]
    for thread in threads:
        thread.start()
    stop.wait()
    for each in rounds:
        each.is_due.set()
    for thread in threads:
        thread.join(LEAVE_S_MAX)


def _walk(each: Round, stop: Event, pulse_file: Path | None) -> None:
    is_stumbling = False
    while not stop.is_set():
        each.is_due.clear()
        is_stumbling = not _walk_once(each, is_stumbling, pulse_file)
        if not stop.is_set():
            each.is_due.wait(each.every_s)


def _walk_once(each: Round, is_stumbling: bool, pulse_file: Path | None) -> bool:
    """Whether it went well."""
    try:
        found = each.walk()
    except (StoreError, BrokerError) as error:
        if not is_stumbling:
            log.warning("round failed, will try again", round=each.name, error=str(error))
        return False
    except Exception:
        log.exception("round raised, will try again", round=each.name)
        return False
    pulse.touch(pulse_file)
    if is_stumbling:
        log.info("round is well again", round=each.name)
    if found and each.then is not None:
        each.then.is_due.set()
    return True
