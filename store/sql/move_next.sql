-- move_next: the job of a tick moves the next run of its own schedule, once.
--
-- The run comes in place of the tick that was next, which is kept: the rhythm goes on after both of them.
-- If it went on after the moved run alone, that one would be extra, and a job could multiply.
--
-- The same call (p_key) again changes nothing. 'moved', 'again' when the job has moved it before, 'past' for
-- a moment that is not to come, 'ended' when no run is to come, 'missing' when no schedule made the job.
create or replace function stepwell.move_next(
  p_tenant uuid, p_job uuid, p_next_tick timestamptz, p_key text
) returns text language plpgsql as $$
declare
  schedule record;
  tick record;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  select s.id, s.next_tick_at into schedule from stepwell.schedules s
   where s.tenant_id = p_tenant and s.id = (
           select t.schedule_id from stepwell.ticks t
            where t.tenant_id = p_tenant and t.job_id = p_job)
     for no key update;
  if not found then return 'missing'; end if;
  select t.moved_by into tick from stepwell.ticks t
   where t.tenant_id = p_tenant and t.job_id = p_job
     for no key update;
  if tick.moved_by = p_key then return 'moved'; end if;
  if tick.moved_by is not null then return 'again'; end if;
  if schedule.next_tick_at is null then return 'ended'; end if;
  if p_next_tick <= now() then return 'past'; end if;

  update stepwell.schedules s
     set next_tick_at = p_next_tick, next_at = p_next_tick,
         replaced_tick_at = coalesce(s.replaced_tick_at, s.next_tick_at)
   where s.tenant_id = p_tenant and s.id = schedule.id;
  update stepwell.ticks t set moved_by = p_key
   where t.tenant_id = p_tenant and t.job_id = p_job;
  return 'moved';
end $$;
