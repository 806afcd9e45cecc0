"""The tally: figures from histories.

    in_deadline    of what was asked for, the part that was completed in time; a refusal is not
    goodput        of the provider's machine time, the part spent on jobs that were in time
    wasted         of the machine time that was spent, the part on jobs that were not
    amplification  requests on the wire for each call that was on the wire at all
    recovery_s     from the end of a trouble until asks are met again

While a gate is shut most calls only wait, and are never sent. Requests for each call that jobs
wished to make (`requests_per_wish`) is then far lower than the amplification, which counts only
those that were sent.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tests.overload.history import ADMITTED, Fate, History, Wired
from tests.overload.provider import MODEL
from tests.overload.trace import NOISY

K = TypeVar("K", bound=Hashable)

WELL_AGAIN, WELL_FOR_S, WELL_STEP_S = 0.95, 5.0, 0.5
# Ends of jobs that were taken in and then given up. Where the provider is well, that is shedding.
GIVEN_UP = ("failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of the trace, in seconds after its beginning."""

    from_s: float
    to_s: float

    @property
    def lasts_s(self) -> float:
        return self.to_s - self.from_s


# --- asks ---------------------------------------------------------------------------------------


def share_in_deadline(history: History, fates: Iterable[Fate]) -> float:
    """The part of the asks that was met; NaN when none can be judged."""
    judged = [fate.is_in_deadline for fate in fates if history.is_judged(fate)]
    return sum(judged) / len(judged) if judged else math.nan


def shares_by(history: History, fates: Iterable[Fate], key: Callable[[Fate], K]) -> dict[K, float]:
    """The same for each group of asks."""
    groups: dict[K, list[Fate]] = defaultdict(list)
    for fate in fates:
        groups[key(fate)].append(fate)
    return {name: share_in_deadline(history, group) for name, group in groups.items()}


def is_others(fate: Fate) -> bool:
    """Whether somebody else than the noisy tenant asked."""
    return fate.ask.tenant != NOISY


def count_fates(fates: Sequence[Fate]) -> dict[str, int]:
    """How many were refused, met in time, late or expired, given up, and are still open."""
    admitted = [fate for fate in fates if fate.is_admitted]
    met = sum(fate.is_in_deadline for fate in fates)
    failed = sum(fate.job_status in GIVEN_UP for fate in admitted)
    still_open = sum(fate.ended_at is None for fate in admitted)
    return {
        "asked": len(fates),
        "refused": len(fates) - len(admitted),
        "met": met,
        "late": len(admitted) - met - failed - still_open,
        "failed": failed,
        "open": still_open,
    }


def recovery_s(history: History, trouble_over_s: float) -> float | None:
    """Seconds from the end of the trouble until asks are met again, 95 % of those of 5 seconds.

    None when they never are, as far as this run was looked at.
    """
    last_s = max((fate.ask.at_s for fate in history.fates), default=0.0)
    steps = int((last_s - WELL_FOR_S - trouble_over_s) / WELL_STEP_S) + 1
    for step in range(max(0, steps)):
        from_s = trouble_over_s + step * WELL_STEP_S
        fates = history.asked_between(from_s, from_s + WELL_FOR_S)
        if share_in_deadline(history, fates) >= WELL_AGAIN:
            return step * WELL_STEP_S
    return None


def shares_over_time(history: History, bin_s: float) -> list[tuple[float, float]]:
    """(middle of the bin, part of its asks that was met) over the whole trace."""
    binned = shares_by(history, history.fates, lambda fate: int(fate.ask.at_s / bin_s))
    return [((n + 0.5) * bin_s, share) for n, share in sorted(binned.items())]


# --- machine time -------------------------------------------------------------------------------


def seconds_on_machines(history: History, calls: Iterable[Wired], within: Stretch) -> float:
    """Seconds that these model calls had a machine during the stretch."""
    low, high = history.began_at + within.from_s, history.began_at + within.to_s
    return sum(
        max(0.0, min(call.ended_at, high) - max(call.began_at, low))
        for call in calls
        if call.place == MODEL and call.began_at > 0
    )


def useful_calls(history: History) -> list[Wired]:
    """The calls of jobs that were completed in time."""
    useful = {token for token, fate in history.fate_of.items() if fate.is_in_deadline}
    return [call for call in history.wired if call.token in useful]


def judged_calls(history: History) -> list[Wired]:
    """The calls of jobs of which it can be said whether they were in time."""
    judged = {token for token, fate in history.fate_of.items() if history.is_judged(fate)}
    return [call for call in history.wired if call.token in judged]


def goodput(history: History, within: Stretch, at_once: int) -> float:
    """The part of the machine time of the stretch that jobs got which were in time."""
    return seconds_on_machines(history, useful_calls(history), within) / (at_once * within.lasts_s)


def wasted(history: History, within: Stretch) -> float:
    """The part of the machine time spent in the stretch that jobs got which were not in time."""
    spent_s = seconds_on_machines(history, judged_calls(history), within)
    useful_s = seconds_on_machines(history, useful_calls(history), within)
    return 1.0 - useful_s / spent_s if spent_s else 0.0


def goodput_over_time(
    history: History, at_once: int, bin_s: float, lasts_s: float
) -> list[tuple[float, float]]:
    """(middle of the bin, goodput of it) over so many seconds of the trace."""
    bins = [Stretch(n * bin_s, (n + 1) * bin_s) for n in range(int(lasts_s / bin_s))]
    calls = useful_calls(history)
    return [
        (each.from_s + bin_s / 2, seconds_on_machines(history, calls, each) / (at_once * bin_s))
        for each in bins
    ]


def share_of_class(history: History, job_class: str, within: Stretch, at_once: int) -> float:
    """The part of the machine time of the stretch that jobs of this class got."""
    calls = [
        call
        for call in history.wired
        if history.fate_of[call.token].ask.kind.job_class == job_class
    ]
    return seconds_on_machines(history, calls, within) / (at_once * within.lasts_s)


def longest_gap_s(history: History, job_class: str, within: Stretch) -> float:
    """The longest time of the stretch in which no call of this class got a machine."""
    low, high = history.began_at + within.from_s, history.began_at + within.to_s
    began = sorted(
        call.began_at
        for call in history.wired
        if history.fate_of[call.token].ask.kind.job_class == job_class
        and low <= call.began_at <= high
    )
    moments = [low, *began, high]
    return max(later - earlier for earlier, later in itertools.pairwise(moments))


# --- the wire -----------------------------------------------------------------------------------


def requests_per_wish(history: History, within: Stretch) -> float:
    """Requests on the wire for each call that jobs wished to make in the stretch."""
    wired = _model_calls(history, within)
    wished = {(call.token, call.call) for call in wired}
    wished |= {
        (fate.ask.token, 1)
        for fate in history.asked_between(within.from_s, within.to_s)
        if fate.is_admitted
    }
    return len(wired) / len(wished) if wished else 0.0


def amplification(history: History, within: Stretch) -> float:
    """Requests on the wire for each call that was on the wire at all in the stretch."""
    wired = _model_calls(history, within)
    sent = {(call.token, call.call) for call in wired}
    return len(wired) / len(sent) if sent else 0.0


def requests_over_time(history: History, bin_s: float) -> list[tuple[float, float]]:
    """(middle of the bin, model requests a second in it), from the first to the last."""
    counted = Counter(
        int((call.at - history.began_at) / bin_s) for call in history.wired if call.place == MODEL
    )
    bins = range(max(counted, default=0) + 1)
    return [((n + 0.5) * bin_s, counted[n] / bin_s) for n in bins]


def _model_calls(history: History, within: Stretch) -> list[Wired]:
    found = history.wired_between(within.from_s, within.to_s)
    return [call for call in found if call.place == MODEL]


# --- coming back --------------------------------------------------------------------------------


def first_returns(fates: Iterable[Fate]) -> list[bool]:
    """Of everyone who was refused and came back, whether the first return was let in."""
    return [fate.answers[1].status == ADMITTED for fate in fates if len(fate.answers) > 1]


def told_to_wait(fates: Iterable[Fate]) -> list[float]:
    """Every `Retry-After` that was said, in seconds."""
    said = [answer.retry_after_s for fate in fates for answer in fate.answers]
    return [each for each in said if each is not None]


def commonest_share(values: Sequence[Any]) -> float:
    """The part of the values that are the commonest one; 1 would be a constant."""
    return Counter(values).most_common(1)[0][1] / len(values) if values else math.nan


# --- small things -------------------------------------------------------------------------------


def percentile(values: Sequence[float], p: float) -> float:
    """The p-th percentile, between neighbours; NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    place = (len(ordered) - 1) * p / 100
    low, part = int(place), place % 1
    return ordered[low] + part * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


def times_of(fates: Iterable[Fate]) -> list[float]:
    """What the completed ones took, from asking to the end."""
    return [fate.took_s for fate in fates if fate.took_s is not None]
