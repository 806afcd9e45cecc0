-- wake_wait: the one place that closes a wait and makes its step ready again.
--
-- Whoever comes second, in whatever way, finds the wait closed and changes nothing: a step is woken
-- once. False then.
create or replace function stepwell.wake_wait(
  p_tenant uuid, p_job uuid, p_seq int, p_n int, p_state text, p_result jsonb, p_by text
) returns boolean language plpgsql as $$
declare
  job record;
  wait record;
  v_name text;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  select j.event_seq into job from stepwell.jobs j
   where j.tenant_id = p_tenant and j.id = p_job
     for no key update;
  update stepwell.waits w
     set state = p_state, result = p_result, decided_by = p_by, closed_at = now()
   where w.tenant_id = p_tenant and w.job_id = p_job and w.seq = p_seq and w.n = p_n
     and w.state = 'pending'
  returning w.kind, w.name into wait;
  if not found then return false; end if;

  update stepwell.checkpoints c
     set state = 'ready', ready_at = now(), rung_at = null
   where c.tenant_id = p_tenant and c.job_id = p_job and c.seq = p_seq and c.state = 'waiting'
  returning c.name into v_name;
  if not found then
    raise exception using message = 'a step has a pending wait and is not waiting';
  end if;

  insert into stepwell.events (tenant_id, job_id, id, type, data)
  values (p_tenant, p_job, job.event_seq + 1, 'step.woken', jsonb_build_object(
    'seq', p_seq, 'name', v_name, 'for', wait.kind, 'what', wait.name, 'how', p_state));
  update stepwell.jobs j
     set event_seq = j.event_seq + 1,
         status = case j.status when 'input_required' then 'queued' else j.status end,
         status_reason = null, status_until = null, waiting_for = null
   where j.tenant_id = p_tenant and j.id = p_job;
  return true;
end $$;
