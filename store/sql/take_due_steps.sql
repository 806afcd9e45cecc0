-- take_due_steps: the ready steps that nobody rang for, or that were rung for and never came.
--
-- Each lane has its own room; the three arrays name them. Marks the steps as rung and returns them, the
-- oldest of each lane. Any number of schedulers may ask at once: each takes different rows. Runs as the
-- operator, across tenants.
create or replace function stepwell.take_due_steps(
  p_classes text[], p_works text[], p_rooms int[], p_again_s double precision
) returns table (tenant_id uuid, job_id uuid, seq int, name text, job_class text, work text)
language sql as $$
  with due as (
    select ready.*
      from unnest(p_classes, p_works, p_rooms) as lane (job_class, work, room)
     cross join lateral (
       select c.tenant_id, c.job_id, c.seq
         from stepwell.checkpoints c
        where c.state = 'ready' and c.job_class = lane.job_class and c.work = lane.work
          and c.ready_at <= now()
          and (c.rung_at is null or c.rung_at < now() - make_interval(secs => p_again_s))
        order by c.ready_at
        limit lane.room
          for update skip locked) as ready
  )
  update stepwell.checkpoints c
     set rung_at = now()
    from due
   where c.tenant_id = due.tenant_id and c.job_id = due.job_id and c.seq = due.seq
  returning c.tenant_id, c.job_id, c.seq, c.name, c.job_class, c.work;
$$;
