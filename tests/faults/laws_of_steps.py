"""The laws of steps: how they are made, claimed and settled, and that none is left lying.

A law is a function with the name of its invariant. It is given one case and yields what it finds
broken, as the number of the step (or None for the job as a whole) and a sentence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tests.faults.cases import Case
from tests.faults.evidence import SETTLED, Step, as_json
from tests.faults.history import Change

Finding = tuple[int | None, str]

# How a step may change: from where (None: it is new) to where.
MOVES: dict[str | None, tuple[str, ...]] = {
    None: ("ready", "running", "waiting"),
    "ready": ("running", "cancelled"),
    "running": ("ready", "waiting", "committed", "failed"),
    "waiting": ("ready", "cancelled"),
}
UNSETTLED = ("ready", "running", "waiting")


# --- one_commit_per_step --------------------------------------------------------------------------


def one_commit_per_step(case: Case) -> Iterator[Finding]:
    """At most one commit per (job, seq); committed bytes never change.

    The history knows every change of a step, so a second commit is one even if it wrote the same
    bytes again, and so is a commit in a fork of what its source had committed before.
    """
    steps = case.changes_of("checkpoints")
    commits = Counter(change.seq for change in steps if change.enters("committed"))
    for seq, times in commits.items():
        if times > 1:
            yield seq, f"was committed {times} times"
    for change in steps:
        yield from _rewritings(change, is_there=case.job is not None)
    yield from _unseen_changes(case, steps)
    yield from _told_twice(case)
    yield from _shared_anew(case, steps)


def _rewritings(change: Change, *, is_there: bool) -> Iterator[Finding]:
    if change.old_state in SETTLED and not change.is_death:
        yield change.seq, f"was {change.old_state} already when it was made {change.new_state}"
    if change.is_rewritten:
        yield change.seq, "had what it was planned with written again"
    if change.is_death and is_there:
        yield change.seq, "was deleted while its job is there"


def _unseen_changes(case: Case, steps: list[Change]) -> Iterator[Finding]:
    """A step that is not as its last change left it was changed behind the history's back."""
    last = {change.seq: change for change in steps}
    for step in case.steps.values():
        seen = last.get(step.seq)
        now = (step.state, step.epoch, step.output_md5)
        if seen is None or (seen.new_state, seen.new_epoch, seen.new_output) != now:
            yield step.seq, "is not as the history says it was left"


def _told_twice(case: Case) -> Iterator[Finding]:
    accepted = Counter(told.seq for told in case.told if told.became == "committed")
    for seq, times in accepted.items():
        if times > 1:
            yield seq, f"was accepted from {times} callers"
    story = case.story
    if story is not None and story.completed != story.completed_steps:
        yield None, f"{story.completed} completions told of {story.completed_steps} steps"


def _shared_anew(case: Case, steps: list[Change]) -> Iterator[Finding]:
    born = {change.seq: change.new_state for change in steps if change.is_birth}
    for shared in case.book.shared.get(case.job_id, []):
        if born.get(shared.seq) != "committed":
            yield shared.seq, "was committed by the job it was forked from, and is to run again"
        elif shared.own_output_md5 != shared.output_md5:
            yield shared.seq, "differs from what the job it was forked from had committed"


# --- epochs_only_grow -----------------------------------------------------------------------------


def epochs_only_grow(case: Case) -> Iterator[Finding]:
    """No write is accepted with an older epoch.

    Only a claim adds to the epoch, one, and only to a ready step; whatever lets go of a step leaves
    the epoch of the claim it had. Whoever was told that its commit was accepted finds its own epoch
    and its own output in the row.
    """
    is_fork = case.job is not None and case.job.forked_from is not None
    given = set()
    for change in case.changes_of("checkpoints"):
        if change.is_death:
            continue
        yield from _bad_birth(change, is_fork) if change.is_birth else _bad_move(change)
        if change.new_state == "running":
            given.add((change.seq, change.new_epoch))
    yield from _refuted(case)
    yield from _bad_begins(case, given)


def _bad_birth(change: Change, is_fork: bool) -> Iterator[Finding]:
    if is_fork and change.new_state in ("committed", "ready"):
        return
    if change.new_state not in MOVES[None]:
        yield change.seq, f"was born {change.new_state}"
    elif change.new_epoch != int(change.new_state == "running"):
        yield change.seq, f"was born {change.new_state} under epoch {change.new_epoch}"


def _bad_move(change: Change) -> Iterator[Finding]:
    old, new = change.old_state, change.new_state
    is_claim = old == "ready" and new == "running"
    if change.new_epoch != (change.old_epoch or 0) + int(is_claim):
        yield (
            change.seq,
            (f"went from {old} to {new} and from epoch {change.old_epoch} to {change.new_epoch}"),
        )
    if old == new and change.old_worker != change.new_worker:
        yield change.seq, f"changed hands while it was {old}"
    if old != new and old not in SETTLED and new not in MOVES.get(old, ()):
        yield change.seq, f"went from {old} to {new}"
    has_begun = change.new_effect_epoch not in (None, change.old_effect_epoch)
    if has_begun and (new != "running" or change.new_effect_epoch != change.new_epoch):
        yield change.seq, f"began its effect while {new}, under epoch {change.new_effect_epoch}"


def _refuted(case: Case) -> Iterator[Finding]:
    """Callers whose write was accepted, as they were told, and is not what happened."""
    steps = case.changes_of("checkpoints")
    moves = [change for change in steps if change.leaves("running") and not change.is_loss]
    for told in case.told:
        under = [c.new_epoch for c in moves if (c.seq, c.new_state) == (told.seq, told.became)]
        if told.epoch not in under:
            epochs = ", ".join(str(epoch) for epoch in under) or "none"
            yield told.seq, f"became {told.became} for epoch {told.epoch}, but under {epochs}"
        step = case.steps.get(told.seq)
        if told.became == "committed" and step and step.output != as_json(told.output):
            yield told.seq, "holds another output than the one that was accepted"


def _bad_begins(case: Case, given: set[tuple[int | None, int | None]]) -> Iterator[Finding]:
    """What the workers noted: each claim began once, and was given by the database."""
    times = Counter((began.seq, began.epoch) for began in case.begins)
    for (seq, epoch), count in times.items():
        if count > 1:
            yield seq, f"began {count} times under epoch {epoch}"
        if (seq, epoch) not in given:
            yield seq, f"began under epoch {epoch}, which nobody was given"


# --- no_gap ---------------------------------------------------------------------------------------


def no_gap(case: Case) -> Iterator[Finding]:
    """Step n+1 exists only if n was committed, parallel siblings aside.

    Steps are numbered without a gap; one is made by the transaction that settles its parent (the
    first ones with their job); and what follows parallel calls is planned once, when all are in.
    """
    if case.job is None:
        return
    numbers = sorted(case.steps)
    if numbers != list(range(1, case.job.next_seq)):
        yield None, f"has the steps {numbers} where 1 to {case.job.next_seq - 1} should be"
    steps = case.changes_of("checkpoints")
    settled = {change.seq: change for change in steps if change.enters("committed", "failed")}
    births = [change for change in steps if change.is_birth]
    with_job = next((change for change in case.changes_of("jobs") if change.is_birth), None)
    for born in births:
        is_copied = case.job.forked_from is not None and _is_together(born, with_job)
        if is_copied:
            yield from _bad_copy(case, born)
        else:
            cause = with_job if born.parent_seq is None else settled.get(born.parent_seq)
            yield from _bad_cause(born, cause)
            yield from _bad_join(case, born, settled)
    yield from _second_joins(case, births)


def _is_together(change: Change, other: Change | None) -> bool:
    return other is not None and change.transaction == other.transaction


def _bad_copy(case: Case, born: Change) -> Iterator[Finding]:
    """A fork brings all its steps along at once."""
    parent = case.steps.get(born.parent_seq or 0)
    if born.parent_seq is not None and (parent is None or parent.state != "committed"):
        yield born.seq, f"was taken into a fork without its parent {born.parent_seq}"


def _bad_cause(born: Change, cause: Change | None) -> Iterator[Finding]:
    if cause is None or cause.number > born.number:
        yield born.seq, f"was planned before its parent {born.parent_seq} was settled"
    elif cause.transaction != born.transaction:
        yield born.seq, f"was planned apart from the commit of its parent {born.parent_seq}"


def _bad_join(case: Case, born: Change, settled: dict[int | None, Change]) -> Iterator[Finding]:
    for sibling in _joined_by(case, born):
        if sibling.seq not in settled or settled[sibling.seq].number > born.number:
            yield born.seq, f"follows parallel calls of which {sibling.seq} is not in"


def _second_joins(case: Case, births: list[Change]) -> Iterator[Finding]:
    joins: dict[int | None, int | None] = {}
    for born in births:
        joined = _joined_by(case, born)
        if joined and joins.setdefault(joined[0].parent_seq, born.parent_seq) != born.parent_seq:
            yield born.seq, f"follows the calls of {joined[0].parent_seq} a second time"


def _joined_by(case: Case, born: Change) -> list[Step]:
    """The parallel calls that a model step follows; none, for any other step."""
    step, parent = case.steps.get(born.seq or 0), case.steps.get(born.parent_seq or 0)
    if step is None or parent is None or (parent.kind, step.kind) != ("tool", "model"):
        return []
    return _siblings(case, parent)


def _siblings(case: Case, step: Step) -> list[Step]:
    return [each for each in case.steps.values() if each.parent_seq == step.parent_seq]


# --- no_orphan ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recovery:
    """A step that was taken from a lost worker, and when it was claimed again, if it was."""

    job: UUID
    seq: int
    worker_id: UUID | None
    last_beat_at: datetime | None
    freed_at: datetime
    claimed_at: datetime | None


def no_orphan(case: Case) -> Iterator[Finding]:
    """A step of a dead worker, or a ready step never delivered, is running again within seconds.

    Once the world has come to rest nothing is ready or running, and a job that has not ended is
    parked. How long a step lay between a worker's loss and its next claim has the bound that the
    terms give, if they give one: it is the platform's doing only when slots were free.
    """
    if case.terms.is_settled and case.job is not None and not case.job.is_ended:
        for step in case.steps_in("ready", "running"):
            yield step.seq, f"is {step.state} although everything has come to rest"
        if not case.steps_in(*UNSETTLED):
            yield None, "has not ended, and nothing of it is left to do"
    for recovery in list_recoveries(case):
        yield from _late(recovery, case.terms.recovery_s_max)


def list_recoveries(case: Case) -> list[Recovery]:
    steps = case.changes_of("checkpoints")
    found = []
    for at, lost in enumerate(steps):
        if not lost.is_loss:
            continue
        later = (change for change in steps[at + 1 :] if change.seq == lost.seq)
        claimed = next((change.at for change in later if change.enters("running")), None)
        found.append(
            Recovery(
                case.job_id,
                lost.seq or 0,
                lost.old_worker,
                lost.worker_beaten_at,
                lost.at,
                claimed,
            )
        )
    return found


def _late(recovery: Recovery, seconds_max: float | None) -> Iterator[Finding]:
    if seconds_max is None or recovery.claimed_at is None:
        return
    seconds = (recovery.claimed_at - recovery.freed_at).total_seconds()
    if seconds > seconds_max:
        yield recovery.seq, f"ran again {seconds:.1f} s after it was taken from its lost worker"


# --- slots_return ---------------------------------------------------------------------------------


def slots_return(case: Case) -> Iterator[Finding]:
    """What is counted as running is running; a parked job holds nothing.

    A step is taken away from a worker that is gone, and from no other; only a running step has a
    worker; a job counts its unsettled steps; and one that has ended, or asks a person, has none
    under way.
    """
    for change in case.changes_of("checkpoints"):
        yield from _robbed(change, case.terms.lease_s)
    if case.job is None:
        return
    for step in case.steps_in("ready", "waiting"):
        if step.worker_id is not None:
            yield step.seq, f"is {step.state} and still has the worker {step.worker_id}"
    if case.terms.is_settled:
        for step in case.steps_in("running"):
            if step.worker_state not in ("live", "draining"):
                yield step.seq, f"is still running on a worker that is {step.worker_state}"
    unsettled = case.steps_in(*UNSETTLED)
    if case.job.outstanding != len(unsettled):
        yield None, f"counts {case.job.outstanding} steps to do and has {len(unsettled)}"
    if case.job.is_ended:
        yield from _left_behind(case)
    if case.job.status == "input_required":
        for step in case.steps_in("ready", "running"):
            yield step.seq, f"is {step.state} although its job waits for a person"


def _left_behind(case: Case) -> Iterator[Finding]:
    """Steps that wait for their turn in a job that is over.

    One may, for a while: it ran when the job ended, and was then taken from its lost worker. The
    next ring finds that nobody wants it.
    """
    last = {change.seq: change for change in case.changes_of("checkpoints")}
    for step in case.steps_in("ready", "waiting"):
        seen = last.get(step.seq)
        if case.terms.is_settled or seen is None or not seen.is_loss:
            yield step.seq, f"is {step.state} although its job has ended"


def _robbed(change: Change, lease_s: float | None) -> Iterator[Finding]:
    if not change.is_loss:
        return
    if change.worker_state not in ("lost", "stopped"):
        yield change.seq, f"was taken from a worker that is {change.worker_state}"
    if change.worker_state == "lost" and lease_s is not None and change.worker_beaten_at:
        silent_s = (change.at - change.worker_beaten_at).total_seconds()
        if silent_s < lease_s:
            yield change.seq, f"was taken from a worker that was silent for {silent_s:.1f} s only"
