-- sweep_cancelled: end the jobs whose cancel was asked for while a worker that then died ran them.
-- Runs as the operator, across tenants. Returns how many it looked at.
create or replace function stepwell.sweep_cancelled() returns int language sql as $$
  select count(stepwell.cancel_job(j.tenant_id, j.id))::int
    from (select tenant_id, id from stepwell.jobs
           where cancel_requested_at is not null and finished_at is null
           limit 200) j;
$$;
