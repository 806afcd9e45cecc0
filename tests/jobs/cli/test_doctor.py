"""The doctor: what it finds well, what it finds bad, and that one hides no other."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.conftest import Database
from tests.jobs.cli.conftest import Run
from tests.jobs.serving import TOKEN, Served, database_shut


@pytest.fixture
def surgery(run: Run, database: Database, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Everything named in the environment but a mail server."""
    monkeypatch.setenv("STEPWELL_DATABASE_URL", database.runtime_url)
    monkeypatch.setenv("STEPWELL_REDIS_URL", redis_url)
    monkeypatch.delenv("STEPWELL_SMTP_URL", raising=False)
    return run


def examine(run: Run) -> tuple[int, dict[str, dict[str, str]]]:
    said = run("doctor", "--json")
    checks: list[dict[str, Any]] = json.loads(said.out)
    return said.code, {check["name"]: check for check in checks}


def test_a_platform_in_good_health(surgery: Run, served: Served) -> None:
    served.hand.start_worker()
    code, found = examine(surgery)
    assert code == 0
    assert {name for name, check in found.items() if check["state"] != "ok"} <= {"mail", "cores"}
    assert re.match(r"PostgreSQL 1\d\.\d", found["database"]["found"])
    assert re.match(r"(Redis|Valkey) \d", found["redis"]["found"])
    assert "celery 5" in found["libraries"]["found"]
    assert "forced on all" in found["row security"]["found"]


def test_no_worker_is_bad_for_there_would_be_no_work(surgery: Run) -> None:
    code, found = examine(surgery)
    assert code == 1
    assert found["workers"]["state"] == "bad"


def test_a_database_that_is_down_hides_nothing_else(surgery: Run, database: Database) -> None:
    with database_shut(database):
        code, found = examine(surgery)
    assert code == 1
    assert found["database"]["state"] == "bad"
    assert found["migration"]["state"] == "skipped"
    assert found["redis"]["state"] == "ok"
    assert found["api"]["state"] == "bad"


def test_a_database_at_another_migration_is_sent_to_migrate(
    surgery: Run, database: Database
) -> None:
    with psycopg.connect(database.admin_url, autocommit=True) as admin:
        admin.execute("update stepwell.alembic_version set version_num = '0000'")
    code, found = examine(surgery)
    assert code == 1
    assert found["migration"]["hint"] == "stepwell migrate"
    assert "0000" in found["migration"]["found"]


def test_a_wall_that_is_down_is_found(surgery: Run, database: Database) -> None:
    with psycopg.connect(database.admin_url, autocommit=True) as admin:
        admin.execute("alter table stepwell.events no force row level security")
    code, found = examine(surgery)
    assert code == 1
    assert "events" in found["row security"]["found"]


def test_a_superuser_is_no_login_for_a_platform(
    surgery: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPWELL_DATABASE_URL", database.admin_url)
    code, found = examine(surgery)
    assert code == 1
    assert "superuser" in found["roles"]["found"]


def test_a_redis_that_is_down_is_bad(surgery: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_REDIS_URL", "redis://127.0.0.1:1/0")
    code, found = examine(surgery)
    assert code == 1
    assert found["redis"]["state"] == "bad"
    assert found["database"]["state"] == "ok"


def test_a_mail_server_that_does_not_answer_is_bad(
    surgery: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPWELL_SMTP_URL", "smtp://me:a-password@127.0.0.1:1")
    _, found = examine(surgery)
    assert found["mail"]["state"] == "bad"
    assert "a-password" not in json.dumps(found)


def test_it_tells_no_secrets(surgery: Run, database: Database) -> None:
    for said in (surgery("doctor"), surgery("doctor", "--json")):
        for secret in (urlsplit(database.runtime_url).password or "?", TOKEN):
            assert secret not in said.out + said.err


def test_with_nothing_named_it_says_what_to_do(
    nowhere: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE", "REDIS", "SMTP"):
        monkeypatch.delenv(f"STEPWELL_{name}_URL", raising=False)
    code, found = examine(nowhere)
    assert code == 1
    assert "stepwell up" in found["database"]["hint"]
    assert "stepwell up" in found["api"]["hint"]


def test_migrate_brings_a_database_to_this_version(
    nowhere: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPWELL_DATABASE_URL", database.runtime_url)
    monkeypatch.setenv("STEPWELL_OPERATOR_DATABASE_URL", database.operator_url)
    monkeypatch.setenv("STEPWELL_MIGRATION_DATABASE_URL", database.admin_url)
    said = nowhere("migrate", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["is_current"]


def test_migrate_needs_a_database_that_answers(
    nowhere: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("", "OPERATOR_", "MIGRATION_"):
        monkeypatch.delenv(f"STEPWELL_{name}DATABASE_URL", raising=False)
    assert nowhere("migrate").code == 2
    monkeypatch.setenv("STEPWELL_DATABASE_URL", "postgresql://me:a-password@127.0.0.1:1/x")
    said = nowhere("migrate")
    assert said.code == 3
    assert "a-password" not in said.err
