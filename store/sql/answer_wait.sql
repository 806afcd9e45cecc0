-- answer_wait: what a person says to the question of one wait, which is answered once.
--
-- The number of the wait binds the answer to what was shown: a question that was answered, expired or
-- asked anew meanwhile is 'closed'. Going on after a review adopts the agent's new version.
--
-- To say what came of a call that people were asked about is to decide about it once more: making it again,
-- or giving its result, is for those who may decide (may_decide), and goes into the audit. The doubt of a
-- replay is about the call of the job that it was made from, which has the same key, so those who were asked
-- there may speak. To let through what a guard has halted goes into the audit as well.
--
-- Workers and doors of the version before tell no roles, and are taken to have none.
--
-- 'answered'; 'closed'; 'denied' when this person may not say it; 'missing' when there is no such question.
create or replace function stepwell.answer_wait(
  p_tenant uuid, p_job uuid, p_seq int, p_n int, p_answer jsonb, p_by text,
  p_roles text[] default '{}'
) returns text language plpgsql as $$
declare
  job record;
  wait record;
  asked stepwell.approvals;
  v_key text;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  select j.requester into job from stepwell.jobs j
   where j.tenant_id = p_tenant and j.id = p_job
     for no key update;
  select w.kind, w.name, w.state, w.prompt into wait from stepwell.waits w
   where w.tenant_id = p_tenant and w.job_id = p_job and w.seq = p_seq and w.n = p_n
     and w.kind in ('question', 'reconcile', 'review');
  if not found then return 'missing'; end if;
  if wait.kind = 'reconcile' then
    select coalesce(c.effect_key, c.job_id::text || ':' || c.seq) into v_key
      from stepwell.checkpoints c
     where c.tenant_id = p_tenant and c.job_id = p_job and c.seq = p_seq;
    with recursive line as (
      select p_job as id
      union
      select j.forked_from from line
        join stepwell.jobs j on j.tenant_id = p_tenant and j.id = line.id
        join stepwell.checkpoints c
          on c.tenant_id = p_tenant and c.job_id = j.forked_from and c.seq = p_seq
       where coalesce(c.effect_key, c.job_id::text || ':' || c.seq) = v_key
    )
    select a.* into asked from line
      join stepwell.approvals a
        on a.tenant_id = p_tenant and a.job_id = line.id and a.seq = p_seq
     order by a.job_id = p_job desc, a.created_at desc, a.n desc
     limit 1;
    if wait.state = 'pending' and asked.n is not null
       and not stepwell.may_decide(asked.tier, asked.role, job.requester, p_by, p_roles) then
      return 'denied';
    end if;
  end if;
  if not stepwell.wake_wait(p_tenant, p_job, p_seq, p_n, 'answered', p_answer, p_by) then
    return 'closed';
  end if;
  if asked.n is not null then
    perform stepwell.append_audit(p_tenant, jsonb_build_object(
      'kind', 'approval.reconciled', 'job_id', p_job, 'seq', p_seq, 'wait_n', p_n,
      'asked_of', asked.job_id, 'n', asked.n,
      'tool', asked.tool, 'args_sha256', asked.args_sha256, 'decision', p_answer ->> 'decision',
      'result_sha256', encode(sha256(convert_to((p_answer -> 'result')::text, 'UTF8')), 'hex'),
      'by', p_by, 'roles', p_roles));
  end if;
  if wait.kind = 'review' and wait.name = 'guard' then
    perform stepwell.append_audit(p_tenant, jsonb_build_object(
      'kind', 'review.decided', 'job_id', p_job, 'seq', p_seq, 'wait_n', p_n,
      'stage', wait.prompt -> 'stage', 'reason', wait.prompt -> 'reason',
      'shown_sha256', encode(sha256(convert_to((wait.prompt -> 'args')::text, 'UTF8')), 'hex'),
      'decision', p_answer ->> 'decision', 'by', p_by, 'roles', p_roles));
  end if;
  if wait.kind = 'review' and p_answer ->> 'decision' = 'continue' then
    update stepwell.jobs j
       set agent_version = coalesce(wait.prompt ->> 'version', j.agent_version)
     where j.tenant_id = p_tenant and j.id = p_job;
  end if;
  return 'answered';
end $$;
