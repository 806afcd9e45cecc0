"""The laws that no single job can show: effects in the world outside, walls between tenants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg import sql

from tests.faults.cases import Book, Connection, open_as
from tests.faults.ledger import Effect

# --- no_second_effect -----------------------------------------------------------------------------


def no_second_effect(effects: list[Effect], book: Book) -> Iterator[tuple[Effect, str]]:
    """A started, not idempotent call never runs again by itself.

    The world outside counts the calls that reached it, by key: one is the platform's, and one more
    is for each time that a person said "again". A replay has the key of its original, so both count
    together. What is found comes with the call that was too many.
    """
    begun: dict[str, int] = defaultdict(int)
    for effect in effects:
        if effect.phase != "begin" or effect.idempotency != "none":
            continue
        begun[effect.key] += 1
        allowed = 1 + book.again.get(effect.key, 0)
        if begun[effect.key] > allowed:
            yield effect, f"called {effect.tool} {begun[effect.key]} times; {allowed} were right"


# --- tick_fires_once ------------------------------------------------------------------------------


def ticks_fire_once(operator: Connection) -> Iterator[tuple[UUID, str]]:
    """A tick of a schedule makes at most one job, and not before its time.

    Which tick a job was made for, its first event says; copies of a job say something else there.
    """
    for job_id, tick, times, is_early in operator.execute(_JOBS_OF_TICKS).fetchall():
        if times > 1:
            yield job_id, f"is one of {times} jobs of the tick of {tick}"
        if is_early:
            yield job_id, f"was made before its tick of {tick}"


_JOBS_OF_TICKS = """
    select e.job_id, e.data ->> 'tick',
           count(*) over (partition by e.data ->> 'schedule_id',
                          (e.data ->> 'tick')::timestamptz),
           e.at < (e.data ->> 'tick')::timestamptz
      from stepwell.events e
      join stepwell.jobs j on j.tenant_id = e.tenant_id and j.id = e.job_id
     where j.origin = 'schedule' and e.id = 1 and e.data ? 'schedule_id'
"""


# --- tenants_are_walled ---------------------------------------------------------------------------


def tenants_are_walled(
    operator: Connection, walled: Connection, admin: Connection, tenants: tuple[UUID, ...]
) -> Iterator[str]:
    """No query under tenant A sees, counts or touches a row of tenant B.

    Tried out, table by table: as each tenant nothing of anybody else's is visible, without a tenant
    nothing can be asked at all, and every row belongs to the tenant of its job.
    """
    for table, has_job, is_forced in _tables(operator):
        if not is_forced:
            yield f"row security is not forced on {table}"
        if has_job and (strays := _strays(operator, table)):
            yield f"{strays} rows of {table} belong to another tenant than their job"
        for tenant in tenants:
            if seen := _seen_of_others(walled, table, tenant):
                yield f"{seen} rows of {table} are visible to {tenant}, who does not own them"
        if _answers_to_nobody(walled, admin, table):
            yield f"{table} can be asked without a tenant"


_TABLES = """
    select c.relname, bool_or(a.attname = 'job_id'), c.relrowsecurity and c.relforcerowsecurity
      from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
     where c.relnamespace = 'stepwell'::regnamespace and c.relkind in ('r', 'p')
     group by c.oid having bool_or(a.attname = 'tenant_id') and c.relname <> 'tenants'
     order by c.relname
"""


def _tables(operator: Connection) -> list[tuple[Any, ...]]:
    return operator.execute(_TABLES).fetchall()


def _strays(operator: Connection, table: str) -> int:
    return _count(
        operator,
        "select count(*) from stepwell.{} t join stepwell.jobs j on j.id = t.job_id "
        "where j.tenant_id <> t.tenant_id",
        table,
    )


def _seen_of_others(walled: Connection, table: str, tenant: UUID) -> int:
    with walled.transaction():
        walled.execute("select set_config('stepwell.tenant_id', %s, true)", (str(tenant),))
        return _count(
            walled, "select count(*) from stepwell.{} where tenant_id <> %s", table, tenant
        )


def _answers_to_nobody(walled: Connection, admin: Connection, table: str) -> bool:
    """Asked with a row to hide: Postgres comes to the wall only when it has a row to judge."""
    row = _A_ROW.get(table)
    asking = admin if row else walled
    with asking.transaction(force_rollback=True):
        if row:
            asking.execute(row)
            asking.execute("set local role stepwell_app")
        try:
            with asking.transaction():
                _count(asking, "select count(*) from stepwell.{}", table)
        except psycopg.Error:
            return False
        return True


# Of the tables that may be empty when the world has come to rest.
_A_ROW: dict[str, LiteralString] = {
    "tenant_census": """
        insert into stepwell.tenant_census (tenant_id, job_class, waiting, promised)
        select tenant_id, 'default', 0, 0 from stepwell.tenants limit 1 on conflict do nothing
    """,
    "schedules": """
        insert into stepwell.schedules (
          tenant_id, id, name, agent, input, job_class, begins, every_s, zone, catch_up,
          catch_up_max, overlap)
        select tenant_id, gen_random_uuid(), 'hidden', 'a', '{}', 'batch', '{}', 60, 'UTC', 'one',
               1, 'skip'
          from stepwell.tenants limit 1 on conflict do nothing
    """,
    "ticks": """
        with hidden as (
          insert into stepwell.schedules (
            tenant_id, id, name, agent, input, job_class, begins, every_s, zone, catch_up,
            catch_up_max, overlap)
          select tenant_id, gen_random_uuid(), 'hidden', 'a', '{}', 'batch', '{}', 60, 'UTC',
                 'one', 1, 'skip'
            from stepwell.tenants limit 1
          returning tenant_id, id)
        insert into stepwell.ticks (tenant_id, schedule_id, tick_at, state)
        select tenant_id, id, now(), 'waiting' from hidden
    """,
    "approvals": """
        insert into stepwell.approvals (
          tenant_id, job_id, seq, n, wait_n, tool, args, args_sha256, tool_sha256, tier, quorum,
          reasons, rules, policy_version, fallback, state)
        select tenant_id, job_id, seq, 99, 1, 'x', 'null', '', '', 'confirm', 1, '{}', '{}', '',
               'reject', 'pending' from stepwell.checkpoints limit 1
    """,
    "decisions": """
        with asked as (
          insert into stepwell.approvals (
            tenant_id, job_id, seq, n, wait_n, tool, args, args_sha256, tool_sha256, tier, quorum,
            reasons, rules, policy_version, fallback, state)
          select tenant_id, job_id, seq, 99, 1, 'x', 'null', '', '', 'confirm', 1, '{}', '{}', '',
                 'reject', 'pending' from stepwell.checkpoints limit 1
          returning tenant_id, job_id, seq, n)
        insert into stepwell.decisions (
          tenant_id, job_id, seq, n, decided_by, roles, decision, args_sha256)
        select tenant_id, job_id, seq, n, 'x', '{}', 'reject', '' from asked
    """,
    "audit": """
        insert into stepwell.audit (tenant_id, n, content, before_sha256, sha256)
        select tenant_id, 1, '{}', '', '' from stepwell.tenants limit 1 on conflict do nothing
    """,
    "audit_chains": """
        insert into stepwell.audit_chains (tenant_id)
        select tenant_id from stepwell.tenants limit 1 on conflict do nothing
    """,
}


def _count(connection: Connection, query: str, table: str, *given: Any) -> int:
    statement = sql.SQL(query).format(sql.Identifier(table))
    row = connection.execute(statement, given).fetchone()
    return int(row[0]) if row else 0


def open_walled(url: str) -> Connection:
    """A connection as the walled role, on which every question is a transaction of its own."""
    connection = open_as(url, "stepwell_app")
    connection.autocommit = True
    return connection
