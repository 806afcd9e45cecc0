"""The laws of waiting: no signal is slept through, an answer is used once, a timer fires once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.faults.cases import Case
from tests.faults.evidence import QUESTIONS, Kin, Signal, Wait, as_json
from tests.faults.facts import Answered, Sent
from tests.faults.history import Change
from tests.faults.laws_of_steps import Finding

GIVEN = ("fired", "answered", "expired")


# --- no_lost_wake ---------------------------------------------------------------------------------


def no_lost_wake(case: Case) -> Iterator[Finding]:
    """An accepted answer or signal is consumed once, also when it raced the wait.

    What was accepted is there. A signal goes to one wait of its name, and its payload is what the
    step comes to. No step of a living job waits for what is there already, or for nothing; and each
    wait that came to its end woke its step once.
    """
    for sent in case.sent:
        yield from _vanished(case, sent)
    for change in case.changes_of("signals"):
        yield from _read_again(change)
    for signal in case.signals.values():
        yield from _bad_handing(case, signal)
    for change in _changes_of_kind(case, "signal", "children"):
        yield from _used_again(change)
    yield from _wrong_results(case)
    yield from _uneven_wakes(case)
    if case.job is not None and not case.job.is_ended:
        yield from _sleepers(case)


def _vanished(case: Case, sent: Sent) -> Iterator[Finding]:
    names = (sent.signal_id, str(sent.signal_id))
    found = [each for each in case.signals.values() if each.id in names or each.key in names]
    if len(found) != 1:
        yield None, f"has {len(found)} signals for the one accepted as {sent.signal_id}"
    elif (found[0].name, found[0].payload) != (sent.name, as_json(sent.payload)):
        yield None, f"has the signal {sent.signal_id} otherwise than it was sent"


def _read_again(change: Change) -> Iterator[Finding]:
    if change.old_consumed is not None and not change.is_death:
        yield change.seq, f"took the signal {change.id}, which had been taken"
    if change.is_rewritten:
        yield None, f"has the signal {change.id} written again"


def _bad_handing(case: Case, signal: Signal) -> Iterator[Finding]:
    """A signal that was taken, by a wait that did not ask for it or did not get it."""
    if signal.consumed_seq is None or signal.consumed_n is None:
        return
    wait = case.waits.get((signal.consumed_seq, signal.consumed_n))
    if wait is None or (wait.kind, wait.name) != ("signal", signal.name):
        yield signal.consumed_seq, f"took a signal {signal.name!r} that it did not wait for"
    elif wait.state != "answered" or wait.result != signal.payload:
        yield signal.consumed_seq, f"took the signal {signal.name!r} and was not given it"


def _wrong_results(case: Case) -> Iterator[Finding]:
    for wait in case.waits_in("answered"):
        step = case.steps.get(wait.seq)
        is_signal = wait.kind == "signal"
        if is_signal and not any(_is_for(signal, wait) for signal in case.signals.values()):
            yield wait.seq, f"was woken by a signal {wait.name!r} that nobody sent"
        if step is None or step.state != "committed" or wait.consumed_epoch != step.epoch:
            continue
        if is_signal and wait.n == step.waits and not contains(step.output, wait.result):
            yield wait.seq, f"came to something else than the signal {wait.name!r} it was given"


def _is_for(signal: Signal, wait: Wait) -> bool:
    return (signal.consumed_seq, signal.consumed_n) == (wait.seq, wait.n)


def _uneven_wakes(case: Case) -> Iterator[Finding]:
    moves = (c for c in case.changes_of("checkpoints") if (c.old_state, c.new_state) == WAKE)
    woken: Counter[int | None] = Counter(change.seq for change in moves)
    given: Counter[int | None] = Counter(wait.seq for wait in case.waits_in(*GIVEN))
    for seq in woken.keys() | given.keys():
        if woken[seq] != given[seq]:
            yield seq, f"was woken {woken[seq]} times by {given[seq]} waits"


WAKE = ("waiting", "ready")


def _sleepers(case: Case) -> Iterator[Finding]:
    for step in case.steps_in("waiting"):
        wait = case.waits.get((step.seq, step.waits))
        if wait is None or wait.state != "pending":
            yield step.seq, "waits for nothing that could still come"
    for wait in case.waits_in("pending"):
        asleep = case.steps.get(wait.seq)
        if asleep is None or (asleep.state, asleep.waits) != ("waiting", wait.n):
            yield wait.seq, f"is not waiting, and its {wait.kind} is pending"
        yield from _deaf(case, wait)


def _deaf(case: Case, wait: Wait) -> Iterator[Finding]:
    """A wait for what is there already."""
    unread = (signal for signal in case.signals.values() if signal.consumed_seq is None)
    if wait.kind == "signal" and any(signal.name == wait.name for signal in unread):
        yield wait.seq, f"waits for a signal {wait.name!r} that lies unread"
    if not case.terms.is_settled:
        return
    if wait.kind == "children" and all(child.is_ended for child in _children(case, wait)):
        yield wait.seq, "waits for children that are over"
    if wait.kind != "timer" and wait.is_overdue:
        yield wait.seq, f"waits for a {wait.kind} that has expired"


def _children(case: Case, wait: Wait) -> list[Kin]:
    children = case.book.children.get(case.job_id, [])
    return [child for child in children if child.parent_seq == wait.seq]


# --- approval_binds -------------------------------------------------------------------------------


def approval_binds(case: Case) -> Iterator[Finding]:
    """An approval is consumed at most once, by exactly the arguments it showed.

    Of a question to a person: it is answered once, what was shown and what was answered never
    change, and the answer is used once, by the claim that holds the step. An effect has the
    arguments that were planned, and those that a question about it had shown.

    Of a call that needs a yes: what was shown never changes, it is decided once, by as many people
    as it takes, and consumed once, by the claim that begins the call. Nothing is done without, nor
    with other arguments than the last question about it has shown.
    """
    for change in _changes_of_kind(case, *QUESTIONS, "approval"):
        yield from _used_again(change)
    for change in case.changes_of("approvals"):
        yield from _decided_again(change)
    yield from _unapproved(case)
    yield from _used_by_others(case)
    times = Counter((answered.seq, answered.n) for answered in case.answered)
    for (seq, n), count in times.items():
        if count > 1:
            yield seq, f"had its question {n} answered {count} times"
    for answered in case.answered:
        yield from _misheard(case, answered)
    yield from _other_arguments(case)


CONSUMED = ("waits", "approvals")


def _decided_again(change: Change) -> Iterator[Finding]:
    """A question about a call that was written again, decided twice, or consumed twice."""
    if change.is_birth or change.is_death:
        return
    if change.is_rewritten:
        yield change.seq, f"had its approval {change.n} written again"
    if change.old_state != "pending" and change.old_state != change.new_state:
        yield change.seq, f"had its approval {change.n} {change.new_state} when it was over"
    if change.old_consumed is not None and (change.old_consumed, change.old_epoch) != (
        change.new_consumed,
        change.new_epoch,
    ):
        yield change.seq, f"consumed its approval {change.n} twice"


def _unapproved(case: Case) -> Iterator[Finding]:
    last = {seq: case.approvals[seq, n] for seq, n in sorted(case.approvals)}
    for asked in case.approvals.values():
        is_given = asked.state == "granted" and asked.ending == "decided"
        if is_given and asked.yes < asked.quorum:
            yield asked.seq, f"was approved by {asked.yes} of {asked.quorum}"
        if asked.is_consumed and asked != last[asked.seq]:
            yield asked.seq, f"consumed its approval {asked.n}, and was asked about anew"
    for effect in case.effects:
        if effect.args is None:
            continue
        given = last.get(effect.seq)
        if given is None or not given.is_consumed:
            yield effect.seq, f"ran {effect.tool} without a yes"
        elif given.args != effect.args:
            yield effect.seq, f"ran {effect.tool} with other arguments than were approved"


def _misheard(case: Case, answered: Answered) -> Iterator[Finding]:
    wait = case.waits.get((answered.seq, answered.n))
    if wait is None or wait.state != "answered":
        yield answered.seq, f"had its question {answered.n} answered, and does not know"
    elif not contains(wait.result, as_json(answered.answer)):
        yield answered.seq, f"has another answer to its question {answered.n} than was given"


def _used_by_others(case: Case) -> Iterator[Finding]:
    """An answer that was used otherwise than by a move of its step, under the step's epoch."""
    epochs: dict[int | None, int | None] = {}
    moves: set[tuple[int | None, int]] = set()
    for change in case.changes:
        if change.relation == "checkpoints":
            epochs[change.seq] = change.new_epoch
            moves.add((change.seq, change.transaction))
        elif change.relation in CONSUMED and change.new_consumed != change.old_consumed:
            is_its_own = change.new_epoch == epochs.get(change.seq)
            if not is_its_own or (change.seq, change.transaction) not in moves:
                yield change.seq, f"had its answer used under epoch {change.new_epoch}"


def _other_arguments(case: Case) -> Iterator[Finding]:
    for effect in case.effects:
        if not isinstance(effect.what, dict) or "args" not in effect.what:
            continue
        args, step = effect.what["args"], case.steps.get(effect.seq)
        if step is not None and step.args is not None and step.args != args:
            yield effect.seq, f"ran {effect.tool} with other arguments than were planned"
        for wait in case.waits.values():
            shown = wait.prompt.get("args") if isinstance(wait.prompt, dict) else None
            if wait.seq == effect.seq and shown is not None and shown != args:
                yield effect.seq, f"ran {effect.tool} with other arguments than were shown"


# --- tick_fires_once ------------------------------------------------------------------------------


def tick_fires_once(case: Case) -> Iterator[Finding]:
    """A tick of a schedule makes at most one job.

    That is seen across jobs (laws_of_the_world). Of timers: each fires once, not before its time.
    """
    for change in _changes_of_kind(case, "timer"):
        yield from _used_again(change)
        wait = case.waits.get((change.seq or 0, change.n or 0))
        if change.enters("fired") and wait and wait.wake_at and change.at < wait.wake_at:
            early_s = (wait.wake_at - change.at).total_seconds()
            yield change.seq, f"was woken by its timer {early_s:.1f} s too early"
    if case.terms.is_settled and case.job is not None and not case.job.is_ended:
        for wait in case.waits_in("pending"):
            if wait.kind == "timer" and wait.is_overdue:
                yield wait.seq, "was never woken by its timer"


# --- all waits ------------------------------------------------------------------------------------


def _changes_of_kind(case: Case, *kinds: str) -> Iterator[Change]:
    for change in case.changes_of("waits"):
        wait = case.waits.get((change.seq or 0, change.n or 0))
        if wait is not None and wait.kind in kinds:
            yield change


def _used_again(change: Change) -> Iterator[Finding]:
    """A wait that came to its end twice, or whose result was used twice."""
    if change.is_birth or change.is_death:
        return
    if change.is_rewritten:
        yield change.seq, f"had its wait {change.n} written again"
    old = (change.old_state, change.old_output, change.old_closed)
    if change.old_state != "pending" and old != (
        change.new_state,
        change.new_output,
        change.new_closed,
    ):
        yield change.seq, f"had its wait {change.n} {change.new_state} when it was over"
    if change.old_consumed is not None and (change.old_consumed, change.old_epoch) != (
        change.new_consumed,
        change.new_epoch,
    ):
        yield change.seq, f"used the result of its wait {change.n} twice"


def contains(told: Any, wanted: Any) -> bool:
    """Whether a JSON value is this one, or has it somewhere inside."""
    if told == wanted:
        return True
    inside = told.values() if isinstance(told, dict) else told if isinstance(told, list) else ()
    return any(contains(each, wanted) for each in inside)
