-- tell_event: add one line to the story of a job that has not ended.
create or replace function stepwell.tell_event(p_tenant uuid, p_job uuid, p_type text, p_data jsonb)
returns int language plpgsql as $$
declare
  v_id int;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);
  update stepwell.jobs j set event_seq = j.event_seq + 1
   where j.tenant_id = p_tenant and j.id = p_job and j.finished_at is null
  returning j.event_seq into v_id;
  if found then
    insert into stepwell.events (tenant_id, job_id, id, type, data)
    values (p_tenant, p_job, v_id, p_type, p_data);
  end if;
  return v_id;
end $$;
