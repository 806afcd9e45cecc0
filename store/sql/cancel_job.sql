-- cancel_job: ask a job to end; it ends now when none of its steps is running (see stop_job).
--
-- Asking twice, or too late, changes nothing. Returns whether there is such a job.
create or replace function stepwell.cancel_job(p_tenant uuid, p_job uuid)
returns boolean language plpgsql as $$
declare
  v_event int;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  update stepwell.jobs j set cancel_requested_at = now(), event_seq = j.event_seq + 1
   where j.tenant_id = p_tenant and j.id = p_job
     and j.finished_at is null and j.cancel_requested_at is null
  returning j.event_seq into v_event;
  if found then
    insert into stepwell.events (tenant_id, job_id, id, type)
    values (p_tenant, p_job, v_event, 'job.cancel_requested');
  end if;
  perform stepwell.stop_job(p_tenant, p_job);
  return exists (select from stepwell.jobs j where j.tenant_id = p_tenant and j.id = p_job);
end $$;
