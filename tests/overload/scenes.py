"""The scenes: what happens in each, whose policies are seen in it, and what is read from it.

overload   three times what fits, most of it one tenant's; later a slow provider
outage     the provider fails every request for half a minute, then is well again
slow       a second dependency takes twenty times as long as it did
comeback   a short rush, whose refused clients come back when they were told to
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.overload import tally
from tests.overload.history import Fate, History
from tests.overload.platform import Size
from tests.overload.policies import DEPTH, FIFO, NAIVE, OPEN, OURS, Policy
from tests.overload.provider import CRM, MODEL
from tests.overload.run import Happening, Plan
from tests.overload.tally import Stretch
from tests.overload.trace import CHAT, CLERK, REPORT, Phase, begin_of, length_of

SLOWER, MUCH_SLOWER = 2.5, 20.0
# The requests a second the provider of the outage bears; refused ones count, as usual.
RATE_MAX = 1.5


@dataclass(frozen=True)
class Scene:
    """A plan, whom to see in it, the stretch that counts, and what to read from each run."""

    name: str
    title: str
    policies: Sequence[Policy]
    plan: Plan
    trouble: Stretch
    read: Callable[[Scene, History], dict[str, Any]]


def stretch_of(phases: Sequence[Phase], name: str) -> Stretch:
    from_s = begin_of(phases, name)
    return Stretch(from_s, from_s + next(p.lasts_s for p in phases if p.name == name))


def _read_figures(scene: Scene, history: History) -> dict[str, Any]:
    """The figures that every scene has, for the stretch of its trouble."""
    trouble = scene.trouble
    fates = history.asked_between(trouble.from_s, trouble.to_s)
    others = [fate for fate in fates if tally.is_others(fate)]
    return {
        "in_deadline": tally.share_in_deadline(history, fates),
        "goodput": tally.goodput(history, trouble, scene.plan.size.at_once),
        "wasted": tally.wasted(history, trouble),
        "amplification": tally.amplification(history, trouble),
        "requests_per_wish": tally.requests_per_wish(history, trouble),
        "recovery_s": tally.recovery_s(history, trouble.to_s),
        "counts": tally.count_fates(fates),
        "counts_of_the_run": tally.count_fates(history.fates),
        "classes": tally.shares_by(history, fates, _class_of),
        "classes_of_others": tally.shares_by(history, others, _class_of),
        "tenants": tally.shares_by(history, fates, _tenant_of),
        "cells": _cells(history, fates),
    }


def _class_of(fate: Fate) -> str:
    return fate.ask.kind.job_class


def _tenant_of(fate: Fate) -> str:
    return fate.ask.tenant


def _cells(history: History, fates: Sequence[Fate]) -> list[dict[str, Any]]:
    """For each tenant and class: the share in deadline, and how many of what."""
    shares = tally.shares_by(history, fates, lambda fate: (_tenant_of(fate), _class_of(fate)))
    return [
        {"tenant": tenant, "class": job_class, "share_in_deadline": share}
        | tally.count_fates(
            [f for f in fates if (_tenant_of(f), _class_of(f)) == (tenant, job_class)]
        )
        for (tenant, job_class), share in sorted(shares.items())
    ]


# --- (a) ----------------------------------------------------------------------------------------


def overload(scale: float = 1.0) -> Scene:
    """A storm of one tenant, and a slow provider after it; `scale` stretches its times."""
    size = Size()
    phases = (
        Phase("calm", 5.0 * scale, 0.6),
        Phase("storm", 36.0 * scale, 3.0, noisy=0.8),
        Phase("after", 12.0 * scale, 0.6),
        Phase("slow", 9.0 * scale, 0.6),
        Phase("end", 12.0 * scale, 0.6),
    )
    slow = stretch_of(phases, "slow")
    happenings = (
        Happening(slow.from_s, MODEL, {"takes_s": size.takes_s * SLOWER}),
        Happening(slow.to_s, MODEL, {"takes_s": size.takes_s}),
    )
    plan = Plan(phases, size, happenings, drain_s=8.0)
    title = "Three times what fits, four fifths of it one tenant's; then a slow provider"
    policies = (FIFO, DEPTH, OURS)
    return Scene("overload", title, policies, plan, stretch_of(phases, "storm"), _read_overload)


def _read_overload(scene: Scene, history: History) -> dict[str, Any]:
    slow = stretch_of(scene.plan.phases, "slow")
    fates = history.asked_between(slow.from_s, slow.to_s)
    return _read_figures(scene, history) | {
        "batch_share": tally.share_of_class(
            history, "batch", scene.trouble, scene.plan.size.at_once
        ),
        "batch_gap_s": tally.longest_gap_s(history, "batch", scene.trouble),
        "in_deadline_while_slow": tally.share_in_deadline(history, fates),
        "in_deadline_of_the_run": tally.share_in_deadline(history, history.fates),
        "wasted_of_the_run": tally.wasted(history, Stretch(0, length_of(scene.plan.phases))),
    }


# --- (b) ----------------------------------------------------------------------------------------


def outage(scale: float = 1.0) -> Scene:
    """Every request fails for a while; then all is well, but for who comes back how."""
    size = Size()
    mix = ((CHAT, 0.5), (REPORT, 0.5))
    phases = (
        Phase("calm", 10.0 * scale, 0.6, mix=mix),
        Phase("outage", 30.0 * scale, 0.6, mix=mix),
        Phase("after", 36.0 * scale, 0.6, mix=mix),
    )
    out = stretch_of(phases, "outage")
    happenings = (
        Happening(0.0, MODEL, {"per_s_max": RATE_MAX * size.capacity_per_s}),
        Happening(out.from_s, MODEL, {"mood": "fails"}),
        Happening(out.to_s, MODEL, {"mood": "well"}),
    )
    plan = Plan(phases, size, happenings, drain_s=8.0)
    title = "The provider fails every request, then is well again"
    return Scene("outage", title, (NAIVE, OURS), plan, out, _read_outage)


def _read_outage(scene: Scene, history: History) -> dict[str, Any]:
    out = scene.trouble
    after = Stretch(out.to_s, length_of(scene.plan.phases))
    return _read_figures(scene, history) | {
        "requests_in_outage": len(history.wired_between(out.from_s, out.to_s)),
        "amplification_after": tally.amplification(history, after),
        "in_deadline_after": tally.share_in_deadline(
            history, history.asked_between(after.from_s, after.to_s)
        ),
    }


# --- (c) ----------------------------------------------------------------------------------------


def slow(scale: float = 1.0) -> Scene:
    """Half of the jobs ask a second dependency, which becomes twenty times slower."""
    # Chats take long beside what the machine itself adds, or its moods would be measured. Without
    # gates, eight clerks a second who wait five seconds each would fill all of the forty slots.
    size = Size(at_once=24, takes_s=0.5, crm_takes_s=0.25, workers=2, slots=20)
    # In model calls a second: 10 chats and 8 clerks.
    mix = ((CHAT, 10 / 26), (CLERK, 16 / 26))
    load = 26 / size.capacity_per_s
    phases = (
        Phase("before", 25.0 * scale, load, mix=mix),
        Phase("slow", 25.0 * scale, load, mix=mix),
    )
    stretch = stretch_of(phases, "slow")
    changed = {"takes_s": size.crm_takes_s * MUCH_SLOWER}
    plan = Plan(phases, size, (Happening(stretch.from_s, CRM, changed),), drain_s=4.0)
    title = "A dependency of some jobs takes twenty times as long"
    return Scene("slow", title, (OPEN, OURS), plan, stretch, _read_slow)


def _read_slow(scene: Scene, history: History) -> dict[str, Any]:
    before = stretch_of(scene.plan.phases, "before")
    times = [times_of_chats(history, stretch) for stretch in (before, scene.trouble)]
    p99_before_s, p99_slow_s = (tally.percentile(each, 99) for each in times)
    return _read_figures(scene, history) | {
        "p50_before_s": tally.percentile(times[0], 50),
        "p50_slow_s": tally.percentile(times[1], 50),
        "p99_before_s": p99_before_s,
        "p99_slow_s": p99_slow_s,
        "p99_rise": p99_slow_s / p99_before_s - 1.0,
    }


def times_of_chats(history: History, within: Stretch) -> list[float]:
    """What the jobs took that have nothing to do with the slow dependency."""
    fates = history.asked_between(within.from_s, within.to_s)
    return tally.times_of(fate for fate in fates if fate.ask.kind == CHAT)


# --- (d) ----------------------------------------------------------------------------------------


def comeback(scale: float = 1.0) -> Scene:
    """A rush that does not fit; whoever is refused comes back when told to, once."""
    phases = (
        Phase("calm", 4.0 * scale, 0.5),
        Phase("rush", 5.0 * scale, 4.0, noisy=0.2),
        Phase("after", 22.0 * scale, 0.3),
    )
    plan = Plan(phases, Size(), drain_s=6.0, returns_max=1)
    title = "A rush; whoever is refused comes back when told to"
    rush = stretch_of(phases, "rush")
    return Scene("comeback", title, (DEPTH, OURS), plan, rush, _read_comeback)


def _read_comeback(scene: Scene, history: History) -> dict[str, Any]:
    returns = tally.first_returns(history.fates)
    waits = tally.told_to_wait(history.fates)
    return _read_figures(scene, history) | {
        "returned": len(returns),
        "first_return_let_in": sum(returns) / len(returns) if returns else None,
        "retry_after_distinct": len(set(waits)),
        "retry_after_commonest": tally.commonest_share(waits) if waits else None,
        "retry_after_min_s": min(waits, default=None),
        "retry_after_max_s": max(waits, default=None),
    }


SCENES: Mapping[str, Callable[[float], Scene]] = {
    "overload": overload,
    "outage": outage,
    "slow": slow,
    "comeback": comeback,
}
