-- forget_entries: the ledger rows of jobs that are forgotten, folded into the accounts that outlive them.
--
-- What they spent becomes the base of their tenant's accounts, so that sums stay sums. Rows that were
-- settled p_kept_s seconds ago, of at most p_limit steps; those of a job that is still there stay with
-- it. Runs as the operator, across tenants. Returns how many went.
create or replace function stepwell.forget_entries(p_kept_s double precision, p_limit int)
returns int language plpgsql as $$
declare
  v_jobs uuid[];
  v_gone int;
begin
  select array_agg(old.job_id) into v_jobs from (
    select e.job_id from stepwell.budget_entries e
     where e.settled_at < now() - make_interval(secs => p_kept_s)
       and not exists (select from stepwell.jobs j
                        where j.tenant_id = e.tenant_id and j.id = e.job_id)
     order by e.settled_at
     limit p_limit) old;
  if v_jobs is null then return 0; end if;

  perform from stepwell.budgets b
   where b.scope in ('day', 'tenant')
     and exists (select from stepwell.budget_entries e
                  where e.tenant_id = b.tenant_id and e.owner_id = b.owner_id
                    and e.scope = b.scope and e.day = b.day and e.unit = b.unit
                    and e.job_id = any (v_jobs))
   order by b.scope, b.owner_id, b.day, b.unit
     for no key update;
  with gone as (
    delete from stepwell.budget_entries e
     where e.job_id = any (v_jobs) and e.settled_at < now() - make_interval(secs => p_kept_s)
    returning e.tenant_id, e.owner_id, e.scope, e.day, e.unit, e.spent
  ), folded as (
    update stepwell.budgets b set base = b.base + sums.spent
      from (select g.tenant_id, g.owner_id, g.scope, g.day, g.unit, sum(g.spent) as spent
              from gone g
             group by g.tenant_id, g.owner_id, g.scope, g.day, g.unit) sums
     where b.tenant_id = sums.tenant_id and b.owner_id = sums.owner_id and b.scope = sums.scope
       and b.day = sums.day and b.unit = sums.unit
    returning 1
  )
  select count(*) into v_gone from gone;
  return v_gone;
end $$;
