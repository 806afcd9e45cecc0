"""What if a dependency took so many times as long: the last hour replayed against its gate.

Two things decide it. By Little's law, calls that begin at a rate r and take t each are r x t at
once, and so many slots of workers they hold. And a gate lets no more go than its limit; whoever is
turned away holds nothing. Nor does it let anybody follow when half of those that are out are
overdue, so that a sudden slowness costs the others little more than what was out before. Others
notice only when what is left is less than what they need.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from broker.gate_states import MINUTES_KEPT, GateState, Minute

MINUTE_S = 60.0
# As in the gate's own rules: what counts as slow, and how far the limit sinks for it.
SLOW_TIMES, CRAWLING_TIMES = 2.0, 4.0
LOWEST_WHEN_SLOW = 4
OVERDUE_TIMES, OVERDUE_ENOUGH = 3.0, 4


@dataclass(frozen=True, slots=True)
class Backlog:
    """The worst of the hour at one limit: how many would wait, and the last of them how long."""

    limit: int
    waiting: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class Affected:
    """Another dependency: how many slots its calls hold at its busiest, and what becomes of them.

    `times_as_long` None means that they would not go at all.
    """

    dependency: str
    slots_needed: float
    times_as_long: float | None


@dataclass(frozen=True, slots=True)
class Outlook:
    """The answer. `sentences` say in words what the numbers say.

    `slots_wanted` is how many slots its calls would hold without a gate; `slots_held` with it.
    `backlogs` are at the limit as it is and, where the limit would sink, at the lowest.
    """

    dependency: str
    factor: float
    calls_per_s: float
    usual_s: float | None
    then_s: float | None
    slots: int
    slots_wanted: float
    slots_held: float
    backlogs: tuple[Backlog, ...]
    others: tuple[Affected, ...]
    sentences: tuple[str, ...]


def foresee(name: str, factor: float, gates: Sequence[GateState], slots: int) -> Outlook | None:
    """What would happen if calls to `name` took `factor` times as long; None: no such gate.

    `slots` is how many calls all live workers can make at once.
    """
    gate = next((each for each in gates if each.dependency == name), None)
    if gate is None:
        return None
    usual_s, calls_per_s = usual_time_s(gate), busiest_rate(gate)
    then_s = None if usual_s is None else usual_s * factor
    wanted = calls_per_s * (then_s or 0.0)
    held = min(wanted, float(gate.limit), float(slots), _most_out(calls_per_s, usual_s, factor))
    backlogs = tuple(replay(gate.minutes, each, then_s or 0.0) for each in _limits(gate, factor))
    others = _others(gate, gates, slots - held)
    outlook = Outlook(
        dependency=name,
        factor=factor,
        calls_per_s=calls_per_s,
        usual_s=usual_s,
        then_s=then_s,
        slots=slots,
        slots_wanted=wanted,
        slots_held=held,
        backlogs=backlogs,
        others=others,
        sentences=(),
    )
    return replace(outlook, sentences=tuple(_sentences(outlook)))


def usual_time_s(gate: GateState) -> float | None:
    """What a call takes on average over the last hour, else by the last calls; None: unknown."""
    done = sum(each.ok for each in gate.minutes)
    if done:
        return sum(each.busy_s for each in gate.minutes) / done
    return gate.total.p50_s if gate.total else None


def busiest_rate(gate: GateState) -> float:
    """Calls a second in the busiest minute of the last hour."""
    return max((each.calls for each in gate.minutes), default=0.0) / MINUTE_S


def slots_needed(gate: GateState) -> float:
    """How many calls are out at once in the busiest minute (Little's law)."""
    return busiest_rate(gate) * (usual_time_s(gate) or 0.0)


def replay(minutes: Iterable[Minute], limit: int, took_s: float) -> Backlog:
    """The hour minute by minute: what came, what the limit lets through, and what is left over."""
    if took_s <= 0:
        return Backlog(limit, 0, 0.0)
    came = {each.ago: each.calls for each in minutes}
    served_a_minute = limit * MINUTE_S / took_s
    left_over = most = 0.0
    for ago in reversed(range(MINUTES_KEPT)):
        left_over = max(0.0, left_over + came.get(ago, 0.0) - served_a_minute)
        most = max(most, left_over)
    return Backlog(limit, round(most), most / served_a_minute * MINUTE_S)


def _most_out(calls_per_s: float, usual_s: float | None, factor: float) -> float:
    """How many are out when half of them are overdue, and nobody follows."""
    if usual_s is None or factor <= OVERDUE_TIMES:
        return float("inf")
    return max(2.0 * OVERDUE_ENOUGH, 2.0 * calls_per_s * OVERDUE_TIMES * usual_s)


def _limits(gate: GateState, factor: float) -> list[int]:
    sinks = factor > SLOW_TIMES and gate.limit > LOWEST_WHEN_SLOW
    return [gate.limit, LOWEST_WHEN_SLOW] if sinks else [gate.limit]


def _others(gate: GateState, gates: Iterable[GateState], free: float) -> tuple[Affected, ...]:
    needs = {each.dependency: slots_needed(each) for each in gates if each is not gate}
    needed = sum(needs.values())
    times: float | None = max(1.0, needed / free) if free > 0 else None
    return tuple(Affected(name, need, times if need else 1.0) for name, need in needs.items())


def _sentences(seen: Outlook) -> Iterable[str]:
    name = seen.dependency
    if seen.usual_s is None or seen.then_s is None or not seen.calls_per_s:
        yield f"No call to {name} came back in the last hour, so there is nothing to replay."
        return
    yield (
        f"A call to {name} takes {_span(seen.usual_s)}; {seen.factor:g} times that is "
        f"{_span(seen.then_s)}."
    )
    yield (
        f"In the busiest minute of the last hour {seen.calls_per_s:.2g} calls a second began, so "
        f"{_number(seen.slots_wanted)} would be out at once instead of "
        f"{_number(seen.slots_wanted / seen.factor)}."
    )
    yield from (_said_of(name, backlog) for backlog in seen.backlogs)
    if seen.factor > CRAWLING_TIMES:
        yield (
            f"Most answers would crawl, so the gate would also shut for moments, with one probe "
            f"after each, until {_span(seen.then_s)} is what is usual."
        )
    yield _said_of_others(seen)


def _said_of(name: str, backlog: Backlog) -> str:
    if not backlog.waiting:
        return f"With the gate's limit at {backlog.limit}, all of them would still go at once."
    return (
        f"With the gate's limit at {backlog.limit}, up to {backlog.waiting:,} steps would wait "
        f"for {name}, the last of them for {_span(backlog.wait_s)}; none of them holds a worker."
    )


def _said_of_others(seen: Outlook) -> str:
    if not seen.slots:
        return "No worker is alive, so nothing goes anyway."
    left = max(0.0, seen.slots - seen.slots_held)
    needed = sum(each.slots_needed for each in seen.others)
    room = (
        f"Its calls would hold {_number(seen.slots_held)} of {seen.slots:,} slots; all others need "
        f"{_number(needed)} at their busiest"
    )
    if needed <= left:
        return f"{room}, so nobody else would notice."
    touched = ", ".join(each.dependency for each in seen.others if each.slots_needed)
    if not left:
        return f"{room}, so nothing else would go: {touched}. Give the workers more slots."
    return (
        f"{room} and would get {_number(left)}, so calls to {touched} would take about "
        f"{needed / left:.1f} times as long. Give the workers more slots."
    )


def _number(amount: float) -> str:
    return f"{amount:.1f}" if amount < 10 else f"{amount:,.0f}"


def _span(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:,.0f} min"
