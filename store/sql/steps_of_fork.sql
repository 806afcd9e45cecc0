-- steps_of_fork: which steps a fork takes over from a job, and whether as done or as still to do.
--
-- A step that was planned when a whole group had come in is not taken over with a part of the group:
-- the last of its siblings to come in plans it again.
create or replace function stepwell.steps_of_fork(p_tenant uuid, p_job uuid, p_from int)
returns table (seq int, is_shared boolean) language sql as $$
  select c.seq, c.state = 'committed' and (p_from is null or c.seq < p_from)
    from stepwell.checkpoints c
   where c.tenant_id = p_tenant and c.job_id = p_job
     and (p_from is null or c.seq < p_from or coalesce(c.parent_seq, 0) < p_from and not exists (
           select from stepwell.checkpoints planner
             join stepwell.checkpoints sibling
               on sibling.tenant_id = planner.tenant_id and sibling.job_id = planner.job_id
              and sibling.parent_seq is not distinct from planner.parent_seq
            where planner.tenant_id = p_tenant and planner.job_id = p_job
              and planner.seq = c.parent_seq and sibling.seq >= p_from));
$$;
