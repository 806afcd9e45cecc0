-- raise_budget: allow one job, or its whole line, more of one unit.
--
-- A child is lent what it is to have more, and so cannot have more than its parent has left. The job may
-- have ended: then a replay begins with the higher cap. 'raised'; 'missing' when there is no such cap;
-- 'parent' when its parent has too little left to lend.
create or replace function stepwell.raise_budget(
  p_tenant uuid, p_owner uuid, p_scope text, p_unit text, p_by numeric
) returns text language plpgsql as $$
declare
  account stepwell.budgets;
  parent stepwell.budgets;
  v_parent uuid;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  select b.parent_id into v_parent from stepwell.budgets b
   where b.tenant_id = p_tenant and b.owner_id = p_owner and b.scope = p_scope and b.unit = p_unit;
  perform from stepwell.budgets b
   where b.tenant_id = p_tenant and b.owner_id in (p_owner, v_parent) and b.scope = p_scope
     and b.unit = p_unit
   order by b.scope, b.owner_id, b.day, b.unit
     for no key update;
  select * into account from stepwell.budgets b
   where b.tenant_id = p_tenant and b.owner_id = p_owner and b.scope = p_scope and b.unit = p_unit;
  if account.cap is null then return 'missing'; end if;
  select * into parent from stepwell.budgets b
   where b.tenant_id = p_tenant and b.owner_id = v_parent and b.scope = p_scope and b.unit = p_unit;

  if account.is_open and parent.cap is not null then
    if p_unit = 'seconds' or parent.cap - parent.spent - parent.reserved - parent.lent < p_by then
      return 'parent';
    end if;
    update stepwell.budgets b set lent = b.lent + p_by
     where b.tenant_id = p_tenant and b.owner_id = v_parent and b.scope = p_scope
       and b.unit = p_unit;
  end if;
  update stepwell.budgets b
     set cap = b.cap + p_by,
         taken = b.taken + case when account.is_open and parent.cap is not null then p_by else 0 end
   where b.tenant_id = p_tenant and b.owner_id = p_owner and b.scope = p_scope and b.unit = p_unit;
  return 'raised';
end $$;
