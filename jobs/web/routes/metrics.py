"""The metrics: figures of the platform as a whole, in the text format that Prometheus reads.

No token is asked for, as whoever collects figures seldom has one; so nothing here is of a tenant.
Lanes and dependencies are left out while Redis does not answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from broker.errors import BrokerDown
from broker.gate_states import GateState, Standing
from jobs.lifecycle.desk import Desk
from jobs.web.asked import TheDesk
from store import load
from store.rows import ClassLoad, PlatformLoad
from store.states import JobClass

router = APIRouter(tags=["health"])

MEDIA_TYPE = "text/plain; version=0.0.4"
Sample = tuple[str, float | None]


@router.get(
    "/metrics",
    responses={503: {}},
    response_class=PlainTextResponse,
    summary="Figures of the platform for Prometheus",
)
def tell_metrics(desk: TheDesk) -> PlainTextResponse:
    with desk.doors.as_nobody() as tx:
        platform, classes = load.read(tx), load.read_classes(tx)
    lines = [*of_platform(platform), *of_classes(classes), *of_lanes(_lanes(desk))]
    lines += of_dependencies(_gates(desk))
    return PlainTextResponse("\n".join(lines) + "\n", media_type=MEDIA_TYPE)


def of_platform(platform: PlatformLoad) -> Iterator[str]:
    """The level, how old the census is, and the slots."""
    yield from figure("level", "gauge", "0 normal to 3 overloaded", [("", platform.level)])
    age_s = [("", platform.measured_age_s)]
    yield from figure("census_age_seconds", "gauge", "age of the figures of the classes", age_s)
    slots = [(f'work="{work}"', count) for work, count in platform.slots.items()]
    yield from figure("slots", "gauge", "slots of live workers", slots)


def of_classes(classes: Mapping[JobClass, ClassLoad]) -> Iterator[str]:
    """What waits, runs, starts and was refused, by class."""
    rows = [(f'class="{each}"', row) for each, row in classes.items()]

    def told(name: str, kind: str, words: str, of: Iterable[float | None]) -> Iterator[str]:
        labels = (label for label, _ in rows)
        return figure(name, kind, words, zip(labels, of, strict=True))

    yield from told("waiting_steps", "gauge", "not rung for yet", (r.waiting for _, r in rows))
    oldest = (r.oldest_s or 0.0 for _, r in rows)
    yield from told("oldest_wait_seconds", "gauge", "of the first that waits", oldest)
    wait = (r.wait_s for _, r in rows)
    yield from told("estimated_wait_seconds", "gauge", "of the last that waits", wait)
    yield from told("running_steps", "gauge", "claimed by a worker", (r.running for _, r in rows))
    started = (r.started for _, r in rows)
    yield from told("started_total", "counter", "new starts out of what waited", started)
    refused = (r.refused for _, r in rows)
    yield from told("refused_total", "counter", "submissions for which no room was", refused)


def of_lanes(lanes: Mapping[str, int]) -> Iterator[str]:
    """What lies on the lanes of Redis."""
    samples = [(f'lane="{name}"', count) for name, count in lanes.items()]
    yield from figure("lane_messages", "gauge", "messages on a lane of Redis", samples)


def of_dependencies(gates: Sequence[GateState]) -> Iterator[str]:
    """What goes out to each, what may, and how much more than was wanted."""
    labels = [f'dependency="{_escaped(gate.dependency)}"' for gate in gates]

    def told(name: str, words: str, of: Iterable[float | None]) -> Iterator[str]:
        return figure(f"dependency_{name}", "gauge", words, zip(labels, of, strict=True))

    is_open = (float(gate.standing is Standing.OPEN) for gate in gates)
    yield from told("open", "1 while calls go through its gate", is_open)
    yield from told("limit", "calls at once that it bears", (g.limit for g in gates))
    yield from told("in_flight", "calls that are out", (g.in_flight for g in gates))
    yield from told("waiting_steps", "turned away at its gate", (g.waiting for g in gates))
    calls = (gate.amplification() for gate in gates)
    yield from told("amplification", "calls on the wire for each that was wanted", calls)
    is_high = (float(gate.is_amplified) for gate in gates)
    yield from told("amplified", "1 where that is above the alert's threshold", is_high)


def figure(
    name: str, kind: str, words: str, samples: Iterable[tuple[str, float | None]]
) -> Iterator[str]:
    """The lines of one figure; what is not known has none."""
    known = [(labels, value) for labels, value in samples if value is not None]
    if known:
        yield f"# HELP stepwell_{name} {words}"
        yield f"# TYPE stepwell_{name} {kind}"
    for labels, value in known:
        yield f"stepwell_{name}{{{labels}}} {value:g}" if labels else f"stepwell_{name} {value:g}"


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _gates(desk: Desk) -> Sequence[GateState]:
    try:
        return desk.gates.look()
    except BrokerDown:
        return ()


def _lanes(desk: Desk) -> Mapping[str, int]:
    try:
        return desk.gauge.measure()
    except BrokerDown:
        return {}
