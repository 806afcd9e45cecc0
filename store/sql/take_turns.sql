-- take_turns: waiting steps of one line, tenant by tenant: deficit round robin.
--
-- A line is one class and one kind of work, and either steps that go on with a job or first ones. A first
-- step that was turned away at a gate is a first one still (only not new): its job has done nothing yet. Each
-- tenant that has something waiting has its turn, and in its turn as many steps as its weight says, times a
-- quantum that keeps the number of turns small where there is much room. Where the room ends, in the middle
-- of a turn too, the next round goes on (`turns`). A tenant that has less than its turn loses the rest of it.
--
-- Every turn is two looks into the index `checkpoints_waiting`, whatever else waits: one for the next tenant,
-- one for its oldest steps. A tenant whose oldest step has its time still to come is passed by.
--
-- Any number of schedulers may ask at once. Each takes steps that no other holds, and none waits: whoever
-- finds the place of the round held leaves it where the other one puts it.
create or replace function stepwell.take_turns(
  p_class text, p_work text, p_is_start boolean, p_room int
) returns table (
  tenant_id uuid, job_id uuid, seq int, name text, is_new boolean, waited_s double precision
)
language plpgsql as $$
#variable_conflict use_column
declare
  c_turns_max constant int := 1000;
  c_before_all constant uuid := '00000000-0000-0000-0000-000000000000';
  next record;
  v_whose uuid;
  v_left int;
  v_room int := p_room;
  v_quantum int := 1 + p_room / 32;
  v_wanted int;
  v_got int;
  v_lap int := 0;
  v_taken_in_lap int := 0;
begin
  select t.whose, t.steps_left into v_whose, v_left from stepwell.turns t
   where t.job_class = p_class and t.work = p_work and t.is_start = p_is_start;

  for v_turn in 1 .. c_turns_max loop
    exit when v_room <= 0;
    if v_left <= 0 then
      select c.tenant_id, c.ready_at,
             (select t.weight from stepwell.tenants t where t.tenant_id = c.tenant_id) as weight
        into next
        from stepwell.checkpoints c
       where c.state = 'ready' and c.rung_at is null and c.job_class = p_class and c.work = p_work
         and (c.parent_seq is null)::int = p_is_start::int
         and c.tenant_id > v_whose
       order by c.tenant_id, c.ready_at
       limit 1;
      if not found then
        exit when v_lap > 0 and v_taken_in_lap = 0;
        v_whose := c_before_all;
        v_lap := v_lap + 1;
        v_taken_in_lap := 0;
        continue;
      end if;
      v_whose := next.tenant_id;
      continue when next.ready_at > now();
      v_left := next.weight * v_quantum;
    end if;

    v_wanted := least(v_left, v_room);
    return query
    with mine as (
      select c.tenant_id, c.job_id, c.seq
        from stepwell.checkpoints c
       where c.state = 'ready' and c.rung_at is null and c.job_class = p_class and c.work = p_work
         and (c.parent_seq is null)::int = p_is_start::int
         and c.tenant_id = v_whose
         and c.ready_at <= now()
       order by c.ready_at
       limit v_wanted
         for update skip locked)
    update stepwell.checkpoints c
       set rung_at = now()
      from mine
     where c.tenant_id = mine.tenant_id and c.job_id = mine.job_id and c.seq = mine.seq
    returning c.tenant_id, c.job_id, c.seq, c.name, c.epoch = 0,
              extract(epoch from now() - c.ready_at)::double precision;
    get diagnostics v_got = row_count;
    v_room := v_room - v_got;
    v_taken_in_lap := v_taken_in_lap + v_got;
    v_left := case when v_got < v_wanted then 0 else v_left - v_got end;
  end loop;

  if v_room < p_room or v_lap = 0 then
    update stepwell.turns t
       set whose = v_whose, steps_left = v_left
     where t.ctid = (select held.ctid from stepwell.turns held
                      where held.job_class = p_class and held.work = p_work
                        and held.is_start = p_is_start
                        for no key update skip locked);
  end if;
end $$;
