-- carry_budget: a copy of a job is bound as the original was.
--
-- It has the caps of the original and of its line, as they are now. A replay goes on where the original
-- stopped, so what that has spent is spent; a fork is a new beginning. What a copy has not spent itself
-- is the base of its account.
create or replace function stepwell.carry_budget(
  p_tenant uuid, p_job uuid, p_new uuid, p_is_replay boolean
) returns void language sql as $$
  insert into stepwell.budgets (tenant_id, owner_id, scope, unit, job_id, cap, spent, base)
  select p_tenant, p_new, b.scope, b.unit, p_new, b.cap, carried.amount, carried.amount
    from stepwell.jobs old
    join stepwell.budgets b
      on b.tenant_id = old.tenant_id
     and (b.owner_id = old.id and b.scope = 'job' or b.owner_id = old.root_id and b.scope = 'tree')
   cross join lateral (
     select case when not p_is_replay then 0
                 when b.unit = 'seconds' then b.spent + coalesce(
                   extract(epoch from old.finished_at - old.created_at), 0)
                 else b.spent + b.reserved + b.lent end as amount) carried
   where old.tenant_id = p_tenant and old.id = p_job;
$$;
