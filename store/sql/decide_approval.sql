-- decide_approval: what one person says about one call, under the lock of its job.
--
-- The decision names the arguments that were shown (p_args_sha256), so one that was given for others is
-- refused whatever happened meanwhile. Every one that counts is a row, and a line of the audit.
--
--   p_said    {decision, reason, answer, remember}
--   p_edited  for an edit: the question about the new arguments, judged anew (see ask_approval). It is
--             asked in the place of this one, until the same moment; what others have said does not count
--             for it. Whoever edits has said yes to it, if they may.
--
-- 'counted' when more have to say yes; 'granted', 'rejected', 'answered'; 'edited' when the new arguments
-- have to be decided about; 'closed' when it is over; 'other' when other arguments were shown; 'again' when
-- this person has spoken; 'denied' when they may not; 'missing' when there is no such question.
create or replace function stepwell.decide_approval(
  p_tenant uuid, p_job uuid, p_seq int, p_n int, p_args_sha256 text,
  p_said jsonb, p_edited jsonb, p_by text, p_roles text[]
) returns text language plpgsql as $$
declare
  job record;
  asked stepwell.approvals;
  v_decision text := p_said ->> 'decision';
  v_remembers boolean;
  v_count int;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  select j.requester, j.finished_at is not null or j.cancel_requested_at is not null
         or coalesce(j.deadline_at <= now(), false) as is_stopping into job
    from stepwell.jobs j
   where j.tenant_id = p_tenant and j.id = p_job
     for no key update;
  select * into asked from stepwell.approvals a
   where a.tenant_id = p_tenant and a.job_id = p_job and a.seq = p_seq and a.n = p_n;
  if not found then return 'missing'; end if;
  if asked.state <> 'pending' or asked.expires_at <= now() or job.is_stopping then
    return 'closed';
  end if;
  if asked.args_sha256 is distinct from p_args_sha256 then return 'other'; end if;
  if not stepwell.may_decide(asked.tier, asked.role, job.requester, p_by, p_roles) then
    return 'denied';
  end if;

  insert into stepwell.decisions (
    tenant_id, job_id, seq, n, decided_by, roles, decision, args_sha256, reason, answer, remember)
  values (p_tenant, p_job, p_seq, p_n, p_by, p_roles, v_decision, p_args_sha256,
          p_said ->> 'reason', p_said -> 'answer', coalesce((p_said ->> 'remember')::boolean, false))
      on conflict do nothing;
  if not found then return 'again'; end if;
  perform stepwell.append_audit(p_tenant, jsonb_build_object(
    'kind', 'approval.decision', 'job_id', p_job, 'seq', p_seq, 'n', p_n, 'tool', asked.tool,
    'args_sha256', asked.args_sha256, 'decision', v_decision, 'by', p_by, 'roles', p_roles,
    'reason', p_said ->> 'reason', 'edited_sha256', p_edited ->> 'args_sha256'));

  if v_decision in ('reject', 'respond') then
    perform stepwell.close_approval(
      p_tenant, p_job, p_seq, p_n,
      case v_decision when 'reject' then 'rejected' else 'answered' end, 'decided', p_by,
      jsonb_build_object('decision', v_decision, 'reason', p_said -> 'reason',
                         'answer', p_said -> 'answer'));
    return case v_decision when 'reject' then 'rejected' else 'answered' end;
  end if;

  if v_decision = 'edit' then
    update stepwell.approvals a set state = 'edited', ending = 'decided', closed_at = now()
     where a.tenant_id = p_tenant and a.job_id = p_job and a.seq = p_seq and a.n = p_n;
    if stepwell.ask_approval(p_tenant, p_job, p_seq, asked.wait_n, p_edited) then
      return 'granted';
    end if;
    select * into strict asked from stepwell.approvals a
     where a.tenant_id = p_tenant and a.job_id = p_job and a.seq = p_seq and a.state = 'pending';
    if not stepwell.may_decide(asked.tier, asked.role, job.requester, p_by, p_roles) then
      return 'edited';
    end if;
    insert into stepwell.decisions (
      tenant_id, job_id, seq, n, decided_by, roles, decision, args_sha256, reason, remember)
    values (p_tenant, p_job, p_seq, asked.n, p_by, p_roles, 'approve', asked.args_sha256,
            p_said ->> 'reason', coalesce((p_said ->> 'remember')::boolean, false));
  end if;

  select count(*), bool_and(d.remember) into v_count, v_remembers from stepwell.decisions d
   where d.tenant_id = p_tenant and d.job_id = p_job and d.seq = p_seq and d.n = asked.n
     and d.decision = 'approve';
  if v_count < asked.quorum then
    return case v_decision when 'edit' then 'edited' else 'counted' end;
  end if;
  perform stepwell.close_approval(
    p_tenant, p_job, p_seq, asked.n, 'granted', 'decided', p_by,
    jsonb_build_object('decision', 'approve'), v_remembers);
  return 'granted';
end $$;
