-- start_waiting: the oldest waiting tick of a schedule gets its job when the job before it is over.
--
-- A schedule that somebody else holds, that is paused, or whose job goes on, is left alone. Returns whether
-- there was one to start.
create or replace function stepwell.start_waiting(p_tenant uuid, p_schedule uuid, p_job uuid)
returns boolean language plpgsql as $$
declare
  v_tick timestamptz;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  perform from stepwell.schedules s
   where s.tenant_id = p_tenant and s.id = p_schedule and s.paused_at is null
     for no key update skip locked;
  if not found then return false; end if;
  -- Asked anew: whoever held the schedule a moment ago may have given it another job.
  select min(t.tick_at) into v_tick
    from stepwell.ticks t
    join stepwell.schedules s on s.tenant_id = t.tenant_id and s.id = t.schedule_id
   where t.tenant_id = p_tenant and t.schedule_id = p_schedule and t.state = 'waiting'
     and not exists (
       select from stepwell.jobs j
        where j.tenant_id = p_tenant and j.id = s.last_job_id and j.finished_at is null);
  if v_tick is null then return false; end if;
  perform stepwell.bear_tick(p_tenant, p_schedule, v_tick, p_job);
  return true;
end $$;
