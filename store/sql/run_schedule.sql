-- run_schedule: a tick that a person asks for now, outside of the rhythm; overlaps are treated as always.
--
-- The rhythm goes on as it was, and a paused schedule stays paused. Returns the moment of the tick; null
-- when there is no such schedule.
create or replace function stepwell.run_schedule(p_tenant uuid, p_schedule uuid, p_job uuid)
returns timestamptz language plpgsql as $$
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  perform from stepwell.schedules s
   where s.tenant_id = p_tenant and s.id = p_schedule
     for no key update;
  if not found then return null; end if;
  perform stepwell.settle_tick(p_tenant, p_schedule, now(), p_job);
  return now();
end $$;
