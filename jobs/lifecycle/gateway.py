"""Gateway: the way of a call through the gate of its dependency, and back when that is shut.

    no dependency      the call is made; nothing is asked
    the gate is open   the call is made, within the times that the gate has learned, and the gate is
                       told how it came out
    shut, or full      the step goes back, and comes again when it was told to

The gate is asked before the effect of the step is begun, and around the call that may be stopped,
so that a stopped thread gives its pass back too. A step that goes back holds nothing and has lost
no try. A note on its row says since when it has waited; when its patience is over it is given up,
with what its job has done so far kept, and the dead letter names the dependency.

A call that was told to slow down is given up in the same way. Where the agent, pipeline or tool
says so, it is parked: it comes back after the time that it was told, a bounded number of times.

A failed call is tried again only while its tenant has budget with that dependency. Each failure
costs a piece, each success pays a little back, so that an outage is not answered with more calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from typing import Any

from broker.gates import Came, Pass
from jobs.agent.agent import Agent
from jobs.agent.registry import Program
from jobs.errors import StepwellError
from jobs.lifecycle.arguments import find_tool
from jobs.lifecycle.error_classes import ErrorClass, classify, is_timeout, retry_after_of
from jobs.lifecycle.house import CallKey, House
from jobs.lifecycle.outcomes import Broke, HandBack
from jobs.lifecycle.passage import Passage
from jobs.lifecycle.stopping import Stopped
from jobs.lifecycle.verdicts import OF_DEPENDENCY, Doubt, GiveUp, Retry, Verdict, as_json
from store.states import JobClass, StepKind
from store.transitions import Claim

# Why a job is queued whose step waits at a gate.
WAITING = "dependency"
# What a gate says to whom it turns away, in words.
REASONS = {
    "limit": "as many calls are out as it bears",
    "rate_limited": "it asked to slow down",
    "quota": "its quota is used up",
    "breaker": "its calls fail",
    "slow": "its answers take far longer than usual",
    "unknown": "its gate cannot be asked",
}
# How long a step waits at a gate, all in all, and how often it is parked after a rate limit.
STEP_PATIENCE_S = 3_600.0
PARKS_MAX = 20
# What a parked call waits when it was not told for how long, and at most.
PARK_S, PARK_MAX_S = 5.0, 600.0
# A pass outlives the call's own limit by this much; then its holder is taken for dead.
LEASE_SLACK_S = 15.0
# A job that has begun and has less time left than that is as urgent as any.
SOON_LATE_S, AS_INTERACTIVE = 5.0, 1
# A wait ends this much after the job's deadline, so that the job is seen to be late.
DEADLINE_SLACK_S = 0.1


class Shut(StepwellError):
    """The gate lets nobody through now, or has no room."""

    def __init__(self, refused: Pass) -> None:
        super().__init__(f"The gate of {refused.dependency} is shut: {refused.reason}.")
        self.refused = refused
        self.dependency, self.reason = refused.dependency, refused.reason
        self.wait_s = refused.wait_s


def dependency_of(held: Claim, program: Program, house: House) -> str | None:
    """What outside of here the step calls, if anything."""
    if held.kind is StepKind.MODEL and isinstance(program, Agent):
        return house.models.dependency_of(program, held.model)
    tool = find_tool(held, program)
    return None if tool is None else tool.dependency


@contextmanager
def through(
    dependency: str, held: Claim, program: Program, house: House, timeout_s: float
) -> Iterator[Passage]:
    """Make a call inside the block; raises `Shut` instead of entering it."""
    granted = house.gates.enter(
        dependency,
        f"{held.tenant_id}:{held.job_id}:{held.seq}",
        lease_s=timeout_s + LEASE_SLACK_S,
        is_first_try=is_first_try(held),
        rank=rank_of(held),
        left_s=held.deadline_in_s,
    )
    if not granted.is_open:
        raise Shut(granted)
    passage = Passage(granted, timeout_s, own_haste_s(held, program), house.loop.late_s)
    house.passages[_key(held)] = passage
    try:
        yield passage
    except BaseException as error:
        _leave(held, house, came_of(error, passage), retry_after_s=retry_after_of(error))
        raise
    _leave(held, house, Came.NOTHING if passage.took_s is None else Came.OK)


def is_first_try(held: Claim) -> bool:
    """Whether no call was made for this step before; one that was told to slow down was made."""
    return held.attempts == 0 and held.losses == 0 and not _note_of(held).get("parks")


def rank_of(held: Claim) -> int:
    """Who goes first at a gate: by class, and in a class what goes on before what begins.

    What has begun and has little time left is as urgent as what is interactive: what was done would
    be for nothing.
    """
    has_begun = held.parent_seq is not None
    own = 2 * list(JobClass).index(JobClass(held.job_class)) + (not has_begun)
    is_soon_late = held.deadline_in_s is not None and held.deadline_in_s < SOON_LATE_S
    return min(own, AS_INTERACTIVE) if has_begun and is_soon_late else own


def leave_overdue(held: Claim, house: House) -> None:
    """Give back the pass of a call that was given up and has not come back: its thread hangs."""
    passage = house.passages.get(_key(held))
    if passage is not None:
        _leave(held, house, Came.TIMED_OUT if passage.is_theirs else Came.NOTHING)


def _leave(held: Claim, house: House, came: Came, *, retry_after_s: float | None = None) -> None:
    """Tell the gate how the call came out, unless somebody has."""
    passage = house.passages.pop(_key(held), None)
    if passage is None:
        return
    house.gates.leave(
        passage.granted,
        came,
        tenant_id=held.tenant_id,
        first_s=passage.first_s if passage.tells(passage.first_s) else None,
        total_s=passage.took_s if passage.tells(passage.took_s) else None,
        took_s=passage.took_s,
        retry_after_s=retry_after_s,
    )


def _key(held: Claim) -> CallKey:
    return held.job_id, held.seq, held.epoch


def own_haste_s(held: Claim, program: Program) -> float:
    """When the job gives the call up, however long such a call may take: its deadline, a budget."""
    tool = find_tool(held, program)
    budget_s = None if tool is None else tool.budget_s
    return min(each for each in (held.deadline_in_s, budget_s, inf) if each is not None)


def came_of(error: BaseException, passage: Passage) -> Came:
    """How a call came out that raised this, as far as it says something about the other side."""
    if passage.began_at is None:
        return Came.NOTHING
    if isinstance(error, Stopped) or is_timeout(error):
        is_telling = passage.is_overdue or not isinstance(error, Stopped)
        return Came.TIMED_OUT if is_telling and passage.is_theirs else Came.NOTHING
    match classify(error):
        case ErrorClass.RATE_LIMITED:
            return Came.RATE_LIMITED
        case ErrorClass.QUOTA:
            return Came.QUOTA
        case (
            ErrorClass.NOT_SENT
            | ErrorClass.TRANSIENT
            | ErrorClass.SERVER_ERROR
            | ErrorClass.TIMEOUT
        ):
            return Came.FAILED
        case _:
            return Came.NOTHING


# --- coming back ----------------------------------------------------------------------------------


def come_back(shut: Shut, held: Claim) -> HandBack | Broke:
    """Back until the gate may be open."""
    return _wait(held, shut.dependency, shut.reason, shut.wait_s)


def park_limited(
    error: BaseException, held: Claim, program: Program, house: House
) -> HandBack | Broke:
    """Back until the time that a rate limit named; it certainly was not acted on."""
    dependency = dependency_of(held, program, house) or held.name
    wait_s = min(PARK_MAX_S, retry_after_of(error) or PARK_S) * (1 + 0.2 * house.draw.random())
    reason = ErrorClass.RATE_LIMITED.value
    return _wait(held, dependency, reason, wait_s, is_parked=True)


def is_parked_on_limit(error: BaseException, held: Claim, program: Program) -> bool:
    """Whether this is a rate limit, and the step is to wait it out."""
    if classify(error) is not ErrorClass.RATE_LIMITED:
        return False
    tool = find_tool(held, program)
    own = None if tool is None else tool.on_rate_limit
    return (own or program.on_rate_limit) == "park"


def _wait(
    held: Claim,
    dependency: str,
    reason: str,
    wait_s: float,
    *,
    is_parked: bool = False,
) -> HandBack | Broke:
    before = _note_of(held)
    now = datetime.now(UTC)
    since = before.get("since") or now.isoformat(timespec="seconds")
    parks = before.get("parks", 0) + is_parked
    waited_s = (now - datetime.fromisoformat(since)).total_seconds()
    why = REASONS.get(reason, reason)
    if waited_s > STEP_PATIENCE_S or parks > PARKS_MAX:
        message = f"{dependency} did not let it through in {waited_s:,.0f} s: {why}."
        return Broke(GiveUp(as_json(ErrorClass.UNAVAILABLE, message), ErrorClass.UNAVAILABLE))
    if held.deadline_in_s is not None:
        wait_s = min(wait_s, max(0.0, held.deadline_in_s) + DEADLINE_SLACK_S)
    message = f"It waits for {dependency}: {why}."
    note = {"class": WAITING, "message": message, "since": since, "parks": parks}
    return HandBack(wait_s, WAITING, message, note=note, is_undone=is_parked)


def _note_of(held: Claim) -> dict[str, Any]:
    """What the step noted when it went back from a gate before; nothing at first."""
    is_ours = held.note is not None and held.note.get("class") == WAITING
    return held.note or {} if is_ours else {}


# --- what failed calls cost -----------------------------------------------------------------------


def within_budget(
    verdict: Verdict, error: BaseException, held: Claim, program: Program, house: House
) -> Verdict:
    """The verdict, without a retry that the tenant has no budget for."""
    dependency = dependency_of(held, program, house)
    if dependency is None or classify(error) not in OF_DEPENDENCY:
        return verdict
    return verdict if house.gates.spend(dependency, held.tenant_id) else _spent(verdict, dependency)


def _spent(verdict: Verdict, dependency: str) -> Verdict:
    match verdict:
        case Retry(_, told):
            hint = f"Too many calls of {dependency} fail for one more. Once it is well, replay it."
            return GiveUp(told | {"hint": hint}, ErrorClass(told["class"]))
        case Doubt(_, Retry() as retry):
            otherwise = _spent(retry, dependency)
            assert isinstance(otherwise, GiveUp)  # noqa: S101 - narrows the type, cannot fail
            return replace(verdict, otherwise=otherwise)
        case _:
            return verdict


def blame(
    error: dict[str, Any], reason: ErrorClass, held: Claim, program: Program, house: House
) -> dict[str, Any]:
    """The error, with the dependency whose recovery would help."""
    if reason not in OF_DEPENDENCY:
        return error
    dependency = dependency_of(held, program, house)
    return error if dependency is None else error | {"dependency": dependency}
