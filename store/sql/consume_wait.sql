-- consume_wait: what the step waited for has been made use of, by this claim and never again.
create or replace function stepwell.consume_wait(p_tenant uuid, p_job uuid, p_seq int, p_epoch int)
returns void language sql as $$
  update stepwell.waits w
     set consumed_at = now(), consumed_epoch = p_epoch
   where w.tenant_id = p_tenant and w.job_id = p_job and w.seq = p_seq
     and w.consumed_at is null and w.state in ('fired', 'answered', 'expired');
$$;
