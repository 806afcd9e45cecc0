-- send_signal: something from outside for a job: kept until a step waits for it, or waited for already.
--
-- The same key is the same signal, however often it is sent. 'accepted', 'duplicate', 'ended' when the
-- job is over, 'full' when p_unread_max of them wait unread, 'missing' when there is no such job.
create or replace function stepwell.send_signal(
  p_tenant uuid, p_job uuid, p_id uuid, p_name text, p_key text, p_payload jsonb, p_unread_max int
) returns text language plpgsql as $$
declare
  job record;
  wait record;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  select j.finished_at into job from stepwell.jobs j
   where j.tenant_id = p_tenant and j.id = p_job
     for no key update;
  if not found then return 'missing'; end if;
  if exists (select from stepwell.signals s
              where s.tenant_id = p_tenant and s.job_id = p_job and s.key = p_key) then
    return 'duplicate';
  end if;
  if job.finished_at is not null then return 'ended'; end if;
  if (select count(*) from stepwell.signals s
       where s.tenant_id = p_tenant and s.job_id = p_job and s.consumed_at is null)
     >= p_unread_max then
    return 'full';
  end if;

  insert into stepwell.signals (tenant_id, job_id, id, name, key, payload)
  values (p_tenant, p_job, p_id, p_name, p_key, p_payload);
  select w.seq, w.n into wait from stepwell.waits w
   where w.tenant_id = p_tenant and w.job_id = p_job and w.state = 'pending'
     and w.kind = 'signal' and w.name = p_name
   order by w.created_at, w.seq
   limit 1;
  if found then
    perform stepwell.take_signal(p_tenant, p_job, p_id, wait.seq, wait.n);
  end if;
  return 'accepted';
end $$;
