-- settle_tick: what becomes of a tick by what its schedule says of jobs that overlap. It is written once.
--
-- Busy is a schedule whose last job goes on, or whose earlier ticks wait for that. The caller holds the
-- schedule. 'fired', 'waiting' behind the job that goes on, 'skipped', or 'taken' when the tick is there.
create or replace function stepwell.settle_tick(
  p_tenant uuid, p_schedule uuid, p_tick timestamptz, p_job uuid
) returns text language plpgsql as $$
declare
  c_waiting_max constant int := 100;
  schedule record;
  v_waiting int;
  v_became text := 'fired';
  v_reason text;
begin
  select s.overlap, s.last_job_id, exists (
           select from stepwell.jobs j
            where j.tenant_id = p_tenant and j.id = s.last_job_id and j.finished_at is null) as is_busy
    into schedule
    from stepwell.schedules s where s.tenant_id = p_tenant and s.id = p_schedule;

  if schedule.overlap = 'queue' then
    select count(*) into v_waiting from stepwell.ticks t
     where t.tenant_id = p_tenant and t.schedule_id = p_schedule and t.state = 'waiting';
    if v_waiting >= c_waiting_max then
      v_became := 'skipped';
      v_reason := 'queue_full';
    elsif v_waiting > 0 or schedule.is_busy then
      v_became := 'waiting';
    end if;
  elsif schedule.overlap = 'skip' and schedule.is_busy then
    v_became := 'skipped';
    v_reason := 'overlap';
  end if;

  insert into stepwell.ticks (tenant_id, schedule_id, tick_at, state, reason)
  values (p_tenant, p_schedule, p_tick,
          case v_became when 'fired' then 'waiting' else v_became end, v_reason)
  on conflict on constraint tick_fires_once do nothing;
  if not found then return 'taken'; end if;

  if v_became = 'fired' then
    if schedule.overlap = 'cancel_previous' and schedule.is_busy then
      perform stepwell.cancel_job(p_tenant, schedule.last_job_id);
    end if;
    perform stepwell.bear_tick(p_tenant, p_schedule, p_tick, p_job);
  end if;
  return v_became;
end $$;
