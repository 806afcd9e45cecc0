-- claim_step: the right to run one step, taken with everything the step needs.
--
-- A step that is not ready, a job that has ended, is being cancelled or is past its deadline, or a
-- worker that is not live any more gives no row: go away, somebody else has it or nobody wants it. The
-- epoch grows with every claim; whoever holds an older one can no longer write.
--
-- Only the step's own row decides, so a claim that changes nothing else needs no lock on the job: a
-- cancel or an ending that comes at the same moment either finds the step running and waits for it
-- to come in, or has cancelled it, and then it is not ready. The job is locked, before the step as
-- everywhere, when its row has to change: for its first step, after a retry, or when p_tells says
-- that people should be told of the start (a step that is known to be quick is told of when done).
--
-- A step whose row somebody else is changing is not waited for. Whoever claims it, settles it or
-- rings for it at this moment needs no help, and waiting with the job locked for one who is about to
-- want the job would be a deadlock.
--
-- `state || ''` keeps the planner to the step's key. With the figures of a quiet hour it takes the ready
-- steps for almost none, and walks the index of all of them. So with the running ones, elsewhere.
--
-- A ready step of a job that is over (its worker died after a sibling had ended the job) is
-- cancelled here, or it would be rung for ever.
--
-- A step that was woken brings what it waited for along, until a commit, a start or the next wait has
-- made use of it.
create or replace function stepwell.claim_step(
  p_tenant uuid, p_job uuid, p_seq int, p_worker uuid, p_tells boolean
) returns table (
  kind text, name text, work text, epoch int, attempts int, losses int, input jsonb,
  parent_seq int, parent_output jsonb,
  agent text, agent_version text, model text, job_class text, origin text, job_input jsonb,
  effect_key text, effect_epoch int, wait_n int, wait_kind text, wait_name text, wait_state text,
  wait_result jsonb, wait_fallback jsonb, parent_job_id uuid, deadline_in_s double precision,
  note jsonb, origins_above text[], root_id uuid, requester text, roles text[], is_budgeted boolean
) language plpgsql as $$
#variable_conflict use_column
declare
  job record;
  step record;
  woken stepwell.waits;
  v_event int;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  select * into job from stepwell.jobs j where j.tenant_id = p_tenant and j.id = p_job;
  if p_tells or job.status <> 'running' then
    select * into job from stepwell.jobs j
     where j.tenant_id = p_tenant and j.id = p_job
       for no key update;
    p_tells := true;
  end if;
  if job.finished_at is not null or job.cancel_requested_at is not null
     or job.deadline_at <= now() then
    if exists (select from stepwell.checkpoints c
                where c.tenant_id = p_tenant and c.job_id = p_job and c.seq = p_seq
                  and c.state || '' = 'ready') then
      perform stepwell.stop_job(p_tenant, p_job);
    end if;
    return;
  end if;

  update stepwell.checkpoints c
     set state = 'running', epoch = c.epoch + 1, worker_id = p_worker, claimed_at = now()
   where c.ctid = (
           select ready.ctid from stepwell.checkpoints ready
            where ready.tenant_id = p_tenant and ready.job_id = p_job and ready.seq = p_seq
              and ready.state || '' = 'ready' and ready.ready_at <= now()
              for no key update skip locked)
     and exists (select from stepwell.workers w where w.id = p_worker and w.state = 'live')
  returning c.* into step;
  if not found then return; end if;

  if p_tells then
    v_event := job.event_seq + 1;
    if job.started_at is null then
      insert into stepwell.events (tenant_id, job_id, id, type)
      values (p_tenant, p_job, v_event, 'job.started');
      v_event := v_event + 1;
    end if;
    insert into stepwell.events (tenant_id, job_id, id, type, data)
    values (p_tenant, p_job, v_event, 'step.started', jsonb_build_object(
      'seq', p_seq, 'name', step.name, 'attempt', step.attempts + step.losses + 1));
    update stepwell.jobs j
       set status = 'running', status_reason = null, status_until = null, waiting_for = null,
           started_at = coalesce(j.started_at, now()), event_seq = v_event
     where j.tenant_id = p_tenant and j.id = p_job;
  end if;

  if step.waits > 0 then
    select * into woken from stepwell.waits w
     where w.tenant_id = p_tenant and w.job_id = p_job and w.seq = p_seq and w.n = step.waits
       and w.closed_at is not null and w.consumed_at is null;
  end if;

  return query select
    step.kind::text, step.name, step.work::text, step.epoch, step.attempts, step.losses, step.input,
    step.parent_seq,
    case when step.kind = 'function' then (
      select parent.output from stepwell.checkpoints parent
       where parent.tenant_id = p_tenant and parent.job_id = p_job and parent.seq = step.parent_seq
    ) end,
    job.agent, job.agent_version, job.model, job.job_class::text, job.origin::text, job.input,
    step.effect_key, step.effect_epoch, woken.n, woken.kind::text, woken.name, woken.state::text,
    woken.result, woken.fallback, job.parent_job_id,
    extract(epoch from job.deadline_at - clock_timestamp())::double precision, step.error,
    job.origins_above, job.root_id, job.requester, job.roles,
    exists (select from stepwell.budgets b
             where b.tenant_id = p_tenant and b.owner_id in (p_job, job.root_id, p_tenant));
end $$;
