-- claim_step: the right to run one step, taken with everything the step needs.
--
-- The job's row is locked first, here and in every other transition, so no two of them can wait
-- for each other. A step that is not ready, a job that has ended or is being cancelled, or a
-- worker that is not live any more gives no row: go away, somebody else has it or nobody wants it.
-- The epoch grows with every claim; whoever holds an older one can no longer write.
--
-- A ready step of a job that is over (its worker died after a sibling had ended the job) is
-- cancelled here, or it would be rung for ever.
create or replace function stepwell.claim_step(
  p_tenant uuid, p_job uuid, p_seq int, p_worker uuid
) returns table (
  kind text, name text, work text, epoch int, attempts int, losses int, input jsonb,
  parent_seq int, parent_output jsonb,
  agent text, agent_version text, model text, job_class text, origin text, job_input jsonb
) language plpgsql as $$
#variable_conflict use_column
declare
  job record;
  step record;
  first_event int;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  select * into job from stepwell.jobs j
   where j.tenant_id = p_tenant and j.id = p_job
     and j.finished_at is null and j.cancel_requested_at is null
     for no key update;
  if not found then
    if exists (select from stepwell.checkpoints c
                where c.tenant_id = p_tenant and c.job_id = p_job and c.seq = p_seq
                  and c.state = 'ready') then
      perform stepwell.cancel_job(p_tenant, p_job);
    end if;
    return;
  end if;

  update stepwell.checkpoints c
     set state = 'running', epoch = c.epoch + 1, worker_id = p_worker, claimed_at = now()
   where c.tenant_id = p_tenant and c.job_id = p_job and c.seq = p_seq
     and c.state = 'ready' and c.ready_at <= now()
     and exists (select from stepwell.workers w where w.id = p_worker and w.state = 'live')
  returning c.* into step;
  if not found then return; end if;

  first_event := job.event_seq + 1;
  if job.started_at is null then
    insert into stepwell.events (tenant_id, job_id, id, type)
    values (p_tenant, p_job, first_event, 'job.started');
    first_event := first_event + 1;
  end if;
  insert into stepwell.events (tenant_id, job_id, id, type, data)
  values (p_tenant, p_job, first_event, 'step.started', jsonb_build_object(
    'seq', p_seq, 'name', step.name, 'attempt', step.attempts + step.losses + 1));

  update stepwell.jobs j
     set status = 'running', status_reason = null, status_until = null,
         started_at = coalesce(j.started_at, now()), event_seq = first_event
   where j.tenant_id = p_tenant and j.id = p_job;

  return query select
    step.kind, step.name, step.work, step.epoch, step.attempts, step.losses, step.input,
    step.parent_seq,
    case when step.kind = 'function' then (
      select parent.output from stepwell.checkpoints parent
       where parent.tenant_id = p_tenant and parent.job_id = p_job and parent.seq = step.parent_seq
    ) end,
    job.agent, job.agent_version, job.model, job.job_class, job.origin, job.input;
end $$;
