-- take_due: the ready steps of one lane that nobody rang, or that were rung and never came.
--
-- Marks them rung and returns them, oldest first, at most p_room. Any number of schedulers may
-- ask at once: each takes different rows. Runs as the operator, across tenants.
create or replace function stepwell.take_due(
  p_class text, p_work text, p_room int, p_again_s double precision
) returns table (tenant_id uuid, job_id uuid, seq int, name text)
language sql as $$
  with due as (
    select c.tenant_id, c.job_id, c.seq
      from stepwell.checkpoints c
     where c.state = 'ready' and c.job_class = p_class and c.work = p_work
       and c.ready_at <= now()
       and (c.rung_at is null or c.rung_at < now() - make_interval(secs => p_again_s))
     order by c.ready_at
     limit p_room
       for update skip locked
  )
  update stepwell.checkpoints c
     set rung_at = now()
    from due
   where c.tenant_id = due.tenant_id and c.job_id = due.job_id and c.seq = due.seq
  returning c.tenant_id, c.job_id, c.seq, c.name;
$$;
