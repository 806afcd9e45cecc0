-- recover_lost: workers that stopped beating are lost, and their steps ready again.
--
-- Only database time counts. The worker's row changes state in the same statement that frees its
-- steps, and a lost worker can never claim again, so nothing can slip in between. A step that somebody
-- is settling at this moment is left for the next round: whoever settles may wait for its job, and a
-- round that waited for him with other steps of the job in its hands would be a deadlock.
-- Runs as the operator, across tenants. Returns how many workers and steps it found.
create or replace function stepwell.recover_lost(p_lease_s double precision)
returns table (workers int, steps int) language sql as $$
  with lost as (
    update stepwell.workers w
       set state = 'lost'
     where w.state in ('live', 'draining')
       and w.beaten_at < clock_timestamp() - make_interval(secs => p_lease_s)
    returning w.id
  ), gone as (
    select id from lost
    union
    select w.id from stepwell.workers w
     where w.state in ('lost', 'stopped')
       and exists (select from stepwell.checkpoints c
                    where c.worker_id = w.id and c.state = 'running')
  ), dropped as (
    select c.tenant_id, c.job_id, c.seq
      from stepwell.checkpoints c join gone on c.worker_id = gone.id
     where c.state = 'running'
       for no key update of c skip locked
  ), freed as (
    update stepwell.checkpoints c
       set state = 'ready', worker_id = null, ready_at = now(), rung_at = null,
           losses = c.losses + 1
      from dropped d
     where c.tenant_id = d.tenant_id and c.job_id = d.job_id and c.seq = d.seq
    returning 1
  )
  select (select count(*)::int from lost), (select count(*)::int from freed);
$$;
