"""Intake: what is refused leaves nothing behind, what is accepted is there whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import text

from broker.settings import BrokerSettings
from jobs.errors import (
    IdempotencyMismatch,
    InvalidInput,
    Refused,
    UnknownAgent,
    UnknownModel,
    UnknownTenant,
)
from jobs.lifecycle.desk import Desk
from jobs.lifecycle.intake import INPUT_BYTES_MAX, Submission, submit
from jobs.settings import Settings
from store.states import JobClass, JobStatus, Origin, StepState
from tests.conftest import Database
from tests.processes import PROGRAMS, Viewer
from tests.programs import as_input
from tests.running import at_once

TABLES = ("jobs", "checkpoints", "events", "usage", "artifacts")


def count_rows(viewer: Viewer) -> int:
    with viewer.desk.doors.as_operator("test") as tx:
        return sum(
            int(tx.execute(text(f"select count(*) from stepwell.{table}")).scalar_one())
            for table in TABLES
        )


def waiting(redis_url: str) -> int:
    with Redis.from_url(redis_url) as client:
        return len(client.keys("stepwell.*"))


REFUSALS: dict[str, tuple[Submission, type[Refused], str]] = {
    "unknown agent": (Submission("scriptd", {}), UnknownAgent, "Did you mean 'scripted'"),
    "unknown provider": (
        Submission("scripted", {}, model="acme:gpt"),
        UnknownModel,
        "No provider is named 'acme'",
    ),
    "no provider": (Submission("scripted", {}, model="gpt-5"), UnknownModel, "provider:model"),
    "no offline model": (Submission("typed", {"ask": "?"}, model="offline"), UnknownModel, "typed"),
    "a pipeline's model": (
        Submission("walk", {}, model="openai:gpt-5-mini"),
        UnknownModel,
        "pipeline",
    ),
    "a missing field": (Submission("typed", {}), InvalidInput, "ask: Field required"),
    "a wrong type": (Submission("scripted", {"turns": "x"}), InvalidInput, "turns"),
    "an unknown field": (Submission("typed", {"ask": "?", "x": 1}), InvalidInput, "x: Extra"),
    "too large": (
        Submission("scripted", {"answer": "x" * INPUT_BYTES_MAX}),
        InvalidInput,
        "Upload large data",
    ),
    "a nul": (Submission("scripted", {"answer": "a\x00b"}), InvalidInput, "NUL"),
    "half a character": (Submission("count", {"x": "\ud800"}), InvalidInput, "input"),
    "no end of nesting": (Submission("count", {"x": None}), InvalidInput, "input"),
    "an empty key": (Submission("count", {}, idempotency_key=""), InvalidInput, "1 to 255"),
    "a long key": (Submission("count", {}, idempotency_key="k" * 256), InvalidInput, "1 to 255"),
    "a key of a tick": (
        Submission("count", {}, idempotency_key="schedule:x"),
        InvalidInput,
        "those of schedules",
    ),
    "a key with a nul": (Submission("count", {}, idempotency_key="a\x00"), InvalidInput, "key"),
}


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"x": value}
    return value


@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_refused_leaves_nothing_behind(viewer: Viewer, redis_url: str, case: str) -> None:
    submission, refusal, says = REFUSALS[case]
    if case == "no end of nesting":
        submission = Submission("count", nested(100_000))
    with pytest.raises(refusal) as refused:
        submit(viewer.desk, viewer.tenant_id, submission)
    assert says in str(refused.value)
    assert len(str(refused.value)) < 2_000
    assert count_rows(viewer) == 0
    assert waiting(redis_url) == 0


def test_a_job_is_there_with_its_first_step_and_is_rung_for(viewer: Viewer, redis_url: str) -> None:
    job_id = viewer.submit("scripted", as_input(), job_class=JobClass.BATCH)
    job, (step,) = viewer.job(job_id), viewer.steps(job_id)
    assert (job.status, job.agent, job.outstanding) == (JobStatus.QUEUED, "scripted", 1)
    assert (step.name, step.state) == ("model.scripted", StepState.READY)
    assert step.rung_at is not None
    assert [event.type for event in viewer.events(job_id)] == ["job.queued"]
    with Redis.from_url(redis_url) as client:
        assert client.llen("stepwell.batch.waits") == 1


def test_text_that_only_looks_like_a_nul_is_taken(viewer: Viewer) -> None:
    job_id = viewer.submit("count", {"path": "C:\\u0000"})
    assert viewer.job(job_id).input == {"path": "C:\\u0000"}


def test_defaults_are_written_out_so_that_later_defaults_change_nothing(viewer: Viewer) -> None:
    assert viewer.job(viewer.submit("scripted", {})).input["answer"] == "done"


def test_the_same_key_and_request_is_the_same_job(viewer: Viewer, redis_url: str) -> None:
    first = submit(viewer.desk, viewer.tenant_id, Submission("walk", {}, idempotency_key="k"))
    again = submit(viewer.desk, viewer.tenant_id, Submission("walk", {}, idempotency_key="k"))
    assert (first.created, again.created) == (True, False)
    assert again.job.id == first.job.id
    with Redis.from_url(redis_url) as client:
        assert client.llen("stepwell.default.waits") == 1


def test_the_same_key_with_another_request_is_refused_and_names_the_job(viewer: Viewer) -> None:
    job_id = viewer.submit("walk", {}, idempotency_key="k")
    for other in (
        Submission("count", {}, idempotency_key="k"),
        Submission("walk", {"raises": "x"}, idempotency_key="k"),
        Submission("walk", {}, idempotency_key="k", job_class=JobClass.BATCH),
    ):
        with pytest.raises(IdempotencyMismatch, match=str(job_id)):
            submit(viewer.desk, viewer.tenant_id, other)
    assert count_rows(viewer) == 3


def test_one_key_from_many_threads_makes_one_job(viewer: Viewer) -> None:
    submission = Submission("walk", {}, idempotency_key="k")
    made = at_once([lambda: submit(viewer.desk, viewer.tenant_id, submission)] * 8)
    assert sum(each.created for each in made) == 1
    assert len({each.job.id for each in made}) == 1
    assert count_rows(viewer) == 3


def test_a_full_lane_takes_the_job_in_and_leaves_the_ring_to_dispatch(
    database: Database, broker_settings: BrokerSettings, redis_url: str
) -> None:
    narrow = broker_settings.model_copy(update={"lane_depth_max": 1})
    desk = Desk.open(Settings(agents=PROGRAMS), database.settings, narrow)
    viewer = Viewer(desk)
    viewer.submit("walk", {})
    desk.gauge._measured_at = float("-inf")
    waits = viewer.submit("walk", {})
    assert viewer.steps(waits)[0].rung_at is None
    with Redis.from_url(redis_url) as client:
        assert client.llen("stepwell.default.waits") == 1
    desk.close()


@pytest.mark.parametrize(
    "other", [{"requester": "eve"}, {"origin": Origin.CHAT}, {"roles": ()}, {"roles": ("admin",)}]
)
def test_a_key_is_that_of_one_caller(viewer: Viewer, other: dict[str, Any]) -> None:
    asked = Submission(
        "walk", {}, idempotency_key="k", requester="ann", roles=("finance", "support")
    )
    first = submit(viewer.desk, viewer.tenant_id, asked)
    same = submit(viewer.desk, viewer.tenant_id, replace(asked, roles=("support", "finance")))
    assert (same.job.id, same.created) == (first.job.id, False)
    with pytest.raises(IdempotencyMismatch, match=str(first.job.id)):
        submit(viewer.desk, viewer.tenant_id, replace(asked, **other))


def test_without_redis_a_job_is_taken_in_and_waits(database: Database) -> None:
    nowhere = BrokerSettings(redis_url=SecretStr("redis://127.0.0.1:1/0"), redis_timeout_s=0.5)
    desk = Desk.open(Settings(agents=PROGRAMS), database.settings, nowhere)
    viewer = Viewer(desk)
    job_id = viewer.submit("walk", {})
    assert viewer.job(job_id).status is JobStatus.QUEUED
    assert viewer.steps(job_id)[0].rung_at is None
    desk.close()


def test_a_job_for_a_tenant_that_does_not_exist_leaves_nothing(viewer: Viewer) -> None:
    nobody: UUID = uuid4()
    with pytest.raises(UnknownTenant, match=str(nobody)):
        submit(viewer.desk, nobody, Submission("walk", {}))
    assert count_rows(viewer) == 0
