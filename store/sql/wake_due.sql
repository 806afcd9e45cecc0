-- wake_due: timers that have come, and waits that nobody ended in time; at most p_limit of them.
-- Calls that wait for approval come last, as many again (expire_approvals).
--
-- A job that somebody else holds is left for the next round, so any number of schedulers may ask at
-- once and none waits for another. Runs as the operator, across tenants. Returns how many were woken.
create or replace function stepwell.wake_due(p_limit int) returns int language plpgsql as $$
declare
  due record;
  v_woken int := 0;
begin
  for due in
    select w.tenant_id, w.job_id, w.seq, w.n, w.kind
      from stepwell.waits w
      join stepwell.jobs j on j.tenant_id = w.tenant_id and j.id = w.job_id
     where w.state = 'pending' and w.wake_at <= now() and w.kind <> 'approval'
     order by w.wake_at
     limit p_limit
       for no key update of j skip locked
  loop
    v_woken := v_woken + stepwell.wake_wait(
      due.tenant_id, due.job_id, due.seq, due.n,
      case due.kind when 'timer' then 'fired' else 'expired' end, null, null)::int;
  end loop;
  return v_woken + stepwell.expire_approvals(p_limit);
end $$;
