"""Outcomes: what a step came to, as values; the attempt branches on them and on nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobs.lifecycle.verdicts import Decided
from store.transitions import Ending, Plan, Usage, Wait


@dataclass(frozen=True, slots=True)
class Acted:
    """The step is done. `outcome` is for people: success, failed, retried, denied or degraded.

    `left_out` says why optional work was left out, where it was; `refused` which call was not made,
    as the story tells it; `taints` where texts came from that nobody here wrote.
    """

    output: Any
    outcome: str = "success"
    usage: Usage | None = None
    plan: tuple[Plan, ...] = ()
    is_joining: bool = False
    ending: Ending | None = None
    left_out: str | None = None
    refused: dict[str, Any] | None = None
    taints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Broke:
    """The step raised; the verdict says what to do about it. `usage` is what it cost so far."""

    verdict: Decided
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Park:
    """The step waits for something, holding nothing."""

    wait: Wait


@dataclass(frozen=True, slots=True)
class HandBack:
    """The step is for somebody else, or for later. It costs no try.

    A `note` is kept on its row until it is settled. `is_undone` says that whatever it began has
    certainly not happened.
    """

    delay_s: float
    reason: str
    why: str
    note: dict[str, Any] | None = None
    is_undone: bool = False


Outcome = Acted | Broke | Park | HandBack
