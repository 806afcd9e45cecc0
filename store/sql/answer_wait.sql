-- answer_wait: what a person says to the question of one wait, which is answered once.
--
-- The number of the wait binds the answer to what was shown: a question that was answered, expired or
-- asked anew meanwhile is 'closed'. Going on after a review adopts the agent's new version. 'answered',
-- 'closed', or 'missing' when there is no such question.
create or replace function stepwell.answer_wait(
  p_tenant uuid, p_job uuid, p_seq int, p_n int, p_answer jsonb, p_by text
) returns text language plpgsql as $$
declare
  wait record;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  perform from stepwell.jobs j where j.tenant_id = p_tenant and j.id = p_job for no key update;
  select w.kind, w.state, w.prompt into wait from stepwell.waits w
   where w.tenant_id = p_tenant and w.job_id = p_job and w.seq = p_seq and w.n = p_n
     and w.kind in ('question', 'reconcile', 'review');
  if not found then return 'missing'; end if;
  if not stepwell.wake_wait(p_tenant, p_job, p_seq, p_n, 'answered', p_answer, p_by) then
    return 'closed';
  end if;
  if wait.kind = 'review' and p_answer ->> 'decision' = 'continue' then
    update stepwell.jobs j
       set agent_version = coalesce(wait.prompt ->> 'version', j.agent_version)
     where j.tenant_id = p_tenant and j.id = p_job;
  end if;
  return 'answered';
end $$;
