"""The two doors: a tenant's is walled, a forgotten tenant is loud, an unfit database is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from store import artifacts, checkpoints, events, jobs, transitions, usage
from store.doors import Doors
from store.errors import NotFound, NotReady, Unreachable
from store.settings import StoreSettings
from store.transitions import Usage
from store.walls import walled_tables
from tests.conftest import Database
from tests.running import at_once
from tests.stepping import COMPLETED, Stepper


@pytest.fixture
def theirs(doors: Doors, other_tenant: UUID) -> Stepper:
    return Stepper(doors, other_tenant)


@pytest.fixture
def ours(doors: Doors, tenant: UUID) -> Stepper:
    return Stepper(doors, tenant)


def settings_at(url: str, **more: Any) -> StoreSettings:
    return StoreSettings(database_url=SecretStr(url), connect_timeout_s=2, **more)


# --- the wall -------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", walled_tables())
def test_a_forgotten_tenant_raises(doors: Doors, table: str) -> None:
    with pytest.raises(DBAPIError, match="tenant_id"), doors.as_nobody() as tx:
        tx.execute(text(f"select * from stepwell.{table}"))


def test_a_tenant_is_forgotten_when_its_transaction_ends(database: Database, tenant: UUID) -> None:
    opened = Doors(database.settings.model_copy(update={"pool_size": 1}))
    stepper = Stepper(opened, tenant)
    job_id = stepper.put_down()
    with opened.hot() as connection:
        transitions.tell(connection, tenant, job_id, "job.progress", {})
        with pytest.raises(psycopg.Error, match="uuid"):
            connection.execute("select * from stepwell.jobs")
    # Postgres leaves the empty string behind, not "never set": still loud, in other words.
    with pytest.raises(DBAPIError, match="uuid"), opened.as_nobody() as tx:
        tx.execute(text("select * from stepwell.jobs"))
    opened.close()


def fill(stepper: Stepper) -> UUID:
    """A job with a row in every table that has a tenant; its second step is left running."""
    job_id = stepper.put_down(key="their key")
    worker = stepper.start_worker()
    held = stepper.take(job_id, 1, worker)
    stepper.commit(held, usage=Usage("m", 1, 1, 1), plan=(transitions.Plan(held.kind, "model.test", held.work),))  # fmt: skip  # noqa: E501
    stepper.take(job_id, 2, worker)
    with stepper.doors.as_tenant(stepper.tenant_id) as tx:
        artifacts.save(
            tx,
            tenant_id=stepper.tenant_id,
            job_id=job_id,
            seq=1,
            name="theirs.txt",
            media_type="text/plain",
            chunks=[b"secret"],
            size_max_bytes=100,
        )
    return job_id


def their_artifact(theirs: Stepper, job_id: UUID) -> UUID:
    with theirs.doors.as_tenant(theirs.tenant_id) as tx:
        (row,) = artifacts.list_of(tx, job_id)
    return row.id


def raises_not_found(ask: Callable[[], object]) -> bool:
    with pytest.raises(NotFound):
        ask()
    return True


def test_through_no_function_does_a_tenant_see_or_count_anothers_rows(
    ours: Stepper, theirs: Stepper
) -> None:
    job_id = fill(theirs)
    artifact_id = their_artifact(theirs, job_id)
    with theirs.doors.as_tenant(theirs.tenant_id) as tx:
        their_job = jobs.read(tx, job_id)
    with ours.doors.as_tenant(ours.tenant_id) as tx:
        assert raises_not_found(lambda: jobs.read(tx, job_id))
        assert jobs.find_by_key(tx, "their key") is None
        assert jobs.list_newest(tx) == []
        assert raises_not_found(lambda: jobs.list_newest(tx, before=job_id))
        assert raises_not_found(lambda: jobs.request_cancel(tx, job_id))
        assert checkpoints.list_of(tx, job_id) == []
        assert checkpoints.list_settled(tx, job_id) == []
        assert events.list_after(tx, job_id, 0) == []
        spent = usage.total(tx, their_job)
        assert (spent.requests, spent.amplification) == (0, None)
        assert raises_not_found(lambda: artifacts.read(tx, artifact_id))
        assert list(artifacts.stream(tx, artifact_id)) == []
        assert artifacts.list_of(tx, job_id) == []
        assert artifacts.find(tx, job_id, "theirs.txt") is None
        for table in walled_tables():
            told = tx.execute(text(f"select count(*) from stepwell.{table}")).scalar()
            assert told == (1 if table == "tenants" else 0), table


def test_through_no_function_does_a_tenant_change_anothers_rows(
    ours: Stepper, theirs: Stepper
) -> None:
    job_id = fill(theirs)
    fresh = theirs.put_down()
    worker = ours.start_worker()
    theirs_held = theirs.take(fresh, 1, worker)
    before = theirs.dump()
    disguised = transitions.Claim(
        **{
            field: getattr(theirs_held, field)
            for field in transitions.Claim.__dataclass_fields__
            if field != "tenant_id"
        },
        tenant_id=ours.tenant_id,
    )
    assert ours.claim(job_id, 2, worker) is None
    assert ours.commit(disguised, output="forged", ending=COMPLETED) is None
    assert ours.release(disguised) is False
    with ours.doors.hot() as connection:
        transitions.tell(connection, ours.tenant_id, job_id, "job.progress", {"forged": True})
        connection.execute("select stepwell.cancel_job(%s, %s)", (ours.tenant_id, job_id))
    breaches = [
        "update stepwell.jobs set input = '{}'",
        "update stepwell.checkpoints set output = '1'",
        "delete from stepwell.artifacts",
        "delete from stepwell.artifact_chunks",
    ]
    with ours.doors.as_tenant(ours.tenant_id) as tx:
        for breach in breaches:
            assert tx.execute(text(breach)).rowcount == 0, breach
    assert theirs.dump() == before


def test_a_tenant_cannot_write_a_row_in_anothers_name(ours: Stepper, theirs: Stepper) -> None:
    with (
        pytest.raises(DBAPIError, match="row-level security"),
        ours.doors.as_tenant(ours.tenant_id) as tx,
    ):
        save_for(tx, theirs.tenant_id)


def save_for(tx: Connection, tenant_id: UUID) -> None:
    artifacts.save(
        tx,
        tenant_id=tenant_id,
        job_id=None,
        seq=None,
        name="x",
        media_type="text/plain",
        chunks=[b"x"],
        size_max_bytes=10,
    )


def test_a_key_that_another_tenant_used_is_free(ours: Stepper, theirs: Stepper) -> None:
    theirs.put_down(key="the same")
    ours.put_down(key="the same")


def test_the_operator_role_cannot_be_had_through_the_tenants_login(database: Database) -> None:
    only_runtime = settings_at(database.runtime_url)
    opened = Doors(only_runtime)
    with pytest.raises((NotReady, Unreachable)), opened.as_operator("test") as tx:
        tx.execute(text("select 1"))
    with psycopg.connect(database.runtime_url) as plain:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            plain.execute("set role stepwell_owner")
        plain.rollback()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            plain.execute("select * from stepwell.jobs")
    opened.close()


def test_tenants_that_take_turns_on_one_connection_never_meet(
    database: Database, tenant: UUID, other_tenant: UUID
) -> None:
    opened = Doors(database.settings.model_copy(update={"pool_size": 1}))
    steppers = [Stepper(opened, tenant), Stepper(opened, other_tenant)]
    mine = {stepper.tenant_id: {stepper.put_down() for _ in range(3)} for stepper in steppers}

    def look(stepper: Stepper) -> bool:
        with opened.as_tenant(stepper.tenant_id) as tx:
            return {row.id for row in jobs.list_newest(tx)} == mine[stepper.tenant_id]

    assert all(at_once([lambda s=s: look(s) for s in steppers * 5]))
    opened.close()


# --- what must not be used ------------------------------------------------------------------------


def test_a_fit_database_is_let_through(doors: Doors) -> None:
    doors.check()
    doors.check_operator()


def test_a_superuser_is_refused_and_told_what_to_do(database: Database) -> None:
    opened = Doors(settings_at(database.admin_url))
    with pytest.raises(NotReady, match="superuser") as refusal:
        opened.check()
    assert "STEPWELL_MIGRATION_DATABASE_URL" in str(refusal.value)
    assert "STEPWELL_DATABASE_URL" in str(refusal.value)
    with pytest.raises(NotReady, match="superuser"):
        opened.check_operator()
    opened.close()


def test_a_login_that_bypasses_the_walls_is_refused(database: Database, doors: Doors) -> None:
    login = f"bypass_{database.name}"
    with psycopg.connect(database.admin_url, autocommit=True) as admin:
        admin.execute(f"create role {login} login password 'x' bypassrls")
        admin.execute(f"grant stepwell_app to {login} with inherit false, set true")
    parts = psycopg.conninfo.conninfo_to_dict(database.runtime_url)
    url = psycopg.conninfo.make_conninfo(**(parts | {"user": login, "password": "x"}))
    opened = Doors(settings_at(url))
    with pytest.raises(NotReady, match="bypasses row security"):
        opened.check()
    opened.close()
    with psycopg.connect(database.admin_url, autocommit=True) as admin:
        admin.execute(f"drop role {login}")


def test_no_database_named_is_refused_with_both_ways_out() -> None:
    with pytest.raises(NotReady, match=r"STEPWELL_DATABASE_URL.*stepwell up"):
        Doors(settings_at(""))


@pytest.mark.parametrize("found", ["0000", None])
def test_another_migration_is_refused(database: Database, doors: Doors, found: str | None) -> None:
    with psycopg.connect(database.admin_url) as admin:
        if found is None:
            admin.execute("drop table stepwell.alembic_version")
        else:
            admin.execute("update stepwell.alembic_version set version_num = %s", (found,))
    with pytest.raises(NotReady, match=f"at migration {found or 'none'}.*stepwell migrate"):
        doors.check()


def test_an_empty_database_is_refused(database: Database) -> None:
    with psycopg.connect(database.admin_url, autocommit=True) as admin:
        admin.execute("drop schema stepwell cascade")
    opened = Doors(database.settings)
    with pytest.raises(NotReady, match=r"at migration none.*stepwell migrate"):
        opened.check()
    opened.close()


def test_a_table_whose_wall_was_taken_down_is_refused_by_name(
    database: Database, doors: Doors
) -> None:
    with psycopg.connect(database.admin_url) as admin:
        admin.execute("alter table stepwell.events no force row level security")
    with pytest.raises(NotReady, match="not forced on events"):
        doors.check()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://somebody:hunter2@127.0.0.1:1/stepwell",
        "postgresql://somebody:hunter2@/stepwell?host=/nowhere",
        "postgresql://somebody:hunter2@no-such-host.invalid/stepwell",
    ],
    ids=["refused", "no socket", "no such host"],
)
def test_an_unreachable_database_is_named_without_its_password(url: str) -> None:
    opened = Doors(settings_at(url))
    with pytest.raises(Unreachable, match="does not answer") as refusal:
        opened.check()
    with pytest.raises(Unreachable), opened.hot():
        pass
    assert "hunter2" not in str(refusal.value)
    assert "hunter2" not in repr(refusal.value.__cause__)
    opened.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://somebody:hunter2/with/slash@127.0.0.1/stepwell",
        "postgresql://somebody:hunter2@127.0.0.1/stepwell?nonsense=1",
        "hunter2",
    ],
)
def test_a_url_that_is_none_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(NotReady, match="STEPWELL_DATABASE_URL") as refusal:
        Doors(settings_at(url))
    assert "hunter2" not in str(refusal.value)


def test_a_wrong_password_is_not_ready_and_not_shown(database: Database) -> None:
    parts = psycopg.conninfo.conninfo_to_dict(database.runtime_url) | {"password": "hunter2"}
    opened = Doors(settings_at(psycopg.conninfo.make_conninfo(**parts)))
    with pytest.raises(NotReady, match="password authentication failed") as refusal:
        opened.check()
    assert "hunter2" not in str(refusal.value)
    opened.close()


def test_a_pool_in_full_use_says_so_instead_of_waiting_for_ever(database: Database) -> None:
    opened = Doors(database.settings.model_copy(update={"pool_size": 1, "pool_timeout_s": 0.1}))
    with opened.hot(), pytest.raises(Unreachable, match="in use"), opened.hot():
        pass
    opened.close()


def test_a_statement_that_takes_too_long_is_ended(database: Database) -> None:
    opened = Doors(database.settings.model_copy(update={"statement_timeout_s": 1}))
    with pytest.raises(Unreachable, match="STEPWELL_STATEMENT_TIMEOUT_S"), opened.as_nobody() as tx:
        tx.execute(text("select pg_sleep(30)"))
    opened.close()


def test_a_connection_that_was_cut_is_replaced_at_the_next_use(
    database: Database, doors: Doors
) -> None:
    with doors.hot() as connection:
        pid = connection.info.backend_pid
    with psycopg.connect(database.admin_url, autocommit=True) as admin:
        admin.execute("select pg_terminate_backend(%s, 5000)", (pid,))
    with pytest.raises(Unreachable), doors.hot() as connection:
        connection.execute("select 1")
    with doors.hot() as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_artifacts_are_kept_by_their_hash_and_bounded(ours: Stepper) -> None:
    from hashlib import sha256

    from store.errors import TooLarge

    data = bytes(range(256)) * 10_000
    job_id = ours.put_down()
    with ours.doors.as_tenant(ours.tenant_id) as tx:
        row = artifacts.save(
            tx,
            tenant_id=ours.tenant_id,
            job_id=job_id,
            seq=1,
            name="x",
            media_type="text/plain",
            chunks=(data[n : n + 7_000] for n in range(0, len(data), 7_000)),
            size_max_bytes=len(data),
        )
    assert (row.size_bytes, row.sha256) == (len(data), sha256(data).hexdigest())
    with ours.doors.as_tenant(ours.tenant_id) as tx:
        assert b"".join(artifacts.stream(tx, row.id)) == data
    with pytest.raises(TooLarge), ours.doors.as_tenant(ours.tenant_id) as tx:
        artifacts.save(
            tx,
            tenant_id=ours.tenant_id,
            job_id=job_id,
            seq=2,
            name="y",
            media_type="text/plain",
            chunks=[data, b"1"],
            size_max_bytes=len(data),
        )
    with ours.doors.as_tenant(ours.tenant_id) as tx:
        assert [each.name for each in artifacts.list_of(tx, job_id)] == ["x"]
