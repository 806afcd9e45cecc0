-- steps_of_fork: which steps a fork takes over from a job, and whether as done or as still to do.
create or replace function stepwell.steps_of_fork(p_tenant uuid, p_job uuid, p_from int)
returns table (seq int, is_shared boolean) language sql as $$
  select c.seq, c.state = 'committed' and (p_from is null or c.seq < p_from)
    from stepwell.checkpoints c
   where c.tenant_id = p_tenant and c.job_id = p_job
     and (p_from is null or c.seq < p_from or coalesce(c.parent_seq, 0) < p_from);
$$;
