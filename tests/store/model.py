"""A job on one page: what each move should answer and leave behind. Pure, so it can be copied."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from uuid import UUID

from store.states import WaitKind
from store.transitions import Claim, Parked, Start, Wait
from store.waits import Answered, Sent
from tests.stepping import QUESTION, Stepper, signal, timer

# What a step may be parked on. Whatever has a time comes due when the clock is moved.
WAITS = {
    "timer": timer(600),
    "question": QUESTION,
    "hurried question": replace(QUESTION, wake_in_s=600),
    "paid": signal("paid"),
    "hurried paid": signal("paid", wake_in_s=600),
    "shipped": signal("shipped"),
}

Told = tuple[object, ...]


@dataclass
class ModelWait:
    """What a wait should be; `born` counts the parks of the job."""

    wait: Wait
    born: int
    state: str = "pending"
    result: object = None
    is_consumed: bool = False
    is_due: bool = False

    @property
    def is_open(self) -> bool:
        return self.state == "pending"

    @property
    def asks_now(self) -> bool:
        return self.is_open and self.wait.kind is WaitKind.QUESTION

    @property
    def was_given(self) -> bool:
        return self.state in ("fired", "answered", "expired")


@dataclass
class ModelStep:
    """What a step should be. The last of its waits is what it waits for, or was woken by."""

    state: str = "ready"
    epoch: int = 0
    holder: UUID | None = None
    effect_epoch: int | None = None
    waits: list[ModelWait] = field(default_factory=list)

    def consume(self) -> None:
        for wait in self.waits:
            wait.is_consumed |= wait.was_given

    def wake(self, state: str, result: object = None) -> None:
        self.state = "ready"
        self.waits[-1].state, self.waits[-1].result = state, result


@dataclass
class ModelSignal:
    """What a signal should be: by which step and wait it was taken, if by any."""

    name: str
    payload: int
    taken_by: tuple[int, int] | None = None


@dataclass
class ModelJob:
    """What the job should be. Every move answers what the store should answer."""

    steps: list[ModelStep] = field(default_factory=list)
    signals: list[ModelSignal] = field(default_factory=list)
    ending: str | None = None
    is_cancelling: bool = False
    is_late: bool = False
    parks: int = 0

    # --- workers ----------------------------------------------------------------------------------

    def claim(self, seq: int, who: UUID) -> Told | None:
        step = self.steps[seq - 1]
        if step.state != "ready":
            return None
        if self.is_stopping:
            self.stop()
            return None
        step.state, step.holder = "running", who
        step.epoch += 1
        woken = [
            (n, wait.state, wait.result)
            for n, wait in enumerate(step.waits, start=1)
            if not wait.is_consumed
        ]
        assert len(woken) <= 1
        return (step.epoch, step.effect_epoch, *woken)

    def commit(self, held: Claim, count: int, *, is_joining: bool, is_inline: bool) -> Told | None:
        """The first of the steps that were planned, and how many; None when the claim is stale."""
        if not self._settle(held, "committed"):
            return None
        if self.ending:
            return (0,)
        if self.is_stopping:
            self.stop()
            return (0,)
        if is_joining and self.count("ready", "running", "waiting"):
            return (0,)
        for _ in range(count):
            born = ModelStep("running", 1, held.worker_id) if is_inline else ModelStep()
            self.steps.append(born)
        return (count, len(self.steps) - count + 1)

    def end(self, held: Claim, ending: str) -> bool:
        if not self._settle(held, "committed" if ending == "completed" else "failed"):
            return False
        if not self.ending:
            self.ending = ending
            self.stop()
        return True

    def release(self, held: Claim, *, is_failed_try: bool) -> bool:
        if not self.is_latest(held):
            return False
        step = self._free(held)
        if is_failed_try:
            step.effect_epoch = None
        if self.is_stopping:
            self.stop()
        return True

    def park(self, held: Claim, on: str) -> Parked | None:
        if not self.is_latest(held):
            return None
        step = self._free(held)
        if self.is_stopping:
            # It never came to the wait, so what it was woken by before stays as it is.
            self.stop()
            return Parked.STOPPED
        step.consume()
        step.state = "waiting"
        self.parks += 1
        step.waits.append(ModelWait(WAITS[on], self.parks))
        name = step.waits[-1].wait.name
        for told in self.signals:
            if told.taken_by is None and told.name == name:
                self._take(told, held.seq)
                return Parked.WOKEN
        return Parked.PARKED

    def start_effect(self, held: Claim) -> Start | None:
        if self.is_stopping:
            return Start.STOP
        if not self.is_latest(held):
            return None
        step = self.steps[held.seq - 1]
        step.effect_epoch = step.epoch
        step.consume()
        return Start.GO

    def lose(self, who: UUID) -> None:
        for step in self.steps:
            if step.state == "running" and step.holder == who:
                step.state, step.holder = "ready", None

    # --- people, other systems, and the clock -----------------------------------------------------

    def answer(self, seq: int, n: int, said: int) -> Answered:
        step = self.steps[seq - 1]
        if n > len(step.waits) or step.waits[n - 1].wait.kind is not WaitKind.QUESTION:
            return Answered.MISSING
        if not step.waits[n - 1].is_open:
            return Answered.CLOSED
        step.wake("answered", said)
        return Answered.ANSWERED

    def send(self, name: str, payload: int) -> Sent:
        if self.ending:
            return Sent.ENDED
        told = ModelSignal(name, payload)
        self.signals.append(told)
        waiting = [
            (step.waits[-1].born, seq)
            for seq, step in enumerate(self.steps, start=1)
            if step.state == "waiting" and step.waits[-1].wait.name == name
        ]
        if waiting:
            self._take(told, min(waiting)[1])
        return Sent.ACCEPTED

    def cancel(self) -> None:
        if not self.ending:
            self.is_cancelling = True
            self.stop()

    def come_due(self) -> None:
        for step in self.steps:
            if step.state == "waiting" and step.waits[-1].wait.wake_in_s:
                step.waits[-1].is_due = True

    def wake(self) -> int:
        due = [step for step in self.steps if step.state == "waiting" and step.waits[-1].is_due]
        for step in due:
            is_timer = step.waits[-1].wait.kind is WaitKind.TIMER
            step.wake("fired" if is_timer else "expired")
        return len(due)

    def stop_due(self) -> int:
        if self.ending or not self.is_stopping or self.count("running"):
            return 0
        self.stop()
        return 1

    # --- how it stands ----------------------------------------------------------------------------

    @property
    def is_stopping(self) -> bool:
        return self.ending is not None or self.is_cancelling or self.is_late

    def count(self, *states: str) -> int:
        return sum(step.state in states for step in self.steps)

    def is_latest(self, held: Claim) -> bool:
        step = self.steps[held.seq - 1]
        return step.state == "running" and step.epoch == held.epoch

    def stop(self) -> None:
        """What is not running is cancelled; with nothing running, that is the end."""
        for step in self.steps:
            if step.state == "waiting":
                step.waits[-1].state = "cancelled"
            if step.state in ("ready", "waiting"):
                step.state = "cancelled"
        if self.ending is None and not self.count("running"):
            self.ending = "cancelled" if self.is_cancelling else "expired"

    def as_told(self) -> Told:
        """All of it, to be compared with `look`."""
        return (
            self.ending,
            self.is_cancelling,
            [(step.state, step.epoch, step.effect_epoch) for step in self.steps],
            [
                (seq, n, wait.wait.name, wait.state, wait.result, wait.is_consumed)
                for seq, step in enumerate(self.steps, start=1)
                for n, wait in enumerate(step.waits, start=1)
            ],
            sorted((told.payload, *(told.taken_by or (None, None))) for told in self.signals),
        )

    def _settle(self, held: Claim, state: str) -> bool:
        if not self.is_latest(held):
            return False
        step = self.steps[held.seq - 1]
        step.state = state
        step.consume()
        return True

    def _free(self, held: Claim) -> ModelStep:
        step = self.steps[held.seq - 1]
        step.state, step.holder = "ready", None
        return step

    def _take(self, told: ModelSignal, seq: int) -> None:
        step = self.steps[seq - 1]
        told.taken_by = (seq, len(step.waits))
        step.wake("answered", told.payload)


def look(stepper: Stepper, job_id: UUID) -> Told:
    """The job as the database has it, in the words of the model."""
    job = stepper.job(job_id)
    return (
        job.status.value if job.status.is_ended else None,
        job.cancel_requested_at is not None,
        [(step.state.value, step.epoch, step.effect_epoch) for step in stepper.steps(job_id)],
        [
            (wait.seq, wait.n, wait.name, wait.state.value, wait.result, bool(wait.consumed_at))
            for wait in stepper.waits(job_id)
        ],
        sorted(stepper.signals(job_id)),
    )


def told_by(held: Claim | None) -> Told | None:
    """A claim in the words of the model."""
    if held is None:
        return None
    woken = held.woken
    brought = [] if woken is None else [(woken.n, woken.state.value, woken.result)]
    return (held.epoch, held.effect_epoch, *brought)
