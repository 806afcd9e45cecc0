-- fire_tick: what becomes of one tick of a schedule, and which tick is next; once, whoever comes first.
--
--   p_from     the tick that the caller believes to be next; with another one, nothing is done
--   p_tick     the tick itself; later than p_from when those before it are missed along with it
--   p_job      the id of its job; null: it was missed, and makes none
--
-- The schedule is held for the time of this statement, so the tick, its job, the job's first steps and the
-- next moment are there together or not at all. A schedule that somebody else holds, or has taken further,
-- or paused, is left alone, so any number of schedulers may ask at once. Only the clock of the database
-- says that it is time, and next_tick_at only grows: a clock that goes backwards fires nothing twice.
-- The key of the tick (tick_fires_once) and that of its job would each be enough. Returns what became of
-- it ('fired', 'waiting', 'skipped'), or 'taken'.
create or replace function stepwell.fire_tick(
  p_tenant uuid, p_schedule uuid, p_from timestamptz, p_tick timestamptz, p_missed int, p_job uuid,
  p_next_tick timestamptz, p_next timestamptz
) returns text language plpgsql as $$
declare
  v_became text := 'skipped';
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  perform from stepwell.schedules s
   where s.tenant_id = p_tenant and s.id = p_schedule and s.next_tick_at = p_from
     and s.next_at <= now() and s.paused_at is null
     for no key update skip locked;
  if not found then return 'taken'; end if;

  if p_job is null then
    insert into stepwell.ticks (tenant_id, schedule_id, tick_at, state, reason, missed)
    values (p_tenant, p_schedule, p_tick, 'skipped', 'missed', p_missed)
    on conflict on constraint tick_fires_once do nothing;
  else
    v_became := stepwell.settle_tick(p_tenant, p_schedule, p_tick, p_job);
  end if;
  update stepwell.schedules s
     set next_tick_at = p_next_tick, next_at = p_next, last_tick_at = p_tick, replaced_tick_at = null
   where s.tenant_id = p_tenant and s.id = p_schedule;
  return v_became;
end $$;
