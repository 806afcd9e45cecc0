-- ask_approval: write down what people are asked about one call, beside the wait that ends with it.
--
-- The caller holds the job, and has opened the wait p_wait_n of the step.
--
--   p_approval  {tool, args, args_sha256, tool_sha256, tier, role, quorum, reasons, rules,
--                policy_version, fallback}
--
-- A call that this job was given leave to repeat, with the same arguments and of the same tool, is granted
-- at once; it has a row of its own all the same, so that each call consumes one. Returns whether it was.
create or replace function stepwell.ask_approval(
  p_tenant uuid, p_job uuid, p_seq int, p_wait_n int, p_approval jsonb
) returns boolean language plpgsql as $$
declare
  asked record;
  v_leave record;
begin
  insert into stepwell.approvals (
    tenant_id, job_id, seq, n, wait_n, tool, args, args_sha256, tool_sha256, tier, role, quorum,
    reasons, rules, policy_version, fallback, state, expires_at)
  select p_tenant, p_job, p_seq,
         (select coalesce(max(a.n), 0) + 1 from stepwell.approvals a
           where a.tenant_id = p_tenant and a.job_id = p_job and a.seq = p_seq),
         p_wait_n, p_approval ->> 'tool', p_approval -> 'args', p_approval ->> 'args_sha256',
         p_approval ->> 'tool_sha256', p_approval ->> 'tier', p_approval ->> 'role',
         (p_approval ->> 'quorum')::int,
         array(select jsonb_array_elements_text(p_approval -> 'reasons')),
         array(select jsonb_array_elements_text(p_approval -> 'rules')),
         p_approval ->> 'policy_version', p_approval ->> 'fallback', 'pending', w.wake_at
    from stepwell.waits w
   where w.tenant_id = p_tenant and w.job_id = p_job and w.seq = p_seq and w.n = p_wait_n
  returning * into strict asked;

  select a.seq, a.n into v_leave from stepwell.approvals a
   where a.tenant_id = p_tenant and a.job_id = p_job and a.args_sha256 = asked.args_sha256
     and a.is_remembered and a.state = 'granted' and a.tool = asked.tool
     and a.tool_sha256 = asked.tool_sha256 and a.tier = asked.tier
     and a.role is not distinct from asked.role and a.quorum >= asked.quorum
   order by a.seq, a.n
   limit 1;
  if not found then return false; end if;
  return stepwell.close_approval(
    p_tenant, p_job, p_seq, asked.n, 'granted', 'remembered', null,
    jsonb_build_object('decision', 'approve', 'as_in_step', v_leave.seq));
end $$;
