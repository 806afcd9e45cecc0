-- close_approval: the one place that ends the question about a call, writes it into the audit, and wakes
-- the step with what was decided.
--
-- The caller holds the job. Whoever comes second finds the question closed and changes nothing. False then.
create or replace function stepwell.close_approval(
  p_tenant uuid, p_job uuid, p_seq int, p_n int, p_state text, p_ending text, p_by text,
  p_result jsonb, p_remembers boolean default false
) returns boolean language plpgsql as $$
declare
  asked record;
begin
  update stepwell.approvals a
     set state = p_state, ending = p_ending, closed_at = now(), is_remembered = p_remembers
   where a.tenant_id = p_tenant and a.job_id = p_job and a.seq = p_seq and a.n = p_n
     and a.state = 'pending'
  returning a.wait_n, a.tool, a.args_sha256, a.tool_sha256, a.policy_version into asked;
  if not found then return false; end if;
  perform stepwell.wake_wait(
    p_tenant, p_job, p_seq, asked.wait_n,
    case p_ending when 'expired' then 'expired' else 'answered' end, p_result, p_by);
  perform stepwell.append_audit(p_tenant, jsonb_build_object(
    'kind', 'approval.' || p_ending, 'job_id', p_job, 'seq', p_seq, 'n', p_n, 'tool', asked.tool,
    'args_sha256', asked.args_sha256, 'tool_sha256', asked.tool_sha256,
    'policy_version', asked.policy_version, 'became', p_state, 'remembered', p_remembers));
  return true;
end $$;
