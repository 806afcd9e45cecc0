-- bear_tick: put down the job of a tick that waits to be fired, with its first steps.
--
-- What a job of the agent begins with is what the newest live worker says that serves it, or else what was
-- said last; the job then waits for a worker as any other. Its budget, and that of the line it begins, are
-- a part of this: without them, nothing would ever stop the job. It was asked for by whoever made the
-- schedule, through the clock, and is tainted as that one was. Its key is the tick, so the same tick is
-- never a second job. The caller holds the schedule.
create or replace function stepwell.bear_tick(
  p_tenant uuid, p_schedule uuid, p_tick timestamptz, p_job uuid
) returns void language plpgsql as $$
declare
  schedule stepwell.schedules;
  v_begins jsonb;
  v_key text := 'schedule:' || p_schedule || ':' || (extract(epoch from p_tick) * 1000000)::bigint;
begin
  select * into schedule from stepwell.schedules s
   where s.tenant_id = p_tenant and s.id = p_schedule;
  select w.begins -> schedule.agent into v_begins from stepwell.workers w
   where w.state = 'live' and w.begins -> schedule.agent is not null
   order by w.started_at desc
   limit 1;
  v_begins := coalesce(v_begins, schedule.begins);

  insert into stepwell.jobs (
    tenant_id, id, agent, agent_version, model, job_class, origin, origins_above, requester, roles, status,
    outstanding, next_seq, event_seq, idempotency_key, input, root_id, tainted_by,
    input_tainted, deadline_at)
  values (
    p_tenant, p_job, schedule.agent, v_begins ->> 'version', schedule.model, schedule.job_class,
    'schedule', schedule.origins_above, schedule.requester, schedule.roles, 'queued',
    jsonb_array_length(v_begins -> 'steps'), jsonb_array_length(v_begins -> 'steps') + 1, 1, v_key,
    schedule.input, p_job, schedule.tainted_by,
    coalesce(schedule.input_tainted, schedule.tainted_by <> '{}'), now() + make_interval(secs => least(
      schedule.deadline_s, (v_begins ->> 'deadline_s')::double precision)))
  on conflict (tenant_id, idempotency_key) do nothing;
  if found then
    insert into stepwell.checkpoints (
      tenant_id, job_id, seq, kind, name, job_class, work, input, state)
    select p_tenant, p_job, step.n, step.value ->> 'kind', step.value ->> 'name', schedule.job_class,
           step.value ->> 'work', step.value -> 'input', 'ready'
      from jsonb_array_elements(v_begins -> 'steps') with ordinality as step (value, n);
    insert into stepwell.budgets (tenant_id, owner_id, scope, unit, job_id, cap)
    select p_tenant, p_job, scope.key, cap.key, p_job, cap.value::numeric
      from jsonb_each(v_begins -> 'budget') as scope, jsonb_each_text(scope.value) as cap;
    insert into stepwell.events (tenant_id, job_id, id, type, data)
    values (p_tenant, p_job, 1, 'job.queued', jsonb_build_object(
      'agent', schedule.agent, 'class', schedule.job_class, 'schedule', schedule.name,
      'schedule_id', p_schedule, 'tick', p_tick));
  else
    select j.id into p_job from stepwell.jobs j
     where j.tenant_id = p_tenant and j.idempotency_key = v_key;
  end if;

  update stepwell.ticks t set state = 'fired', job_id = p_job, at = now()
   where t.tenant_id = p_tenant and t.schedule_id = p_schedule and t.tick_at = p_tick
     and t.state = 'waiting';
  update stepwell.schedules s set last_job_id = p_job, begins = v_begins
   where s.tenant_id = p_tenant and s.id = p_schedule;
end $$;
