"""One run: a policy under a trace, while things happen to the provider at their time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from time import monotonic, time
from typing import Any

from tests.overload.crowd import send_all
from tests.overload.history import Fate, History
from tests.overload.platform import TENANT_IDS, Ground, Platform, Size, platform
from tests.overload.policies import Policy
from tests.overload.trace import OTHERS, Ask, Phase, draw_trace

LEAD_S = 0.5
LOOK_EVERY_S = 0.25
WARM_EACH, WARM_EVERY_S, WARM_S_MAX = 6, 0.05, 30.0

ENDS = """
select input ->> 'ask', status, extract(epoch from finished_at)::float8, tenant_id
  from stepwell.jobs
"""


@dataclass(frozen=True, slots=True)
class Happening:
    """What the provider is told, `at_s` after the beginning."""

    at_s: float
    place: str
    behaviour: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What happens in a run, whoever's policy it is. `drain_s` is waited for what is left."""

    phases: Sequence[Phase]
    size: Size = field(default_factory=Size)
    happenings: Sequence[Happening] = ()
    drain_s: float = 12.0
    returns_max: int = 0


def run(ground: Ground, policy: Policy, plan: Plan, seed: int) -> History:
    """Run the policy under the plan and return what it left behind."""
    asks = draw_trace(plan.phases, plan.size.capacity_per_s, seed)
    with platform(ground, policy, plan.size) as running:
        warm_up(running, plan.phases)
        began_at = time() + LEAD_S
        is_over = Event()
        with ThreadPoolExecutor(1) as threads:
            told = threads.submit(_let_happen, running, plan.happenings, began_at, is_over)
            try:
                fates = send_all(running.url, asks, began_at, returns_max=plan.returns_max)
            finally:
                is_over.set()
            told.result()
        drain(running, plan.drain_s)
        running.check()
        closed_at = time()
        _find_ends(running, fates)
        tokens = {fate.ask.token for fate in fates}
        wired = [call for call in running.provider.seen() if call.token in tokens]
        return History(policy.name, began_at, closed_at, fates, wired)


def warm_up(running: Platform, phases: Sequence[Phase]) -> None:
    """Let every kind of job be done a few times, so that agents are met and connections open."""
    kinds = list(dict.fromkeys(kind for phase in phases for kind, _ in phase.mix))
    asks = [
        Ask(-1 - n, n * WARM_EVERY_S, OTHERS[n % len(OTHERS)], kinds[n % len(kinds)])
        for n in range(WARM_EACH * len(kinds))
    ]
    send_all(running.url, asks, time())
    if not drain(running, WARM_S_MAX):
        raise RuntimeError(f"nobody works: {running.open_jobs} jobs are open after {WARM_S_MAX} s")


def _let_happen(
    running: Platform, happenings: Sequence[Happening], began_at: float, is_over: Event
) -> None:
    for each in sorted(happenings, key=lambda happening: happening.at_s):
        if is_over.wait(max(0.0, began_at + each.at_s - time())):
            return
        running.provider.change(each.place, **each.behaviour)


def drain(running: Platform, timeout_s: float) -> bool:
    """Wait until every job is over, for so long at most; whether they are."""
    give_up_at = monotonic() + timeout_s
    while running.open_jobs and monotonic() < give_up_at:
        Event().wait(LOOK_EVERY_S)
    return running.open_jobs == 0


def _find_ends(running: Platform, fates: Sequence[Fate]) -> None:
    fate_of = {fate.ask.token: fate for fate in fates}
    for token, status, ended_at, tenant_id in running.ground.ask(ENDS):
        if token in fate_of:
            asked_by = fate_of[token].ask.tenant
            if tenant_id != TENANT_IDS[asked_by]:
                raise RuntimeError(f"a job of {asked_by} is another tenant's")
            fate_of[token].job_status = status
            fate_of[token].ended_at = ended_at
