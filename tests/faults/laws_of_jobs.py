"""The laws of jobs: one ending, the right one; nothing admitted is lost; a child is less."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from tests.faults.cases import Case
from tests.faults.evidence import ENDINGS, Job, Kin, Story, as_json
from tests.faults.laws_of_steps import Finding

# --- one_ending -----------------------------------------------------------------------------------


def one_ending(case: Case) -> Iterator[Finding]:
    """Exactly one terminal status, nothing after it.

    A job enters an ending once, and keeps it with its output and error; its story has one ending,
    as its last word; a failed job, and no other, leaves a dead letter; what was to end has ended.
    """
    endings = [change for change in case.changes_of("jobs") if change.enters(*ENDINGS)]
    if len(endings) > 1:
        yield None, f"ended {len(endings)} times: {', '.join(str(e.new_state) for e in endings)}"
    for change in case.changes_of("jobs"):
        if change.old_state in ENDINGS and not change.is_death:
            yield None, f"was changed after it was {change.old_state}"
    if case.job is None:
        return
    yield from _bad_story(case.job, case.story)
    if (case.job.status == "failed") is not (case.letter is not None):
        yield None, f"is {case.job.status} {'with' if case.letter else 'without'} a dead letter"
    if case.terms.is_settled and not case.job.is_ended:
        if case.job.cancel_requested_at is not None:
            yield None, f"was to be cancelled, and is {case.job.status}"
        if case.job.is_late:
            yield None, f"is past its deadline, and {case.job.status}"


def _bad_story(job: Job, story: Story | None) -> Iterator[Finding]:
    if story is None:
        yield None, "has no story"
        return
    if not story.count == story.last == job.event_seq:
        yield None, f"counts {job.event_seq} events; there are {story.count} up to {story.last}"
    told = list(zip(story.ending_ids, story.ending_types, strict=True))
    wanted = [(story.last, f"job.{job.status}")] if job.is_ended else []
    if told != wanted:
        yield None, f"is {job.status}, and its story of {story.last} events ends with {told}"


# --- child_is_less --------------------------------------------------------------------------------


def child_is_less(case: Case) -> Iterator[Finding]:
    """A child's tools, budget and deadline are within its parent's.

    One line has one tenant and one root, each child is one deeper, was asked for by a step that
    waited for it, ends no later than its parent has to, and does not outlive it. It has every
    origin of its parent, which decides on its tools, the requester and the roles. What it was lent
    is looked at with the other totals (laws_of_budgets.py).
    """
    if case.job is None:
        return
    children = case.book.children.get(case.job_id, [])
    if case.job.children != len(children):
        yield None, f"counts {case.job.children} children and has {len(children)}"
    waited = {wait.seq for wait in case.waits.values() if wait.kind == "children"}
    for child in children:
        if child.parent_seq not in waited:
            yield child.parent_seq, f"has the child {child.job_id} and did not wait for it"
    if case.job.parent_job_id is not None:
        yield from _as_a_child(case, case.job.parent_job_id)


def _as_a_child(case: Case, parent_id: UUID) -> Iterator[Finding]:
    child, parent = case.book.kin.get(case.job_id), case.book.kin.get(parent_id)
    if child is None or parent is None:
        yield None, f"has no parent {parent_id}"
        return
    yield from _more_than(child, parent)
    if case.terms.is_settled and parent.is_ended and not child.is_ended:
        yield None, f"outlived its parent {parent_id}"


def _more_than(child: Kin, parent: Kin) -> Iterator[Finding]:
    if (child.tenant_id, child.root_id) != (parent.tenant_id, parent.root_id):
        yield None, f"is of another line than its parent {parent.job_id}"
    if child.depth != parent.depth + 1:
        yield None, f"is at depth {child.depth} under a parent at {parent.depth}"
    if parent.deadline_at is not None and (
        child.deadline_at is None or child.deadline_at > parent.deadline_at
    ):
        yield None, f"has until {child.deadline_at}, its parent until {parent.deadline_at}"
    if child.origins_above != parent.origins:
        yield None, f"came by {child.origins_above} below a parent that came by {parent.origins}"
    if child.asked_by != parent.asked_by:
        yield None, f"is of {child.asked_by}, its parent of {parent.asked_by}"


# --- budget_conserved -----------------------------------------------------------------------------


def budget_conserved(case: Case) -> Iterator[Finding]:
    """Reserved, spent and released add up; the cap is kept.

    What was spent is booked once, for a model step that came in; and a job counts the steps that
    came in while it lasted, as many as its story tells of. For caps, see `budgets_add_up`.
    """
    for seq in case.spent:
        step = case.steps.get(seq)
        if step is None or step.kind != "model" or step.state not in ("committed", "failed"):
            yield seq, "has something booked, and is no model step that came in"
    if case.job is None or case.story is None:
        return
    came_in = [c for c in case.changes_of("checkpoints") if c.enters("committed", "failed")]
    copied = {change.seq for change in came_in if change.is_birth}
    if case.terms.is_metered:
        for step in case.steps_in("committed"):
            if step.kind == "model" and step.seq not in case.spent | copied:
                yield step.seq, "has nothing booked, and a model was asked"
    told = len(copied) + case.story.completed + case.story.failed
    if not case.job.steps_done == told <= len(came_in):
        yield None, f"counts {case.job.steps_done} steps done of {len(came_in)}, and told of {told}"
    if not case.job.is_ended and told < len(came_in):
        yield None, f"told of {told} steps, and {len(came_in)} came in"


# --- redis_is_a_hint ------------------------------------------------------------------------------


def redis_is_a_hint(case: Case) -> Iterator[Finding]:
    """Losing everything in Redis changes no job's outcome; nor does any other fault.

    Whoever submitted the job knows how it has to end, and with what.
    """
    asked, job = case.asked, case.job
    if asked is None or job is None or not job.is_ended:
        return
    if job.status not in asked.outcomes:
        yield None, f"is {job.status} where {' or '.join(asked.outcomes)} was right"
    is_told = asked.expected is not ...
    if job.status == "completed" and is_told and job.output != as_json(asked.expected):
        yield None, f"came to {job.output!r} instead of {asked.expected!r}"


# --- admitted_is_kept -----------------------------------------------------------------------------


def admitted_is_kept(case: Case) -> Iterator[Finding]:
    """An admitted job is never shed; a refused one leaves nothing.

    What was acknowledged is there, under its tenant, as it was admitted; it was made once, and in
    the end it is over or waits for a person.
    """
    changes = case.changes_of("jobs")
    births = sum(change.is_birth for change in changes)
    if any(change.is_rewritten for change in changes):
        yield None, "had what it was admitted with written again"
    if case.job is None:
        if case.asked is not None or births:
            yield None, "was admitted, and is gone"
        return
    if births != 1:
        yield None, f"was made {births} times"
    if case.asked is not None and case.asked.tenant_id != case.job.tenant_id:
        yield None, f"belongs to {case.job.tenant_id}, and {case.asked.tenant_id} asked for it"
    if is_lost(case):
        yield None, f"is {case.job.status}, has not ended, and waits for nobody"


def is_lost(case: Case) -> bool:
    """Whether a job is gone, or has come to rest without an ending or a question to a person."""
    if case.job is None:
        return case.asked is not None
    return case.terms.is_settled and not (case.job.is_ended or case.job.is_asking)
