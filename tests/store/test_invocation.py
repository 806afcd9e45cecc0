"""How a job came to be: written once, handed down whole, and the same in every copy."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from uuid_utils.compat import uuid7

from scheduler.waking import wake
from store import jobs, letters
from store.doors import Doors
from store.forks import Forked
from store.invocation import Invocation
from store.jobs import NewJob
from store.letters import LetterFilter, Replayed
from store.states import JobClass, Origin
from store.transitions import Parked
from tests.stepping import COMPLETED, MODEL, Stepper, call, child, delegate

COLUMNS = {
    "origin": "'api'",
    "origins_above": "'{}'",
    "requester": "'eve'",
    "roles": "'{finance}'",
    "parent_job_id": "null",
    "root_id": "id",
    "depth": "0",
}
ROLES = frozenset({"finance", "support"})


@pytest.fixture
def stepper(doors: Doors, tenant: UUID) -> Stepper:
    return Stepper(doors, tenant)


def come_by(stepper: Stepper, origin: Origin, **who: Any) -> UUID:
    """A job with one step that came so."""
    new = NewJob(
        tenant_id=stepper.tenant_id,
        id=uuid7(),
        agent="test",
        agent_version="1",
        model=None,
        job_class=JobClass.DEFAULT,
        origin=origin,
        input={},
        idempotency_key=None,
        request_sha256=None,
        first_steps=(call(1),),
        **who,
    )
    with stepper.doors.as_tenant(stepper.tenant_id) as tx:
        assert jobs.create(tx, new) is not None
    return new.id


def ann(stepper: Stepper) -> UUID:
    """A job that a schedule of Ann's made."""
    return come_by(stepper, Origin.SCHEDULE, requester="ann", roles=("finance", "support"))


def below(stepper: Stepper, job_id: UUID) -> UUID:
    """A child that the first step of the job asks for."""
    born = child(call(1))
    assert stepper.park(stepper.take(job_id), delegate(born)) is Parked.PARKED
    return born.id


def seen(stepper: Stepper, job_id: UUID) -> Invocation:
    """How the job came to be, as its row says."""
    row = stepper.job(job_id)
    return Invocation(
        origin=row.origin,
        root_id=row.root_id,
        origins_above=tuple(map(Origin, row.origins_above)),
        parent_job_id=row.parent_job_id,
        requester=row.requester,
        roles=frozenset(row.roles),
    )


# --- kept -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("door", ["app", "operator"])
def test_nobody_changes_how_a_job_came_to_be(
    stepper: Stepper, doors: Doors, door: str, column: str
) -> None:
    root_id = ann(stepper)
    child_id = below(stepper, root_id)
    before = stepper.dump()["jobs"]
    opened = doors.as_tenant(stepper.tenant_id) if door == "app" else doors.as_operator("test")
    statement = f"update stepwell.jobs set {column} = {COLUMNS[column]} where id = :job"
    with pytest.raises(IntegrityError, match="invocation_is_kept"), opened as tx:
        tx.execute(text(statement), {"job": child_id})
    assert stepper.dump()["jobs"] == before


@pytest.mark.parametrize("door", ["app", "operator"])
def test_it_is_refused_among_other_columns_and_where_nothing_would_change(
    stepper: Stepper, doors: Doors, door: str
) -> None:
    job_id = ann(stepper)
    for change in ("status_reason = 'x', roles = '{admin}'", "origin = origin"):
        opened = doors.as_tenant(stepper.tenant_id) if door == "app" else doors.as_operator("test")
        with pytest.raises(IntegrityError, match="invocation_is_kept"), opened as tx:
            tx.execute(text(f"update stepwell.jobs set {change}"))
    assert (stepper.job(job_id).roles, stepper.job(job_id).status_reason) == (
        ["finance", "support"],
        None,
    )


@pytest.mark.parametrize("door", ["app", "operator"])
@pytest.mark.parametrize("until", ["null", "deadline_at + interval '1 us'"])
def test_nobody_gives_a_job_more_time_than_it_was_born_with(
    stepper: Stepper, doors: Doors, door: str, until: str
) -> None:
    job_id = stepper.put_down([MODEL], deadline_in_s=60.0)
    opened = doors.as_tenant(stepper.tenant_id) if door == "app" else doors.as_operator("test")
    statement = f"update stepwell.jobs set deadline_at = {until} where id = :job"
    with pytest.raises(IntegrityError, match="invocation_is_kept"), opened as tx:
        tx.execute(text(statement), {"job": job_id})
    stepper.pass_deadline(job_id)
    assert stepper.job(job_id).deadline_at < datetime.now(UTC), "less it may have"


# --- handed down ----------------------------------------------------------------------------------


def test_a_claim_brings_how_its_job_came_to_be(stepper: Stepper) -> None:
    job_id = ann(stepper)
    told = stepper.take(job_id).invocation
    assert told == seen(stepper, job_id)
    assert (told.origins, told.depth) == (frozenset({Origin.SCHEDULE}), 0)
    assert (told.requester, told.roles) == ("ann", ROLES)


def test_children_have_every_origin_above_them_and_the_requester_and_the_roles(
    stepper: Stepper,
) -> None:
    line = [ann(stepper)]
    for _ in range(3):
        line.append(below(stepper, line[-1]))
    for depth, job_id in enumerate(line):
        found = seen(stepper, job_id)
        above = (Origin.SCHEDULE, *[Origin.AGENT] * (depth - 1))[:depth]
        assert (found.origins_above, found.depth, stepper.job(job_id).depth) == (
            above,
            depth,
            depth,
        )
        assert Origin.SCHEDULE in found.origins
        assert (found.requester, found.roles) == ("ann", ROLES)
    assert stepper.take(line[-1]).invocation == seen(stepper, line[-1])


def copy_of(stepper: Stepper, job_id: UUID, how: str) -> UUID:
    """A job made of this one, which has failed at its only step."""
    match how:
        case "fork":
            made, new_id = stepper.fork(job_id, 1, input={"other": True})
            assert made is Forked.MADE
        case "replay":
            replayed, new_id = stepper.replay(job_id)
            assert replayed is Replayed.MADE
        case _:
            with stepper.doors.as_tenant(stepper.tenant_id) as tx:
                served = {"test": "1"}
                lined_up = letters.plan_replays(
                    tx, LetterFilter(), versions=served, per_s=100.0, by="bob", limit=9
                )
            assert lined_up == 1
            wake(stepper.doors)
            found = stepper.letter(job_id).replayed_as
            assert found is not None
            new_id = found
    return new_id


@pytest.mark.parametrize("how", ["fork", "replay", "bulk replay"])
@pytest.mark.parametrize("depth", [0, 2])
def test_a_copy_came_to_be_as_its_original_did(stepper: Stepper, how: str, depth: int) -> None:
    job_id = ann(stepper)
    for _ in range(depth):
        job_id = below(stepper, job_id)
    stepper.fail(stepper.take(job_id))
    new_id = copy_of(stepper, job_id, how)
    copied, original = seen(stepper, new_id), seen(stepper, job_id)
    assert copied == replace(original, root_id=new_id, parent_job_id=None)
    assert copied.depth == depth, "a copy of a deep job stays deep"
    # And so does what the copy asks for.
    held = stepper.take(new_id)
    assert held.invocation == copied
    assert stepper.park(held, delegate(child()), depth_max=depth) is Parked.REFUSED
    born = child(call(1))
    assert stepper.park(held, delegate(born), depth_max=depth + 1) is Parked.PARKED
    assert seen(stepper, born.id).origins_above == (*original.origins_above, original.origin)
    stepper.check_books(new_id)


# --- bounded --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "passed", "most"),
    [
        ({"depth_max": 1}, "depth", 1),
        ({"children_max": 1}, "children", 1),
        ({"descendants_max": 2}, "descendants", 2),
        ({"depth_max": 1, "children_max": 0, "descendants_max": 0}, "depth", 1),
    ],
)
def test_the_story_says_which_bound_was_passed_and_nothing_else_is_written(
    stepper: Stepper, doors: Doors, bounds: dict[str, int], passed: str, most: int
) -> None:
    job_id = below(stepper, ann(stepper))
    held = stepper.take(job_id)
    before, story = stepper.dump(), stepper.story(job_id)
    assert stepper.park(held, delegate(child(), child()), **bounds) is Parked.REFUSED
    assert stepper.story(job_id) == [*story, "children.refused"]
    after = stepper.dump()
    assert {name for name in after if after[name] != before[name]} == {"jobs", "events"}
    assert stepper.children(job_id) == []
    with doors.as_tenant(stepper.tenant_id) as tx:
        told = tx.execute(text("select data from stepwell.events where type = 'children.refused'"))
        assert told.scalar_one() == {"seq": 1, "asked": 2, "bound": passed, "max": most}
    assert stepper.commit(held, ending=COMPLETED) is not None
    stepper.check_books(job_id)


def test_what_all_steps_of_a_job_ask_for_counts_together(stepper: Stepper) -> None:
    job_id = stepper.put_down([call(1), call(2)])
    first, second = stepper.take(job_id, 1), stepper.take(job_id, 2)
    three = delegate(child(), child(), child())
    assert stepper.park(first, three, children_max=4) is Parked.PARKED
    assert stepper.park(second, delegate(child(), child()), children_max=4) is Parked.REFUSED
    assert stepper.park(second, delegate(child()), children_max=4) is Parked.PARKED
    assert stepper.job(job_id).children == 4
    stepper.check_books(job_id)


def test_a_stale_claim_that_asks_for_too_many_tells_nothing(stepper: Stepper) -> None:
    job_id, worker = stepper.put_down([call(1)]), stepper.start_worker()
    zombie = stepper.take(job_id, 1, worker)
    stepper.lose(worker)
    stepper.take(job_id)
    before = stepper.dump()
    assert stepper.park(zombie, delegate(child()), depth_max=0) is None
    assert stepper.dump() == before


# --- refused calls --------------------------------------------------------------------------------


@pytest.mark.parametrize("joins", [True, False])
def test_a_refused_call_is_an_event_of_its_own_in_the_same_commit(
    stepper: Stepper, joins: bool
) -> None:
    job_id = stepper.put_down([call(1), call(2)] if not joins else [call(1)])
    told = {"seq": 1, "tool": "test", "code": "origin", "reason": "It may not."}
    held = stepper.take(job_id, 1)
    event = {"seq": 1, "outcome": "denied", "refused": told}
    assert stepper.commit(held, event=event, plan=(call(3),), is_joining=True) is not None
    assert stepper.story(job_id)[-2:] == ["call.refused", "step.completed"]
    assert stepper.commit(held, event=event) is None
    assert stepper.story(job_id).count("call.refused") == 1
    stepper.check_books(job_id)
