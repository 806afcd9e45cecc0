"""The trace: who asks for what and when, drawn from a seed; the same seed asks for the same.

Load is counted in model calls, because they are what the provider has a capacity of: a kind of job
that makes three calls is asked for a third as often as one of the same share that makes one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

NOISY = "noisy"
OTHERS = ("ada", "ben", "cleo", "dan")
TENANTS = (*OTHERS, NOISY)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job: which agent, in which class, how many model calls, wanted within what."""

    agent: str
    job_class: str
    calls: int
    deadline_s: float


CHAT = Kind("chat", "interactive", 1, 2.5)
REPORT = Kind("report", "default", 2, 10.0)
DIGEST = Kind("digest", "batch", 3, 30.0)
CLERK = Kind("clerk", "default", 2, 30.0)

# Which part of the calls is of which kind.
Mix = tuple[tuple[Kind, float], ...]
OFFICE: Mix = ((CHAT, 0.4), (REPORT, 0.4), (DIGEST, 0.2))


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the trace. `load` is in capacities; `noisy` the noisy tenant's part of it."""

    name: str
    lasts_s: float
    load: float
    noisy: float = 0.2
    mix: Mix = OFFICE


@dataclass(frozen=True, slots=True)
class Ask:
    """One wish of one tenant, `at_s` after the beginning."""

    number: int
    at_s: float
    tenant: str
    kind: Kind

    @property
    def token(self) -> str:
        """What the job is called on the wire: its number, and how many calls it is to make."""
        return f"{self.number}x{self.kind.calls}"


def draw_trace(phases: Sequence[Phase], capacity_per_s: float, seed: int) -> list[Ask]:
    """Every ask in order: arrivals of a Poisson process whose rate is the phase's load."""
    draw = random.Random(seed)
    asks: list[Ask] = []
    began_s = 0.0
    for phase in phases:
        wishes = _rates_of(phase, capacity_per_s)
        rate = sum(wishes.values())
        at_s = began_s + draw.expovariate(rate)
        while at_s < began_s + phase.lasts_s:
            ((tenant, kind),) = draw.choices(list(wishes), list(wishes.values()))
            asks.append(Ask(len(asks), at_s, tenant, kind))
            at_s += draw.expovariate(rate)
        began_s += phase.lasts_s
    return asks


def _rates_of(phase: Phase, capacity_per_s: float) -> dict[tuple[str, Kind], float]:
    """Jobs a second of each tenant and kind."""
    calls_per_s = phase.load * capacity_per_s
    parts = {NOISY: phase.noisy} | dict.fromkeys(OTHERS, (1.0 - phase.noisy) / len(OTHERS))
    return {
        (tenant, kind): calls_per_s * part * share / kind.calls
        for tenant, part in parts.items()
        for kind, share in phase.mix
        if part > 0
    }


def begin_of(phases: Sequence[Phase], name: str) -> float:
    """Seconds after the beginning at which the phase of this name begins."""
    began_s = 0.0
    for phase in phases:
        if phase.name == name:
            return began_s
        began_s += phase.lasts_s
    raise KeyError(f"no phase is called {name!r}")


def length_of(phases: Sequence[Phase]) -> float:
    return sum(phase.lasts_s for phase in phases)
