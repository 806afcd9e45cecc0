-- lend_budgets: carve the budgets of new children out of what their parent has left.
--
-- A child never has more than its parent had left, in any unit (child_is_less). One that names an amount
-- gets it, where the others get theirs as well; where there is too little for all of them, it gets no more
-- than an equal part of what those that want less have left, so that none is left with nothing because
-- another one named much. Those that name none get equal parts of what was left, of which one is counted
-- for the parent. What a child does not use goes back when it is over (settle_budget). Seconds pass for
-- parent and child at once, so a child has as many as its parent has left, and takes none away.
--
-- The caller holds the parent, and has put the children down: park_step.
create or replace function stepwell.lend_budgets(p_tenant uuid, p_job uuid, p_children jsonb)
returns void language plpgsql as $$
declare
  account stepwell.budgets;
  child record;
  v_unit text;
  v_left numeric;
  v_digits int;
  v_share numeric;
  v_cap numeric;
  v_taken numeric;
begin
  perform from stepwell.budgets b
   where b.tenant_id = p_tenant and b.owner_id = p_job and b.scope = 'job'
   order by b.scope, b.owner_id, b.day, b.unit
     for no key update;

  for v_unit in
    select b.unit::text from stepwell.budgets b
     where b.tenant_id = p_tenant and b.owner_id = p_job and b.scope = 'job'
    union
    select jsonb_object_keys(c.value -> 'budget') from jsonb_array_elements(p_children) c
     where jsonb_typeof(c.value -> 'budget') = 'object'
  loop
    account := null;
    select * into account from stepwell.budgets b
     where b.tenant_id = p_tenant and b.owner_id = p_job and b.scope = 'job' and b.unit = v_unit;
    v_left := greatest(0, account.cap - account.spent - account.reserved - account.lent);
    if v_unit = 'seconds' then
      select greatest(0, account.cap - account.spent
                         - extract(epoch from clock_timestamp() - j.created_at)) into v_left
        from stepwell.jobs j
       where j.tenant_id = p_tenant and j.id = p_job;
    end if;
    if account.cap is null then v_left := null; end if;
    v_digits := case v_unit when 'usd' then 9 else 0 end;
    v_share := trunc(v_left / (jsonb_array_length(p_children) + 1), v_digits);

    for child in
      select c.id, c.asked, 1 + count(*) over later as sharing,
             coalesce(sum(coalesce(c.asked, v_share)) over later, 0) as wanted_later
        from (select (each.value ->> 'id')::uuid as id, each.n,
                     (each.value -> 'budget' ->> v_unit)::numeric as asked
                from jsonb_array_elements(p_children) with ordinality as each (value, n)) c
      window later as (
        order by coalesce(c.asked, v_share), c.n rows between 1 following and unbounded following)
       order by coalesce(c.asked, v_share), c.n
    loop
      continue when v_left is null and child.asked is null;
      if v_left is null or v_unit = 'seconds' then
        v_cap := least(child.asked, v_left);
      else
        v_cap := least(coalesce(child.asked, v_share),
                       greatest(trunc(v_left / child.sharing, v_digits), v_left - child.wanted_later));
      end if;
      v_taken := case when v_left is null or v_unit = 'seconds' then 0 else v_cap end;
      insert into stepwell.budgets (
        tenant_id, owner_id, scope, unit, job_id, parent_id, cap, taken)
      values (p_tenant, child.id, 'job', v_unit, child.id, p_job, v_cap, v_taken);
      v_left := v_left - v_taken;
      update stepwell.budgets b set lent = b.lent + v_taken
       where b.tenant_id = p_tenant and b.owner_id = p_job and b.scope = 'job' and b.unit = v_unit;
    end loop;
  end loop;
end $$;
