-- take_signal: give a signal to the one wait that takes it, and wake the step. The caller holds the job.
create or replace function stepwell.take_signal(
  p_tenant uuid, p_job uuid, p_signal uuid, p_seq int, p_n int
) returns boolean language plpgsql as $$
declare
  v_payload jsonb;
begin
  update stepwell.signals s
     set consumed_seq = p_seq, consumed_n = p_n, consumed_at = now()
   where s.tenant_id = p_tenant and s.job_id = p_job and s.id = p_signal and s.consumed_at is null
  returning s.payload into v_payload;
  if not found then return false; end if;
  return stepwell.wake_wait(p_tenant, p_job, p_seq, p_n, 'answered', v_payload, 'signal');
end $$;
