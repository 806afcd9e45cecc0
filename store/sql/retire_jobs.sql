-- retire_jobs: forget a bounded batch of jobs that ended long ago, with their children and all they had.
--
-- A line of jobs goes as a whole, and only when all of it has ended; a job that another one was forked
-- from stays for as long as that one does; a failed job stays while its dead letter is open and not
-- older than p_letters_kept_s. Whoever holds one is not waited for. Each condition stands alone, so
-- that each is one look into an index. Runs as the operator, across tenants. Returns how many roots
-- went.
create or replace function stepwell.retire_jobs(
  p_kept_s double precision, p_letters_kept_s double precision, p_limit int
) returns int language sql as $$
  with old as (
    select root.tenant_id, root.id
      from stepwell.jobs root
     where root.parent_job_id is null and root.outstanding = 0
       and root.finished_at < now() - make_interval(secs => p_kept_s)
       and not exists (
         select from stepwell.jobs child
          where child.tenant_id = root.tenant_id and child.root_id = root.id
            and child.parent_job_id is not null
            and (child.finished_at is null or child.outstanding > 0))
       and not exists (
         select from stepwell.jobs fork
          where fork.tenant_id = root.tenant_id and fork.forked_from = root.id)
       and not exists (
         select from stepwell.jobs child
           join stepwell.jobs fork
             on fork.tenant_id = child.tenant_id and fork.forked_from = child.id
          where child.tenant_id = root.tenant_id and child.root_id = root.id
            and child.parent_job_id is not null)
       and not exists (
         select from stepwell.dead_letters l
          where l.tenant_id = root.tenant_id and l.job_id = root.id
            and l.state in ('open', 'replaying')
            and l.created_at > now() - make_interval(secs => p_letters_kept_s))
       and not exists (
         select from stepwell.jobs child
           join stepwell.dead_letters l on l.tenant_id = child.tenant_id and l.job_id = child.id
          where child.tenant_id = root.tenant_id and child.root_id = root.id
            and child.parent_job_id is not null and l.state in ('open', 'replaying')
            and l.created_at > now() - make_interval(secs => p_letters_kept_s))
     order by root.finished_at
     limit p_limit
       for update skip locked
  ), gone as (
    delete from stepwell.jobs j using old
     where j.tenant_id = old.tenant_id and j.id = old.id
    returning 1
  )
  select count(*)::int from gone;
$$;
