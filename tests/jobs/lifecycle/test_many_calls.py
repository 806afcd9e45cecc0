"""A thousand model calls in flight at once in one worker process, on one asyncio loop."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from broker.settings import BrokerSettings
from jobs.lifecycle.desk import Desk
from jobs.settings import Settings
from tests.conftest import Database
from tests.processes import Crew, Member, Viewer
from tests.running import eventually

AGENTS = "tests.provider.agents"
CALLS = 1000
CALL_S = 2.0
# Twice of what it takes on two busy cores. The calls alone would take 2,000 s one after another.
MAKESPAN_S_MAX = 60.0
# Measured: 115 MB at rest, 270 MB at the height of it.
RSS_MB_MAX = 450.0

# A worker as a plain shell would start it, with 1,024 files to open; it has to see to more itself.
WORKER = f"""
import resource, sys
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, most))
from jobs.worker import main
sys.exit(main(["--work", "waits", "--slots", "{CALLS}"]))
"""


@pytest.fixture
def crew(database: Database, redis_url: str, tmp_path: Path) -> Iterator[Crew]:
    crew = Crew(tmp_path, database, redis_url, {"STEPWELL_AGENTS": AGENTS})
    yield crew
    crew.end()


@pytest.fixture
def viewer(database: Database, redis_url: str, tmp_path: Path) -> Iterator[Viewer]:
    desk = Desk.open(
        Settings(agents=AGENTS, home=tmp_path),
        database.settings,
        BrokerSettings(redis_url=SecretStr(redis_url)),
    )
    yield Viewer(desk)
    desk.close()


def start_provider(crew: Crew) -> Member:
    """A provider that answers nobody until all calls are there."""
    words = ("-m", "tests.provider", "--takes-s", str(CALL_S), "--together", str(CALLS))
    provider = crew.start("provider", *words).wait_for("/v1")
    crew.more["STEPWELL_MODEL_BASE_URL"] = provider.said().strip()
    return provider


def rss_mb(member: Member) -> float:
    said = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(member.process.pid)], capture_output=True, check=True
    )
    return int(said.stdout) / 1024


def ends(viewer: Viewer) -> dict[str, int]:
    """How many jobs there are by status."""
    with viewer.desk.doors.as_operator("test") as tx:
        counted = tx.execute(text("select status, count(*) from stepwell.jobs group by 1"))
        return {row.status: row.count for row in counted}


def makespan_s(viewer: Viewer) -> float:
    """From the start of the first job to the end of the last."""
    with viewer.desk.doors.as_operator("test") as tx:
        span = tx.execute(
            text("select extract(epoch from max(finished_at) - min(started_at)) from stepwell.jobs")
        )
        return float(span.scalar_one())


def test_a_thousand_calls_are_in_flight_at_once_in_one_process(crew: Crew, viewer: Viewer) -> None:
    provider = start_provider(crew)
    for _ in range(CALLS):
        viewer.submit("caller", {"ask": "Are you there?"})
    crew.start_scheduler()
    worker = crew.start("worker", "-c", WORKER).wait_for("worker ready")
    most_mb = 0.0

    def are_over() -> bool:
        nonlocal most_mb
        most_mb = max(most_mb, rss_mb(worker))
        return ends(viewer) == {"completed": CALLS}

    eventually(are_over, MAKESPAN_S_MAX + CALL_S)

    provider.signal(signal.SIGTERM)
    provider.process.wait(10)
    seen = json.loads(provider.said().splitlines()[-1])
    assert seen == {"requests": CALLS, "in_flight_max": CALLS}, "each asked once, all at one time"
    assert makespan_s(viewer) < MAKESPAN_S_MAX
    assert most_mb < RSS_MB_MAX
    assert worker.process.poll() is None
    complaints = [line for line in worker.said().splitlines() if re.search(r"error|loop", line)]
    assert complaints == []
    print(f"{makespan_s(viewer):.1f} s, {most_mb:.0f} MB", file=sys.stderr)
