-- commit_step: settle one step and decide what comes next, in one transaction and one round trip.
--
-- The fence is the `where` of the first update: the step must still be running under this epoch (for
-- `state || ''` see claim_step).
-- When it is not, nothing at all is written and `settled` is false: the caller is a zombie.
--
--   p_plan     the steps that come next, an array of {kind, name, work, input}; one that has an
--              approval besides is born waiting for it (ask_planned)
--   p_joining  plan them only when no other step of the job is outstanding (the last parallel
--              tool step to come in plans the next model step; its siblings plan nothing)
--   p_inline   the caller goes on with the only next step itself: it is born running, with epoch 1
--   p_ending   {status, reason, output, error}: the job ends here, and its ready steps with it
--
-- What was left out because it was optional is in the event, and is kept on the job. A call that was
-- refused is in the event, and is an event of its own.
--
-- A cancel that was asked for meanwhile, or a deadline that has passed, wins over the plan, and takes
-- effect when the last running step has come in. A job that fails leaves a dead letter; one that ends
-- for whatever reason cancels the children that it still has.
--
-- The usual case, a step after which the job goes on, needs one update of the job's row; whatever is
-- rarer (an ending, a cancel, a sibling that is not the last) reads the row under its lock first. A
-- running step's row is wanted by nobody else who holds the job, so it may be locked before the job.
create or replace function stepwell.commit_step(
  p_tenant uuid, p_job uuid, p_seq int, p_epoch int, p_worker uuid,
  p_state text, p_output jsonb, p_error jsonb, p_event jsonb, p_usage jsonb,
  p_plan jsonb, p_joining boolean, p_inline boolean, p_ending jsonb
) returns table (settled boolean, job_status text, first_seq int, planned int)
language plpgsql as $$
#variable_conflict use_column
declare
  job record;
  step record;
  v_left int;
  v_planned int := 0;
  v_status text;
  v_event int;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  update stepwell.checkpoints c
     set state = p_state, output = p_output, error = p_error, committed_at = now()
   where c.tenant_id = p_tenant and c.job_id = p_job and c.seq = p_seq
     and c.epoch = p_epoch and c.state || '' = 'running'
  returning c.name, c.waits into step;
  if not found then
    return query select false, (select j.status::text from stepwell.jobs j
                                 where j.tenant_id = p_tenant and j.id = p_job), 0, 0;
    return;
  end if;

  if step.waits > 0 then
    perform stepwell.consume_wait(p_tenant, p_job, p_seq, p_epoch);
  end if;

  if p_event ?| array['guards', 'taint'] then
    p_event := stepwell.keep_verdicts(p_tenant, p_job, p_seq, p_epoch, p_event);
  end if;

  if p_event ? 'degraded' then
    update stepwell.jobs j
       set degraded = coalesce(j.degraded, '[]') || jsonb_build_array(p_event -> 'degraded')
     where j.tenant_id = p_tenant and j.id = p_job;
  end if;

  if p_event ? 'refused' then
    perform stepwell.tell_event(p_tenant, p_job, 'call.refused', p_event -> 'refused');
  end if;

  if p_usage is not null then
    insert into stepwell.usage (
      tenant_id, job_id, seq, model, requests, input_tokens, output_tokens, cost_usd)
    values (p_tenant, p_job, p_seq, p_usage ->> 'model', (p_usage ->> 'requests')::int,
            (p_usage ->> 'input_tokens')::bigint, (p_usage ->> 'output_tokens')::bigint,
            (p_usage ->> 'cost_usd')::numeric);
  end if;

  v_planned := coalesce(jsonb_array_length(p_plan), 0);
  -- Twice at most: two last siblings may each see the other outstanding, until one has the lock.
  for v_try in 1 .. 2 loop
    exit when p_plan is null and v_try = 2;
    update stepwell.jobs j
       set outstanding = j.outstanding - 1 + v_planned, next_seq = j.next_seq + v_planned,
           steps_done = j.steps_done + 1, event_seq = j.event_seq + 1
     where j.tenant_id = p_tenant and j.id = p_job and p_plan is not null
       and j.finished_at is null and j.cancel_requested_at is null
       and (j.deadline_at is null or j.deadline_at > now())
       and (j.outstanding = 1 or not p_joining)
    returning j.status, j.job_class, j.next_seq - v_planned as first_seq, j.event_seq into job;
    if found then
      insert into stepwell.events (tenant_id, job_id, id, type, data)
      values (p_tenant, p_job, job.event_seq, 'step.completed', p_event);
      insert into stepwell.checkpoints (
        tenant_id, job_id, seq, parent_seq, kind, name, job_class, work, input,
        state, epoch, worker_id, claimed_at, rung_at, waits)
      select p_tenant, p_job, job.first_seq + step.n::int - 1, p_seq,
             step.value ->> 'kind', step.value ->> 'name', job.job_class, step.value ->> 'work',
             step.value -> 'input',
             case when p_inline then 'running' when step.value ? 'approval' then 'waiting'
                  else 'ready' end,
             case when p_inline then 1 else 0 end,
             case when p_inline then p_worker end,
             case when p_inline then now() end,
             case when p_inline then null else now() end,
             (step.value ? 'approval')::int
        from jsonb_array_elements(p_plan) with ordinality as step (value, n);
      if p_plan @? '$[*].approval' then
        perform stepwell.ask_planned(p_tenant, p_job, job.first_seq, p_plan);
      end if;
      return query select true, job.status::text, job.first_seq, v_planned;
      return;
    end if;
    select j.status, j.outstanding, j.next_seq, j.event_seq, j.finished_at, j.children, j.agent,
           j.cancel_requested_at is not null or coalesce(j.deadline_at <= now(), false) as is_stopping
      into job
      from stepwell.jobs j
     where j.tenant_id = p_tenant and j.id = p_job
       for no key update;
  end loop;

  v_left := job.outstanding - 1;

  if job.finished_at is not null then
    -- The job ended while this step was running: its result is kept, its story is over.
    update stepwell.jobs j set outstanding = v_left
     where j.tenant_id = p_tenant and j.id = p_job;
    return query select true, job.status::text, 0, 0;
    return;
  end if;

  v_event := job.event_seq + 1;
  insert into stepwell.events (tenant_id, job_id, id, type, data)
  values (p_tenant, p_job, v_event,
          case p_state when 'committed' then 'step.completed' else 'step.failed' end, p_event);

  if p_ending is null then
    update stepwell.jobs j
       set outstanding = v_left, steps_done = j.steps_done + 1, event_seq = v_event
     where j.tenant_id = p_tenant and j.id = p_job;
    if job.is_stopping then
      perform stepwell.stop_job(p_tenant, p_job);
    else
      perform stepwell.rest_job(p_tenant, p_job);
    end if;
    return query select true, j.status::text, job.next_seq, 0 from stepwell.jobs j
                  where j.tenant_id = p_tenant and j.id = p_job;
    return;
  end if;

  v_status := p_ending ->> 'status';
  v_event := v_event + 1;
  insert into stepwell.events (tenant_id, job_id, id, type, data)
  values (p_tenant, p_job, v_event, 'job.' || v_status,
          case when p_ending ? 'error' then jsonb_build_object('error', p_ending -> 'error')
               else '{}' end);
  update stepwell.jobs j
     set status = v_status, status_reason = p_ending ->> 'reason', status_until = null,
         waiting_for = null, outstanding = v_left, steps_done = j.steps_done + 1,
         event_seq = v_event, finished_at = now(),
         output = p_ending -> 'output', error = p_ending -> 'error'
   where j.tenant_id = p_tenant and j.id = p_job;
  if v_status = 'failed' then
    perform stepwell.bury_job(p_tenant, p_job, p_seq, step.name, job.agent, p_ending -> 'error');
  end if;
  if v_left > 0 or job.children > 0 then
    perform stepwell.stop_job(p_tenant, p_job);
  end if;
  return query select true, v_status, job.next_seq, 0;
end $$;
