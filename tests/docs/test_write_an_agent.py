"""The page that teaches: its code is put together, run by a real worker, and says what it says."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from broker.settings import BrokerSettings
from jobs.lifecycle.desk import Desk
from jobs.settings import Settings
from jobs.web.callers import OPERATOR
from store import approvals
from store.approvals import Became, Said
from store.rows import ApprovalRow
from store.states import Decision, JobStatus
from tests.conftest import Database
from tests.processes import ROOT, Crew, Viewer
from tests.running import eventually

PAGE = ROOT / "docs" / "write-an-agent.md"
MODULE = "desk"


def blocks(language: str) -> list[str]:
    """The blocks of the page in this language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.M | re.S)


def submissions() -> list[list[str]]:
    """The words of every `stepwell submit` that the page follows with what it prints.

    Behind them may be those of further commands, which come before that.
    """
    pairs = re.findall(
        r"^```sh\n(stepwell submit.*?)^```\n\n```json\n", PAGE.read_text(), re.M | re.S
    )
    return [shlex.split(command.replace("\\\n", " "), comments=True) for command in pairs]


def approve(viewer: Viewer, job_id: UUID) -> None:
    """Say yes to the one call that the job waits with, as the operator who asked for it."""

    def find() -> list[ApprovalRow]:
        with viewer.desk.doors.as_tenant(viewer.tenant_id) as tx:
            return approvals.list_pending(tx, job_id=job_id)

    (asked,) = eventually(find)
    which, yes = (job_id, asked.seq, asked.n), Said(Decision.APPROVE)
    with viewer.desk.doors.as_tenant(viewer.tenant_id) as tx:
        became = approvals.decide(
            tx, viewer.tenant_id, which, asked.args_sha256, yes, by=OPERATOR, roles=frozenset()
        )
    assert became is Became.GRANTED


def value_of(words: list[str], option: str) -> str | None:
    return words[words.index(option) + 1] if option in words else None


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The page's Python as the one file it tells the reader to write."""
    (tmp_path / f"{MODULE}.py").write_text("\n\n".join(blocks("python")))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module(MODULE)
    sys.modules.pop(MODULE, None)


@pytest.fixture
def crew(database: Database, redis_url: str, tmp_path: Path) -> Iterator[Crew]:
    more = {"STEPWELL_AGENTS": MODULE, "PYTHONPATH": str(tmp_path)}
    crew = Crew(tmp_path, database, redis_url, more)
    crew.start_scheduler()
    crew.start_worker()
    yield crew
    crew.end()


@pytest.fixture
def viewer(
    module: ModuleType, database: Database, redis_url: str, tmp_path: Path
) -> Iterator[Viewer]:
    desk = Desk.open(
        Settings(agents=MODULE, home=tmp_path),
        database.settings,
        BrokerSettings(redis_url=SecretStr(redis_url)),
    )
    yield Viewer(desk)
    desk.close()


def test_what_the_page_tells_to_run_gives_what_it_shows(crew: Crew, viewer: Viewer) -> None:
    crew.wait_until_ready()
    shown = [json.loads(block) for block in blocks("json")]
    asked = submissions()
    assert len(asked) == len(shown) == 3
    outputs: list[Any] = []
    for words in asked:
        given = json.loads(value_of(words, "--input") or "{}")
        job = viewer.submit(words[2], given, model=value_of(words, "--model"), requester=OPERATOR)
        if "approve" in words:
            approve(viewer, job)
        outputs.append(viewer.wait_for_end(job).output)
    assert outputs == shown
    assert sum("approve" in words for words in asked) == 1


def test_the_steps_are_the_five_that_the_page_counts(crew: Crew, viewer: Viewer) -> None:
    crew.wait_until_ready()
    job = viewer.submit("clerk", {"order": "A-17", "text": "Broken."}, model="offline")
    assert viewer.wait_for_end(job).status is JobStatus.COMPLETED
    assert [step.name for step in viewer.steps(job)] == [
        "model.clerk",
        "tool.find_order",
        "model.clerk",
        "tool.refund",
        "model.clerk",
    ]
    ((receipt, content),) = viewer.artifacts(job)
    assert receipt.name == "receipt.txt"
    assert content.decode().endswith(f"\n{job}:4\n"), "the key names the job and the step"
    assert "job.progress" in [event.type for event in viewer.events(job)]

    unknown = viewer.submit("clerk", {"order": "Z-99", "text": "Broken."}, model="offline")
    told = {"refunded_usd": 0.0, "reply": "Which order is it, please?"}
    assert viewer.wait_for_end(unknown).output == told, "the model was told that the call failed"


def test_the_tests_of_the_page_pass(module: ModuleType) -> None:
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()


def test_the_page_can_be_read_in_five_minutes() -> None:
    assert len(PAGE.read_text().split()) < 1600
