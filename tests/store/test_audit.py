"""The audit: added to by everybody, changed by nobody, and a change is found at its place."""

from __future__ import annotations

from functools import partial
from typing import LiteralString
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from store import audit
from store.doors import Doors
from store.states import Decision
from tests.asking import Asker, gated
from tests.conftest import Database
from tests.running import at_once

MOVE = (
    "update stepwell.audit set n = case n when 4 then -5 else -4 end where n in (4, 5); "
    "update stepwell.audit set n = -n where n < 0"
)
# By the transaction that asks, of the audit.
ROWS_READ = text(
    "select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables where relname = 'audit'"
)
PUT_IN = (
    "insert into stepwell.audit select tenant_id, 9, content, sha256, sha256 "
    "from stepwell.audit where n = 8"
)


@pytest.fixture
def asker(doors: Doors, tenant: UUID) -> Asker:
    return Asker(doors, tenant)


def fill(asker: Asker, jobs: int = 4) -> None:
    for _ in range(jobs):
        asker.decide(asker.plan(gated()), Decision.REJECT)


def test_an_empty_audit_is_whole(asker: Asker) -> None:
    found = asker.verify()
    assert (found.is_whole, found.lines) == (True, 0)


def test_lines_added_by_many_at_once_make_one_chain(asker: Asker) -> None:
    jobs = [asker.plan(gated()) for _ in range(12)]
    at_once([partial(asker.decide, job_id, Decision.REJECT) for job_id in jobs])
    found = asker.verify()
    assert (found.is_whole, found.lines) == (True, 24)
    assert {line["job_id"] for line in asker.audit()} == {str(job_id) for job_id in jobs}


def test_the_lines_of_a_job_are_found_without_reading_those_of_all(
    asker: Asker, doors: Doors, database: Database
) -> None:
    jobs = [asker.plan(gated()) for _ in range(2)]
    for job_id in jobs:
        asker.decide(job_id, Decision.REJECT)
    with psycopg.connect(database.admin_url) as admin:
        admin.execute(
            "select stepwell.append_audit(%s, jsonb_build_object('job_id', gen_random_uuid())) "
            "from generate_series(1, 5000)",
            (asker.tenant_id,),
        )
        admin.execute("analyze stepwell.audit")
    with doors.as_tenant(asker.tenant_id) as tx:
        found = audit.list_newest(tx, job_id=jobs[0])
        rows_read = tx.execute(ROWS_READ).scalar_one()
    assert [line.n for line in found] == [2, 1]
    assert rows_read == 2
    assert asker.verify().is_whole


def test_each_tenant_has_a_chain_of_its_own(asker: Asker, doors: Doors, other_tenant: UUID) -> None:
    fill(asker, 2)
    other = Asker(doors, other_tenant)
    fill(other, 3)
    assert (asker.verify().lines, other.verify().lines) == (4, 6)


def test_no_role_of_the_platform_can_change_it(asker: Asker, doors: Doors) -> None:
    fill(asker, 1)
    for statement in ("update stepwell.audit set n = 9", "delete from stepwell.audit"):
        for opened in (doors.as_tenant(asker.tenant_id), doors.as_operator("test")):
            with pytest.raises(DBAPIError, match="permission denied"), opened as tx:
                tx.execute(text(statement))


def test_the_owner_is_stopped_too(asker: Asker, database: Database) -> None:
    fill(asker, 1)
    for statement in (
        "update stepwell.audit set n = 9",
        "delete from stepwell.audit",
        "truncate stepwell.audit",
    ):
        with (
            psycopg.connect(database.admin_url) as admin,
            pytest.raises(psycopg.errors.IntegrityError, match="audit_is_kept"),
        ):
            admin.execute(statement)
    assert asker.verify().is_whole


@pytest.mark.parametrize(
    ("tamper", "broken_at", "why"),
    [
        (
            'update stepwell.audit set content = content || \'{"by": "mallory"}\' where n = 3',
            3,
            "its content is not what was written",
        ),
        ("delete from stepwell.audit where n = 2", 2, "the next line is number 3"),
        ("delete from stepwell.audit where n >= 7", 7, "2 lines at the end are missing"),
        ("delete from stepwell.audit", 1, "8 lines at the end are missing"),
        (MOVE, 4, "it does not follow the line before it"),
        (PUT_IN, 9, "its content is not what was written"),
    ],
    ids=["changed", "taken out", "cut off", "emptied", "moved", "put in"],
)
def test_what_a_superuser_does_to_it_is_found(
    asker: Asker, database: Database, tamper: LiteralString, broken_at: int, why: str
) -> None:
    fill(asker)
    before = asker.verify()
    assert (before.is_whole, before.lines) == (True, 8)
    with psycopg.connect(database.admin_url) as admin:
        admin.execute("set session_replication_role = replica")
        for statement in tamper.split("; "):
            admin.execute(statement)
    found = asker.verify()
    assert (found.is_whole, found.broken_at, found.why) == (False, broken_at, why)
    assert found.lines == broken_at - 1


def test_a_line_that_was_changed_with_its_own_hash_breaks_the_next(
    asker: Asker, database: Database
) -> None:
    fill(asker)
    with psycopg.connect(database.admin_url) as admin:
        admin.execute("set session_replication_role = replica")
        admin.execute(
            "update stepwell.audit a set content = c.content, sha256 = encode(sha256(convert_to("
            "concat_ws(E'\\n', a.before_sha256, a.tenant_id, a.n, c.content::text), 'UTF8')),"
            " 'hex')"
            ' from (select n, content || \'{"by": "mallory"}\' as content from stepwell.audit) c'
            " where a.n = 3 and c.n = 3"
        )
    found = asker.verify()
    assert (found.broken_at, found.why) == (4, "it does not follow the line before it")
