-- cancel_job: ask a job to end; it ends now when none of its steps is running.
--
-- Ready steps are cancelled at once. A running step is never torn: its commit sees the request,
-- plans nothing, and the last one to come in ends the job. Asking twice changes nothing.
create or replace function stepwell.cancel_job(p_tenant uuid, p_job uuid)
returns boolean language plpgsql as $$
declare
  job record;
  v_stopped int;
  v_event int;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  select j.outstanding, j.event_seq, j.finished_at, j.cancel_requested_at into job
    from stepwell.jobs j
   where j.tenant_id = p_tenant and j.id = p_job
     for no key update;
  if not found then return false; end if;

  update stepwell.checkpoints c
     set state = 'cancelled', committed_at = now()
   where c.tenant_id = p_tenant and c.job_id = p_job and c.state = 'ready';
  get diagnostics v_stopped = row_count;

  if job.finished_at is not null then
    update stepwell.jobs j set outstanding = j.outstanding - v_stopped
     where j.tenant_id = p_tenant and j.id = p_job and v_stopped > 0;
    return true;
  end if;

  v_event := job.event_seq;
  if job.cancel_requested_at is null then
    v_event := v_event + 1;
    insert into stepwell.events (tenant_id, job_id, id, type)
    values (p_tenant, p_job, v_event, 'job.cancel_requested');
  end if;
  if job.outstanding = v_stopped then
    v_event := v_event + 1;
    insert into stepwell.events (tenant_id, job_id, id, type)
    values (p_tenant, p_job, v_event, 'job.cancelled');
  end if;
  update stepwell.jobs j
     set cancel_requested_at = coalesce(j.cancel_requested_at, now()),
         outstanding = j.outstanding - v_stopped, event_seq = v_event,
         status = case when j.outstanding = v_stopped then 'cancelled' else j.status end,
         finished_at = case when j.outstanding = v_stopped then now() end,
         status_reason = null, status_until = null
   where j.tenant_id = p_tenant and j.id = p_job;
  return true;
end $$;
