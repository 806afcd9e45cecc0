-- replay_due: the dead letters of a bulk replay whose turn has come, at most p_limit, as background jobs.
--
-- A letter whose last step is still coming in has its turn again a little later. Runs as the operator,
-- across tenants. Returns how many became jobs.
create or replace function stepwell.replay_due(p_limit int) returns int language plpgsql as $$
declare
  due record;
  v_made int := 0;
begin
  for due in
    select l.tenant_id, l.job_id
      from stepwell.dead_letters l
      join stepwell.jobs j on j.tenant_id = l.tenant_id and j.id = l.job_id
     where l.state = 'replaying' and l.replay_at <= now()
     order by l.replay_at
     limit p_limit
       for no key update of l, j skip locked
  loop
    if stepwell.replay_letter(
         due.tenant_id, due.job_id, gen_random_uuid(), null, 'background', null) = 'made' then
      v_made := v_made + 1;
    else
      update stepwell.dead_letters l set replay_at = now() + interval '5 seconds'
       where l.tenant_id = due.tenant_id and l.job_id = due.job_id;
    end if;
  end loop;
  return v_made;
end $$;
