"""Stock Flower over a real worker: telling names, ids only, and nothing a tenant wrote anywhere."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import UUID

import httpx
import pytest
from redis import Redis
from redis.exceptions import RedisError

from store.hosting.loopback import ADDRESS, free_port
from store.states import JobStatus
from tests.conftest import Database
from tests.processes import Crew, Member, Viewer
from tests.programs import as_input
from tests.running import eventually

SECRET = "the-patient-is-called-Ottoline"
ANOTHER = "Ottolines-account-is-empty"


@pytest.fixture
def crew(tmp_path: Path, database: Database, redis_url: str) -> Iterator[Crew]:
    made = Crew(tmp_path, database, redis_url)
    yield made
    made.end()


@pytest.fixture
def viewer(crew: Crew) -> Iterator[Viewer]:
    desk = crew.open_desk()
    yield Viewer(desk)
    desk.close()


@contextmanager
def everything_sent(redis_url: str) -> Iterator[list[str]]:
    """Every command that Redis is sent meanwhile, message bodies decoded."""
    seen: list[str] = []
    client = Redis.from_url(redis_url)

    def listen() -> None:
        try:
            with client.monitor() as monitor:
                seen.extend(f"{command['command']}" for command in monitor.listen())
        except (RedisError, OSError, ValueError, AttributeError):
            return  # the connection was closed, which is how this ends

    thread = Thread(target=listen, daemon=True)
    thread.start()
    with Redis.from_url(redis_url) as probe:
        eventually(lambda: probe.ping() and any("PING" in command for command in seen))
        yield seen
        probe.echo("that is all")
        eventually(lambda: any("that is all" in command for command in seen))
    client.close()


def decoded(commands: list[str]) -> str:
    text = "\n".join(commands)
    bodies = re.findall(r'body\\?": \\?"([A-Za-z0-9+/=]+)', text)
    assert bodies, "no message was seen at all"
    return text + "\n".join(base64.b64decode(body).decode() for body in bodies)


def start_flower(crew: Crew) -> tuple[Member, str]:
    port = free_port()
    flower = crew.start(
        "flower",
        *("-m", "celery", "-A", "broker.app", "flower"),
        *(f"--address={ADDRESS}", f"--port={port}"),
        FLOWER_UNAUTHENTICATED_API="true",
    )
    return flower, f"http://{ADDRESS}:{port}"


def ask(url: str) -> Any:
    try:
        return httpx.get(url, timeout=5).raise_for_status().json()
    except httpx.HTTPError:
        return None


def wait_until_it_listens(url: str, viewer: Viewer) -> None:
    """Flower asks workers for their events every five seconds; before that they send none."""

    def hears_a_job() -> bool:
        viewer.wait_for_end(viewer.submit("walk", {}))
        return bool(ask(f"{url}/api/tasks"))

    eventually(hears_a_job, 60)


def tasks_of(url: str, job_id: UUID) -> list[dict[str, Any]]:
    tasks = ask(f"{url}/api/tasks") or {}
    return [task for task in tasks.values() if f"job={job_id} " in str(task["args"])]


def test_flower_shows_what_runs_and_nobodys_data(
    crew: Crew, viewer: Viewer, redis_url: str
) -> None:
    worker, _ = crew.start_worker(STEPWELL_QUANTUM_MS="0"), crew.start_scheduler()
    flower, url = start_flower(crew)
    worker.wait_for("ready")
    wait_until_it_listens(url, viewer)

    with everything_sent(redis_url) as commands:
        job_id = viewer.submit(
            "scripted",
            as_input(
                [
                    ("echo", {"text": SECRET}),
                    ("post", {"what": ANOTHER}),
                    ("no_such", {"x": SECRET}),
                ],
                [("complain", {"message": SECRET})],
                answer=SECRET,
            ),
        )
        assert viewer.wait_for_end(job_id).status is JobStatus.COMPLETED

        def shown() -> list[dict[str, Any]]:
            return [task for task in tasks_of(url, job_id) if task["state"] == "SUCCESS"]

        steps = viewer.steps(job_id)
        eventually(lambda: len(shown()) >= len(steps), 30)

    found = {(task["name"], task["args"]) for task in shown()}
    assert found == {(step.name, f"job={job_id} step={step.seq}") for step in steps}
    assert {name for name, _ in found} == {
        "model.scripted",
        "tool.echo",
        "tool.post",
        "tool.complain",
        "tool.unknown",
    }
    assert {task["kwargs"] for task in shown()} <= {"", "{}"}
    UUID(shown()[0]["uuid"])

    where_it_is = str(viewer.job(job_id).output)
    assert SECRET in where_it_is, "the secret has to have gone through the job"
    for page in ("api/tasks", "api/workers", "tasks", "broker"):
        text = httpx.get(f"{url}/{page}", timeout=10).text
        assert "Ottoline" not in text, page
    for task in shown():
        assert "Ottoline" not in httpx.get(f"{url}/task/{task['uuid']}", timeout=10).text
    assert "Ottoline" not in decoded(commands)
    assert "Ottoline" not in worker.said()
    assert "Ottoline" not in flower.said()


def test_a_step_that_raises_leaves_no_data_in_flower(crew: Crew, viewer: Viewer) -> None:
    worker = crew.start_worker()
    crew.start_scheduler()
    _, url = start_flower(crew)
    worker.wait_for("ready")
    wait_until_it_listens(url, viewer)
    job_id = viewer.submit("walk", {"raises": SECRET})
    job = viewer.wait_for_end(job_id)
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert SECRET in job.error["message"], "its owner may see it"
    eventually(lambda: tasks_of(url, job_id), 20)
    assert "Ottoline" not in httpx.get(f"{url}/api/tasks", timeout=10).text
    # The worker's log has the traceback of the tool's own error, and no variables or arguments.
    assert worker.said().count("Ottoline") <= 1
