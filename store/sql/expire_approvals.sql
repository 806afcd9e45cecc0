-- expire_approvals: calls that nobody has decided about in time come to their fallback.
--
-- Tenant by tenant in the order of their ids, as each adds to the audit of one (append_audit). A job that
-- somebody else holds is left for the next round. Runs as the operator, across tenants. Returns how many.
create or replace function stepwell.expire_approvals(p_limit int) returns int language plpgsql as $$
declare
  due record;
  v_count int := 0;
begin
  for due in
    select a.tenant_id, a.job_id, a.seq, a.n, a.fallback
      from stepwell.approvals a
      join stepwell.jobs j on j.tenant_id = a.tenant_id and j.id = a.job_id
     where a.state = 'pending' and a.expires_at <= now()
     order by a.tenant_id, a.expires_at
     limit p_limit
       for no key update of j skip locked
  loop
    v_count := v_count + stepwell.close_approval(
      due.tenant_id, due.job_id, due.seq, due.n,
      case due.fallback when 'approve' then 'granted' else 'rejected' end, 'expired', null,
      jsonb_build_object('decision', due.fallback, 'reason', 'Nobody decided in time.'))::int;
  end loop;
  return v_count;
end $$;
