"""Rounds: each caretaker at its own pace, until told to stop; one that stumbles tries again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import monotonic

import structlog

from broker.errors import BrokerError
from store import pulse
from store.errors import StoreError

log = structlog.get_logger(__name__)


@dataclass
class Round:
    """One caretaker's walk, and when it is due next (seconds of this process's clock)."""

    name: str
    every_s: float
    walk: Callable[[], object]
    due_at: float = 0.0


def walk_rounds(rounds: list[Round], stop: Event, pulse_file: Path | None = None) -> None:
    """Walk whatever is due until `stop` is set. An outage is logged once, when it begins.

    The pulse file is touched after every walk that went well.
    """
    stumbling: set[str] = set()
    while not stop.is_set():
        for each in rounds:
            if monotonic() < each.due_at:
                continue
            each.due_at = monotonic() + each.every_s
            _walk(each, stumbling, pulse_file)
        next_due = min(each.due_at for each in rounds)
        stop.wait(max(0.0, next_due - monotonic()))


def _walk(each: Round, stumbling: set[str], pulse_file: Path | None) -> None:
    try:
        each.walk()
    except (StoreError, BrokerError) as error:
        if each.name not in stumbling:
            log.warning("round failed, will try again", round=each.name, error=str(error))
            stumbling.add(each.name)
    except Exception:
        # One caretaker's mistake must not keep the others at home.
        log.exception("round raised, will try again", round=each.name)
    else:
        pulse.touch(pulse_file)
        if each.name in stumbling:
            log.info("round is well again", round=each.name)
            stumbling.discard(each.name)
