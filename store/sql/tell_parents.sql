-- tell_parents: what tell_parent was not called for, because its worker died in between.
-- Runs as the operator, across tenants. Returns how many children it spoke for, at most p_limit.
create or replace function stepwell.tell_parents(p_limit int) returns int language plpgsql as $$
declare
  child record;
  v_told int := 0;
begin
  for child in
    select j.tenant_id, j.id from stepwell.jobs j
     where j.parent_job_id is not null and not j.parent_told and j.finished_at is not null
     order by j.finished_at
     limit p_limit
  loop
    -- Who holds one of the two at this moment is left alone; the next round comes soon. A round holds
    -- many families at once, and must not wait for any.
    perform from stepwell.jobs parent
      join stepwell.jobs j on j.tenant_id = parent.tenant_id and j.parent_job_id = parent.id
     where j.tenant_id = child.tenant_id and j.id = child.id and not j.parent_told
       for no key update skip locked;
    if found then
      perform stepwell.tell_parent(child.tenant_id, child.id);
      v_told := v_told + 1;
    end if;
  end loop;
  return v_told;
end $$;
