-- park_step: let go of a running step until something comes: a time, a signal, children, a person.
--
-- A parked step holds nothing. Fenced like a commit, and like there the step is locked before its job.
-- Whoever sends a signal holds the job, as this does, so a signal is either here already and taken at
-- once, or finds the wait (no_lost_wake). Children appear in the same transaction as the wait for them.
--
--   p_wait      {kind, name, prompt, fallback, and wake_in_s or wake_at, and approval (ask_approval), and
--               guards and taint (keep_verdicts)}
--   p_children  [{id, agent, agent_version, input, input_tainted, deadline_in_s, budget, steps: [..]}]
--   p_bounds    {depth, children, descendants}: how deep a job's line may be, how many jobs one job may
--               ask for, and how many a root may have below it
--
-- 'parked'; 'woken' when what it waits for was there already, and the step is ready again; 'stopped'
-- when the job is to end; 'refused' when the children would be too deep or too many: the step goes on
-- as it was, and the job's story says which bound it was; null when the claim is not the latest.
create or replace function stepwell.park_step(
  p_tenant uuid, p_job uuid, p_seq int, p_epoch int,
  p_wait jsonb, p_children jsonb, p_bounds jsonb
) returns text language plpgsql as $$
declare
  job record;
  step record;
  signal record;
  v_descendants int;
  v_passed text;
  v_count int := coalesce(jsonb_array_length(p_children), 0);
  v_wake_at timestamptz := coalesce(
    (p_wait ->> 'wake_at')::timestamptz,
    now() + make_interval(secs => (p_wait ->> 'wake_in_s')::double precision));
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  perform from stepwell.checkpoints c
   where c.tenant_id = p_tenant and c.job_id = p_job and c.seq = p_seq
     and c.epoch = p_epoch and c.state || '' = 'running'
     for no key update;
  if not found then return null; end if;
  if v_count > 0 then
    -- The bound is one of the whole line: whoever adds to it locks its first job, parent before child.
    perform from stepwell.jobs root
      join stepwell.jobs j on j.tenant_id = root.tenant_id and j.root_id = root.id
     where j.tenant_id = p_tenant and j.id = p_job
       for no key update of root;
  end if;
  select *, j.finished_at is not null or j.cancel_requested_at is not null
            or coalesce(j.deadline_at <= now(), false) as is_stopping into job
    from stepwell.jobs j
   where j.tenant_id = p_tenant and j.id = p_job
     for no key update;

  if v_count > 0 then
    select count(*) into v_descendants from stepwell.jobs j
     where j.tenant_id = p_tenant and j.root_id = job.root_id and j.parent_job_id is not null;
    v_passed := case
      when cardinality(job.origins_above) + 1 > (p_bounds ->> 'depth')::int then 'depth'
      when job.children + v_count > (p_bounds ->> 'children')::int then 'children'
      when v_descendants + v_count > (p_bounds ->> 'descendants')::int then 'descendants'
    end;
    if v_passed is not null then
      perform stepwell.tell_event(p_tenant, p_job, 'children.refused', jsonb_build_object(
        'seq', p_seq, 'asked', v_count, 'bound', v_passed, 'max', (p_bounds ->> v_passed)::int));
      return 'refused';
    end if;
  end if;

  update stepwell.checkpoints c
     set state = 'waiting', worker_id = null, waits = c.waits + 1
   where c.tenant_id = p_tenant and c.job_id = p_job and c.seq = p_seq
  returning c.name, c.waits into step;
  if job.is_stopping then
    perform stepwell.stop_job(p_tenant, p_job);
    return 'stopped';
  end if;
  if step.waits > 1 then
    perform stepwell.consume_wait(p_tenant, p_job, p_seq, p_epoch);
  end if;

  if p_wait ?| array['guards', 'taint'] then
    perform stepwell.keep_verdicts(p_tenant, p_job, p_seq, p_epoch, p_wait);
  end if;
  insert into stepwell.waits (
    tenant_id, job_id, seq, n, kind, name, prompt, state, fallback, wake_at)
  values (p_tenant, p_job, p_seq, step.waits, p_wait ->> 'kind', p_wait ->> 'name',
          p_wait -> 'prompt', 'pending', p_wait -> 'fallback', v_wake_at);
  insert into stepwell.events (tenant_id, job_id, id, type, data)
  values (p_tenant, p_job, job.event_seq + 1, 'step.waiting', jsonb_build_object(
    'seq', p_seq, 'name', step.name, 'for', p_wait ->> 'kind', 'what', p_wait ->> 'name',
    'until', v_wake_at));
  update stepwell.jobs j
     set event_seq = j.event_seq + 1, children = j.children + v_count
   where j.tenant_id = p_tenant and j.id = p_job;

  if v_count > 0 then
    perform stepwell.bear_children(p_tenant, p_job, p_seq, p_children);
    perform stepwell.lend_budgets(p_tenant, p_job, p_children);
  end if;
  if p_wait ? 'approval' and stepwell.ask_approval(
       p_tenant, p_job, p_seq, step.waits, p_wait -> 'approval') then
    return 'woken';
  end if;
  if p_wait ->> 'kind' = 'signal' then
    select s.id, s.payload into signal from stepwell.signals s
     where s.tenant_id = p_tenant and s.job_id = p_job and s.name = p_wait ->> 'name'
       and s.consumed_at is null
     order by s.sent_at, s.id
     limit 1;
    if found then
      perform stepwell.take_signal(p_tenant, p_job, signal.id, p_seq, step.waits);
      return 'woken';
    end if;
  end if;
  perform stepwell.rest_job(p_tenant, p_job);
  return 'parked';
end $$;
