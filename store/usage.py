"""Usage: what a job spent at model providers, in their own figures, and how often it had to try."""

from __future__ import annotations

from sqlalchemy import Connection, text

from store.rows import JobRow, UsageTotals

# Tries are counted over the job's line, as a retry costs the same wherever in it; steps that wait
# for their first try do not count.
_TOTAL = text(
    """
    select coalesce(sum(u.requests), 0)::int as requests,
           coalesce(sum(u.input_tokens), 0)::bigint as input_tokens,
           coalesce(sum(u.output_tokens), 0)::bigint as output_tokens,
           case when count(*) filter (where u.cost_usd is null) = 0 then sum(u.cost_usd) end
             as cost_usd,
           (select sum(c.attempts + c.losses + (c.state in ('committed', 'failed'))::int)::float8
                     / nullif(count(*), 0)
              from stepwell.jobs j
              join stepwell.checkpoints c on c.tenant_id = j.tenant_id and c.job_id = j.id
             where j.tenant_id = current_setting('stepwell.tenant_id')::uuid
               and (j.id = :root or (j.root_id = :root and j.parent_job_id is not null))
               and (c.attempts + c.losses > 0 or c.state in ('committed', 'failed')))
             as amplification
      from stepwell.usage u
     where u.tenant_id = current_setting('stepwell.tenant_id')::uuid and u.job_id = :job
    """
)


def total(tx: Connection, job: JobRow) -> UsageTotals:
    """The sum over a job's steps; the cost is None as soon as one price is unknown."""
    row = tx.execute(_TOTAL, {"job": job.id, "root": job.root_id}).one()
    return UsageTotals(**row._mapping)
