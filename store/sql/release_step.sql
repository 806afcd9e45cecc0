-- release_step: give a claimed step back, to be claimed again after p_delay_s seconds.
--
-- p_burns says whether this was a try that failed (a retry verdict) or only a worker that is
-- leaving (a drain): a drain must not use up the step's tries. Fenced like a commit, and like there the
-- step is locked before its job. A try that may be repeated has had no effect that matters, so the mark
-- of its beginning goes with it; so it does when p_undone says that nothing has happened.
create or replace function stepwell.release_step(
  p_tenant uuid, p_job uuid, p_seq int, p_epoch int,
  p_delay_s double precision, p_burns boolean, p_reason text, p_error jsonb,
  p_undone boolean default false
) returns boolean language plpgsql as $$
declare
  job record;
  v_until timestamptz := now() + make_interval(secs => p_delay_s);
  v_name text;
  v_attempts int;
  v_awake int;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  update stepwell.checkpoints c
     set state = 'ready', worker_id = null, ready_at = v_until, rung_at = null,
         attempts = c.attempts + p_burns::int, error = p_error,
         effect_epoch = case when not (p_burns or p_undone) then c.effect_epoch end,
         effect_started_at = case when not (p_burns or p_undone) then c.effect_started_at end
   where c.tenant_id = p_tenant and c.job_id = p_job and c.seq = p_seq
     and c.epoch = p_epoch and c.state || '' = 'running'
  returning c.name, c.attempts into v_name, v_attempts;
  if not found then return false; end if;

  select j.outstanding, j.event_seq, j.finished_at is not null or j.cancel_requested_at is not null
         or coalesce(j.deadline_at <= now(), false) as is_stopping into job
    from stepwell.jobs j
   where j.tenant_id = p_tenant and j.id = p_job
     for no key update;

  if job.is_stopping then
    -- Nobody will want this step again.
    perform stepwell.stop_job(p_tenant, p_job);
    return true;
  end if;

  if p_burns then
    insert into stepwell.events (tenant_id, job_id, id, type, data)
    values (p_tenant, p_job, job.event_seq + 1, 'step.retry_scheduled', jsonb_build_object(
      'seq', p_seq, 'name', v_name, 'attempt', v_attempts, 'until', v_until, 'error', p_error));
  end if;
  -- The others may all be parked; then this one is all that was going on.
  select job.outstanding - count(*) into v_awake from stepwell.waits w
   where w.tenant_id = p_tenant and w.job_id = p_job and w.state = 'pending';
  update stepwell.jobs j
     set event_seq = j.event_seq + p_burns::int,
         status = case when v_awake = 1 then 'queued' else j.status end,
         status_reason = case when v_awake = 1 then p_reason else j.status_reason end,
         status_until = case when v_awake = 1 then v_until else j.status_until end
   where j.tenant_id = p_tenant and j.id = p_job;
  return true;
end $$;
