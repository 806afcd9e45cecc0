"""A worker without its process: the real engine on real servers, its rings answered by the test."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import dataclass, field
from threading import Event, Thread
from time import monotonic
from uuid import UUID

from redis import Redis

from broker.app import create_app
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
from store.rows import JobRow
from store.states import Work
from tests.processes import Viewer


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
        )
        self.heart = Heart(self.house, desk.doors.settings, slots=8)
        self.heart.start()
        self.redis = Redis.from_url(self.redis_url)

    def run(self, job_id: UUID, timeout_s: float = 30.0) -> JobRow:
        """Answer rings until the job has ended; the dispatch round walks along."""
        give_up_at = monotonic() + timeout_s
        while not (job := self.viewer.job(job_id)).status.is_ended:
            assert monotonic() < give_up_at, f"still {job.status}"
            if not self.answer_rings():
                self.dispatch()
                Event().wait(0.02)
        assert not self.raised, self.raised
        return job

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
        self.redis.close()
