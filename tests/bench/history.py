"""A long past: jobs that ended, with their steps and events, put down as rows without being run."""

from __future__ import annotations

import psycopg

from store.tenants import DEFAULT_TENANT

STEPS = 10

JOBS = """
insert into stepwell.jobs (tenant_id, id, root_id, agent, agent_version, job_class, origin, status,
  outstanding, steps_done, next_seq, event_seq, input, output, created_at, started_at, finished_at)
select %(tenant)s, ids.id, ids.id, 'past', '1', 'default', 'api', 'completed', 0, %(steps)s,
       %(steps)s + 1, 3, '{"ask": "x"}', '"done"', ids.at, ids.at, ids.at
  from (select gen_random_uuid() as id,
               now() - interval '60 days' * random() - interval '1 day' as at
          from generate_series(1, %(jobs)s)) ids
"""
STEPS_OF_JOBS = """
insert into stepwell.checkpoints (tenant_id, job_id, seq, parent_seq, kind, name, job_class, work,
  state, epoch, worker_id, ready_at, claimed_at, committed_at, input, output)
select j.tenant_id, j.id, n, nullif(n - 1, 0), 'function', 'step.past.one', 'default', 'waits',
       'committed', 1, gen_random_uuid(), j.created_at, j.created_at, j.finished_at,
       jsonb_build_object('position', n - 1), to_jsonb(repeat('x', 200))
  from stepwell.jobs j, generate_series(1, %(steps)s) n
 where j.agent = 'past'
"""
EVENTS_OF_JOBS = """
insert into stepwell.events (tenant_id, job_id, id, type, at)
select j.tenant_id, j.id, n, 'step.completed', j.created_at
  from stepwell.jobs j, generate_series(1, 3) n
 where j.agent = 'past'
"""


def put_down(admin_url: str, jobs: int) -> int:
    """Put down that many ended jobs of ten steps; returns how many rows there are."""
    given = {"tenant": DEFAULT_TENANT, "jobs": jobs, "steps": STEPS}
    with psycopg.connect(admin_url, autocommit=True) as admin:
        for statement in (JOBS, STEPS_OF_JOBS, EVENTS_OF_JOBS):
            admin.execute(statement, given)
        admin.execute("vacuum analyze")
    return jobs * (1 + STEPS + 3)
