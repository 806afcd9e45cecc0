-- sweep_cancelled: end the jobs whose cancel was asked for while a worker that then died ran them.
-- Runs as the operator, across tenants. Returns how many it ended.
create or replace function stepwell.sweep_cancelled() returns int language sql as $$
  select count(stepwell.cancel_job(j.tenant_id, j.id))::int
    from (select job.tenant_id, job.id from stepwell.jobs job
           where job.cancel_requested_at is not null and job.finished_at is null
             -- What runs comes in by itself, however long it takes.
             and not exists (select from stepwell.checkpoints c
                              where c.tenant_id = job.tenant_id and c.job_id = job.id
                                and c.state = 'running')
           limit 200) j;
$$;
