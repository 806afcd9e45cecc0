"""A worker without its process: the real engine on real servers, its rings answered by the test."""

from __future__ import annotations

import json
import random
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Event, Thread
from time import monotonic
from typing import Any, TypeVar
from uuid import UUID

from redis import Redis
from sqlalchemy import text

from broker.app import create_app
from broker.gates import Gates
from broker.lanes import lanes_of
from broker.publish import Bell
from jobs.agent.model import Models
from jobs.agent.registry import Registry
from jobs.lifecycle.attempt import attempt
from jobs.lifecycle.heart import Heart, new_incarnation
from jobs.lifecycle.house import House
from jobs.lifecycle.loop import Loop
from jobs.lifecycle.pace import Pace
from jobs.settings import Settings
from scheduler.dispatch import dispatch
from scheduler.reconcile import stop_due
from scheduler.waking import wake
from store import approvals
from store.letters import Replayed
from store.rows import CheckpointRow, JobRow, WaitRow
from store.states import QUESTIONS, StepKind, WaitState, Work
from store.transitions import Start
from store.waits import Answered
from tests.processes import Viewer
from tests.running import eventually
from tests.stepping import Stepper

T = TypeVar("T")


@dataclass
class Household:
    """A house with a beating heart, whose rings are taken from Redis and answered by threads."""

    viewer: Viewer
    redis_url: str
    settings: Settings
    work: Work = Work.WAITS
    answered: list[tuple[UUID, int]] = field(default_factory=list)
    raised: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        desk = self.viewer.desk
        self.house = House(
            settings=self.settings,
            work=self.work,
            worker_id=new_incarnation(),
            doors=desk.doors,
            bell=Bell(create_app(desk.gauge._settings)),
            registry=Registry.load(self.settings.agents),
            models=Models(self.settings),
            loop=Loop(),
            pace=Pace(self.settings.quantum_ms),
            gates=Gates(desk.gauge._settings),
        )
        # The machine of the tests has its moods; what they do is tried out on purpose.
        vars(self.house.loop)["late_s"] = lambda: 0.0
        self.heart = Heart(self.house, desk.doors.settings, slots=8)
        self.heart.start()
        self.redis = Redis.from_url(self.redis_url)

    def run(self, job_id: UUID, timeout_s: float = 30.0) -> JobRow:
        """Answer rings until the job has ended; the scheduler's rounds walk along."""
        self.run_until(lambda: self.viewer.job(job_id).status.is_ended, timeout_s)
        return self.viewer.job(job_id)

    def run_until(self, condition: Callable[[], T], timeout_s: float = 30.0) -> T:
        """Answer rings until the condition is truthy, and return it."""
        give_up_at = monotonic() + timeout_s
        while not (found := condition()):
            assert monotonic() < give_up_at, f"not within {timeout_s} s; last seen: {found!r}"
            if not self.answer_rings():
                self.walk_rounds()
                Event().wait(0.02)
        if self.raised:
            raise ExceptionGroup("attempts that raised", self.raised)
        return found

    def run_until_parked(self, job_id: UUID, count: int = 1) -> list[WaitRow]:
        """Answer rings until so many steps of the job wait, and nothing runs; their waits."""

        def are_parked() -> list[WaitRow]:
            parked = pending(self.viewer, job_id)
            is_quiet = not self.house.watch.is_busy
            return parked if len(parked) == count and is_quiet else []

        return self.run_until(are_parked)

    def run_step(self, job_id: UUID, seq: int = 1) -> None:
        """Answer one ring for the step, and wait until it is answered."""
        attempt(self.viewer.tenant_id, job_id, seq, self.house)

    def walk_rounds(self) -> None:
        """What a scheduler does time and again, but for recovering from lost workers."""
        doors = self.viewer.desk.doors
        wake(doors)
        stop_due(doors)
        self.dispatch()

    def answer(self, tenant_id: UUID, job_id: UUID, seq: int) -> Thread:
        """Answer one ring, in a thread that nothing waits for: some of them hang on purpose."""

        def run() -> None:
            try:
                attempt(tenant_id, job_id, seq, self.house)
            except Exception as error:  # noqa: BLE001 - shown by whoever runs the job
                self.raised.append(error)

        thread = Thread(target=run, daemon=True)
        thread.start()
        return thread

    def answer_rings(self) -> int:
        """Take what lies on the lanes now, a thread a message; returns how many there were."""
        count = 0
        for lane in lanes_of(self.work):
            while (raw := self.redis.rpop(lane)) is not None:
                assert isinstance(raw, bytes)
                tenant, job, seq = json.loads(b64decode(json.loads(raw)["body"]))[0]
                self.answered.append((UUID(job), seq))
                self.answer(UUID(tenant), UUID(job), seq)
                count += 1
        return count

    def dispatch(self) -> int:
        desk = self.viewer.desk
        return dispatch(desk.doors, desk.bell, desk.gauge, depth_max=400, again_s=60.0)

    def answered_of(self, job_id: UUID) -> list[int]:
        """The steps of the job that were rung for, sorted."""
        return sorted(seq for job, seq in self.answered if job == job_id)

    def close(self) -> None:
        self.heart.stop()
        self.house.loop.close()
        self.house.bell.close()
        self.house.gates.close()
        self.redis.close()


class Impatient(random.Random):
    """Draws no wait at all."""

    def uniform(self, a: float, b: float) -> float:
        return a


# --- what people do about jobs --------------------------------------------------------------------


def hand_of(viewer: Viewer) -> Stepper:
    """The same tenant's jobs, moved by hand."""
    return Stepper(viewer.desk.doors, viewer.tenant_id)


def pending(viewer: Viewer, job_id: UUID) -> list[WaitRow]:
    return [wait for wait in hand_of(viewer).waits(job_id) if wait.state is WaitState.PENDING]


def answer(viewer: Viewer, job_id: UUID, said: Any) -> WaitRow:
    """Answer the one question that the job asks at this moment; returns the question."""
    (asked,) = [wait for wait in pending(viewer, job_id) if wait.kind in QUESTIONS]
    found = hand_of(viewer).answer(job_id, said, seq=asked.seq, n=asked.n)
    assert found is Answered.ANSWERED
    return asked


def decide(viewer: Viewer, job_id: UUID, decision: str, **more: Any) -> WaitRow:
    """Answer the one reconcile or review question that the job asks at this moment."""
    return answer(viewer, job_id, {"decision": decision} | more)


def replay(viewer: Viewer, job_id: UUID) -> UUID:
    """Make a new job of the job's dead letter."""
    made, new_id = hand_of(viewer).replay(job_id)
    assert made is Replayed.MADE
    return new_id


def tool_steps(viewer: Viewer, job_id: UUID) -> list[CheckpointRow]:
    return [step for step in viewer.steps(job_id) if step.kind is StepKind.TOOL]


def lose_worker(viewer: Viewer, job_id: UUID, seq: int, *, begun: bool = False) -> None:
    """A worker claims the step, begins its effect or not, and is never heard of again."""
    hand = hand_of(viewer)
    worker_id = hand.start_worker()
    held = eventually(lambda: hand.claim(job_id, seq, worker_id))
    if begun:
        with viewer.desk.doors.as_tenant(viewer.tenant_id) as tx:
            held = replace(held, granted=approvals.find_granted(tx, job_id, seq))
        assert hand.start_effect(held) is Start.GO
    hand.lose(worker_id)


def forge(viewer: Viewer, job_id: UUID, seq: int, **columns: Any) -> None:
    """Write into the row of a planned step, as nobody of the engine would."""
    given = {k: json.dumps(v) if isinstance(v, dict) else v for k, v in columns.items()}
    change = ", ".join(f"{name} = :{name}" for name in given)
    with viewer.desk.doors.as_operator("a forger") as tx:
        done = tx.execute(
            text(
                f"update stepwell.checkpoints set {change} "
                "where job_id = :job and seq = :seq and state = 'ready'"
            ),
            {**given, "job": job_id, "seq": seq},
        )
        assert done.rowcount == 1
