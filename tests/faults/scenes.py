"""Scenes: what makes a broken store show. On an unbroken one each is a healthy run.

A scene does what workers, schedulers and people might do, in an order that a fault could bring
about. It goes on whatever the store says, as they would, and leaves the judgement to the checker.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from store import jobs, transitions
from store.budgets import Reserved
from store.states import BudgetScope, Decision, WaitKind
from tests.asking import asking, gated
from tests.budgeting import Bookkeeper
from tests.faults.stage import ASK_MODEL, WORK, Stage, call, child

HOUR_S = 3600.0


# --- claims and commits ---------------------------------------------------------------------------


def a_zombie_commits(stage: Stage) -> None:
    """A worker that was taken for dead comes back with its result, while another has its step."""
    job_id = stage.put_down(WORK)
    zombie = stage.take(job_id)
    stage.lose(zombie.worker_id)
    other = stage.take(job_id)
    stage.commit(zombie, "from the grave", plan=(WORK,))
    stage.commit(other, "alive", plan=(WORK,))
    stage.finish(job_id)


def a_zombie_parks(stage: Stage) -> None:
    """The same, but it wants to wait for a signal."""
    job_id = stage.put_down(WORK)
    zombie = stage.take(job_id)
    stage.lose(zombie.worker_id)
    other = stage.take(job_id)
    stage.park(zombie, WaitKind.SIGNAL, "go")
    stage.commit(other, "alive", ends=True)
    stage.send(job_id, "go", 1)
    stage.finish(job_id)


def a_zombie_gives_back(stage: Stage) -> None:
    """The same, but it is about to leave, and hands its step back."""
    job_id = stage.put_down(WORK)
    zombie = stage.take(job_id)
    stage.lose(zombie.worker_id)
    other = stage.take(job_id)
    stage.release(zombie)
    stage.commit(other, "alive", ends=True)
    stage.finish(job_id)


def a_step_is_rung_twice(stage: Stage) -> None:
    """Two workers hear the same ring, one after the other."""
    job_id = stage.put_down(WORK)
    first = stage.take(job_id)
    second = stage.claim(job_id, 1, stage.hire())
    stage.commit(first, "first", ends=True)
    if second is not None:
        stage.commit(second, "second", ends=True)


def parallel_calls_join(stage: Stage) -> None:
    """Two calls of one turn come in, and a model step follows."""
    job_id = stage.put_down(ASK_MODEL)
    stage.commit(stage.take(job_id), "call both", plan=(call(1), call(2)))
    calls = [stage.take(job_id, 2), stage.take(job_id, 3)]
    for held in calls:
        stage.commit(held, "called", plan=(ASK_MODEL,), is_joining=True)
    stage.finish(job_id)


# --- calls that need a yes ------------------------------------------------------------------------


def a_call_is_edited(stage: Stage) -> None:
    """A person changes the arguments; a worker that knows the old ones tries to make the call."""
    job_id, asker = stage.put_down(ASK_MODEL), stage.asker
    stage.commit(stage.take(job_id), "call it", plan=(gated(),))
    olga = {"by": "olga", "roles": frozenset({"operator"})}
    asker.decide(job_id, Decision.EDIT, edited=asking({"amount": 80}), **olga)
    held = asker.granted(stage.take(job_id, 2))
    stale = replace(held, granted=asker.approval(job_id))
    if not stage.charge(stale):
        stage.charge(held)
    stage.commit(held, "called", ends=True)


def a_worker_dies_over_an_approved_call(stage: Stage) -> None:
    """A worker is lost with a call that people said yes to; the next one repeats it."""
    job_id, asker = stage.put_down(ASK_MODEL), stage.asker
    stage.commit(stage.take(job_id), "call it", plan=(gated(),))
    asker.decide(job_id, by="olga", roles=frozenset({"operator"}))
    first = stage.take(job_id, 2)
    asker.start_effect(asker.granted(first))
    stage.lose(first.worker_id)
    held = asker.granted(stage.take(job_id, 2))
    stage.charge(held)
    stage.commit(held, "called", ends=True)


# --- workers that are gone, messages that are lost ------------------------------------------------


def a_busy_worker_lives(stage: Stage) -> None:
    """The scheduler looks for lost workers, and there is none."""
    job_id = stage.put_down(WORK)
    held = stage.take(job_id)
    stage.recover()
    stage.commit(held, "done", ends=True)
    stage.finish(job_id)


def a_worker_leaves_with_a_step(stage: Stage) -> None:
    """A worker says goodbye and never lets go of its step."""
    job_id = stage.put_down(WORK)
    stage.leave(stage.take(job_id).worker_id)
    stage.recover()
    stage.finish(job_id)


def a_message_is_lost(stage: Stage) -> None:
    """The ring for a step never arrives, and the scheduler rings again."""
    stage.put_down(WORK, is_rung=True)
    for job_id, _ in stage.ring_again():
        stage.finish(job_id)


# --- endings --------------------------------------------------------------------------------------


def two_steps_end_the_job(stage: Stage) -> None:
    """Each of two parallel steps comes in with an ending."""
    job_id = stage.put_down(WORK, WORK)
    first, second = stage.take(job_id, 1), stage.take(job_id, 2)
    stage.commit(first, "first", ends=True)
    stage.fail(second)


def somebody_talks_after_the_end(stage: Stage) -> None:
    """A progress report comes in late."""
    job_id = stage.put_down(WORK)
    held = stage.take(job_id)
    stage.commit(held, "done", ends=True)
    with stage.doors.hot() as connection:
        transitions.tell(connection, held.tenant_id, job_id, "job.progress", {"message": "half"})


def a_parked_job_is_cancelled(stage: Stage) -> None:
    """Its step waits for a person, when the job is cancelled."""
    job_id = stage.put_down(WORK, outcome="cancelled")
    stage.park(stage.take(job_id), WaitKind.QUESTION)
    stage.stepper.cancel(job_id)


def a_busy_job_is_cancelled(stage: Stage) -> None:
    """One step runs and one is ready, when the job is cancelled."""
    job_id = stage.put_down(WORK, WORK, outcome="cancelled")
    held = stage.take(job_id)
    stage.stepper.cancel(job_id)
    stage.commit(held, "done")


def old_jobs_are_forgotten(stage: Stage) -> None:
    """History is thrown away at once, while a job is under way."""
    job_id = stage.put_down(WORK)
    held = stage.take(job_id)
    stage.retire()
    stage.commit(held, "done", ends=True)


# --- waiting --------------------------------------------------------------------------------------


def a_signal_comes_early(stage: Stage) -> None:
    """It is there before anybody waits for it."""
    job_id = stage.put_down(WORK)
    stage.send(job_id, "go", {"n": 1})
    stage.park(stage.take(job_id), WaitKind.SIGNAL, "go")
    _use_what_came(stage, job_id)


def a_signal_comes_late(stage: Stage) -> None:
    """It comes when somebody waits for it."""
    job_id = stage.put_down(WORK)
    stage.park(stage.take(job_id), WaitKind.SIGNAL, "go")
    stage.send(job_id, "go", {"n": 1})
    _use_what_came(stage, job_id)


def a_signal_races_the_wait(stage: Stage) -> None:
    """It is under way, and not yet to be seen, when somebody begins to wait for it."""
    job_id = stage.put_down(WORK)
    held = stage.take(job_id)
    with stage.meanwhile() as begin, stage.doors.as_tenant(held.tenant_id) as tx:
        stage.send(job_id, "go", {"n": 1}, tx)
        begin(lambda: stage.park(held, WaitKind.SIGNAL, "go"))
    _use_what_came(stage, job_id)


def two_waits_for_one_name(stage: Stage) -> None:
    """A step waits twice for signals of one name; each takes its own."""
    job_id = stage.put_down(WORK)
    stage.send(job_id, "go", {"n": 1})
    stage.park(stage.take(job_id), WaitKind.SIGNAL, "go")
    stage.park(stage.take(job_id), WaitKind.SIGNAL, "go")
    stage.send(job_id, "go", {"n": 2})
    _use_what_came(stage, job_id)


def _use_what_came(stage: Stage, job_id: UUID) -> None:
    """Whoever claims the woken step makes what it was woken with its result."""
    held = stage.claim(job_id, 1, stage.hire())
    if held is not None:
        stage.commit(held, held.woken and held.woken.result, ends=True)


def two_people_answer(stage: Stage) -> None:
    """A question is shown to two people, and each of them answers."""
    job_id = stage.put_down(WORK)
    stage.park(stage.take(job_id), WaitKind.QUESTION, prompt={"question": "May I?"})
    stage.answer(job_id, "yes", by="ann")
    stage.answer(job_id, "no", by="bob")
    _use_what_came(stage, job_id)


def an_answer_outlives_its_worker(stage: Stage) -> None:
    """Whoever was let on by an answer begins, and is lost; the next one commits."""
    job_id = stage.put_down(WORK)
    stage.park(stage.take(job_id), WaitKind.QUESTION, prompt={"question": "May I?"})
    stage.answer(job_id, "yes")
    first = stage.take(job_id)
    stage.charge(first)
    stage.lose(first.worker_id)
    stage.commit(stage.take(job_id), "done", ends=True)


def two_schedulers_see_a_timer(stage: Stage) -> None:
    """Both have seen that its time has come."""
    job_id = stage.put_down(WORK)
    stage.park(stage.take(job_id), WaitKind.TIMER, wake_in_s=0.0)
    stage.wake(job_id)
    stage.wake(job_id)
    _use_what_came(stage, job_id)


def two_schedulers_see_a_tick(stage: Stage) -> None:
    """Both have seen that it has come, and fire it one after the other."""
    schedule_id, move = stage.overdue()
    stage.fire(schedule_id, move)
    stage.fire(schedule_id, move)


def a_tick_has_time(stage: Stage) -> None:
    """A scheduler believes that it is due, and it is not for an hour."""
    schedule_id, move = stage.overdue(by_s=0.0)
    stage.fire(schedule_id, move)


def a_timer_has_time(stage: Stage) -> None:
    """It is not due for an hour; then its job is cancelled."""
    job_id = stage.put_down(WORK, outcome="cancelled")
    stage.park(stage.take(job_id), WaitKind.TIMER, wake_in_s=HOUR_S)
    stage.wake_due()
    stage.stepper.cancel(job_id)


# --- effects --------------------------------------------------------------------------------------


def a_zombie_charges(stage: Stage) -> None:
    """A worker that was taken for dead is about to take money that another has just taken."""
    job_id = stage.put_down(WORK)
    zombie = stage.take(job_id)
    stage.lose(zombie.worker_id)
    other = stage.take(job_id)
    stage.charge(other)
    stage.charge(zombie)
    stage.commit(other, "charged", ends=True)


def workers_die_over_a_charge(stage: Stage) -> None:
    """Nobody knows whether money was taken; a person says "again", and nobody knows again."""
    job_id = stage.put_down(WORK)
    first = stage.take(job_id)
    stage.charge_with_care(first)
    stage.lose(first.worker_id)
    if stage.charge_with_care(second := stage.take(job_id)):
        stage.commit(second, "charged", ends=True)
        return
    stage.answer(job_id, {"decision": "again"})
    third = stage.take(job_id)
    stage.charge_with_care(third)
    stage.lose(third.worker_id)
    if stage.charge_with_care(fourth := stage.take(job_id)):
        stage.commit(fourth, "charged", ends=True)
        return
    stage.answer(job_id, {"decision": "happened"}, n=2)
    stage.charge_with_care(stage.take(job_id))


def a_failed_job_is_replayed(stage: Stage) -> None:
    """Its first step has taken money, its second has failed; the replay goes on from there."""
    job_id = stage.put_down(WORK, outcome="failed")
    first = stage.take(job_id)
    stage.charge(first)
    stage.commit(first, "charged", plan=(WORK,))
    stage.fail(stage.take(job_id, 2))
    stage.finish(stage.replay(job_id))


def a_job_is_forked(stage: Stage) -> None:
    """Somebody wants to see its second step run again."""
    job_id = stage.put_down(WORK)
    stage.commit(stage.take(job_id), "first", plan=(WORK,))
    stage.finish(job_id)
    stage.finish(stage.fork(job_id, 2))


# --- children and tenants -------------------------------------------------------------------------


def a_parent_has_little_time(stage: Stage) -> None:
    """It asks for one child without a deadline, and for one with a later one."""
    job_id = stage.put_down(WORK, deadline_in_s=HOUR_S)
    children = (child(1), child(2, deadline_in_s=2 * HOUR_S))
    stage.park(stage.take(job_id), WaitKind.CHILDREN, children=children)
    for each in children:
        stage.finish(each.id)
    stage.tell_parents()
    stage.finish(job_id)


def a_parent_is_cancelled(stage: Stage) -> None:
    """It waits for two children when it is cancelled."""
    job_id = stage.put_down(WORK, outcome="cancelled")
    stage.park(stage.take(job_id), WaitKind.CHILDREN, children=(child(1), child(2)))
    stage.stepper.cancel(job_id)


def a_budget_is_spent(stage: Stage) -> None:
    """A step is lost and taken over with what was set aside for it; the next finds too little."""
    books = Bookkeeper(stage.doors, stage.stepper.tenant_id)
    job_id = stage.put_down(ASK_MODEL, outcome=("completed", "failed"))
    books.endow(job_id, tokens=30)
    books.endow(job_id, BudgetScope.TREE, steps=5)
    worker = stage.hire()
    books.reserve(stage.stepper.take(job_id, 1, worker), tokens=25)
    stage.lose(worker)
    held = stage.take(job_id)
    books.reserve(held, tokens=25)
    stage.commit(held, "asked", plan=(ASK_MODEL,))
    held = stage.take(job_id, 2)
    if books.reserve(held, tokens=25) is Reserved.RESERVED:
        stage.commit(held, "asked again", ends=True)
    else:
        stage.fail(held)


def a_parent_lends_to_two(stage: Stage) -> None:
    """Each of its children asks for all that it has; half of that does not pay for a call."""
    books = Bookkeeper(stage.doors, stage.stepper.tenant_id)
    job_id = stage.put_down(WORK)
    books.endow(job_id, tokens=30)
    children = [replace(child(n), steps=(ASK_MODEL,), budget={"tokens": "30"}) for n in (1, 2)]
    stage.park(stage.take(job_id), WaitKind.CHILDREN, children=tuple(children))
    for each in children:
        held = stage.take(each.id)
        if books.reserve(held, tokens=20) is Reserved.RESERVED:
            stage.commit(held, "asked", ends=True)
        else:
            stage.fail(held)
    stage.tell_parents()
    stage.finish(job_id)


def two_tenants_are_neighbours(stage: Stage) -> None:
    """Each has a job with a signal that nobody has read."""
    for tenant_id in stage.facts.tenants:
        job_id = stage.put_down(WORK, outcome="cancelled", tenant_id=tenant_id)
        with stage.doors.as_tenant(tenant_id) as tx:
            stage.send(job_id, "go", {"n": 1}, tx, tenant_id=tenant_id)
            jobs.request_cancel(tx, job_id)
