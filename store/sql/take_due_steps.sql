-- take_due_steps: the ready steps of one kind of work that nobody rang for, or whose ring was lost.
--
-- p_most bounds them all. The lanes come in the order in which they are served, each with the room it has and
-- the number of messages that lie on it; a class may come twice, first with what is guaranteed to it. In a
-- lane, rings that were lost come first, then steps that go on with what was begun, then new starts; the last
-- two tenant by tenant (take_turns).
--
-- A ring is lost when more steps of a lane are rung for than lie there: a step that only stands in line is
-- not rung for twice. Which of them it was is not known, so those whose ring is oldest are rung for again.
--
-- Marks the steps as rung and returns them. Any number of schedulers may ask at once: each takes different
-- rows. Runs as the operator, across tenants.
create or replace function stepwell.take_due_steps(
  p_work text, p_most int, p_classes text[], p_rooms int[], p_depths int[],
  p_again_s double precision
) returns table (
  tenant_id uuid, job_id uuid, seq int, name text, job_class text, is_start boolean,
  waited_s double precision
) language plpgsql as $$
#variable_conflict use_column
declare
  lane record;
  v_most int := p_most;
  v_room int;
  v_rung int;
  v_got int;
begin
  for lane in
    select * from unnest(p_classes, p_rooms, p_depths) as l (job_class, room, depth)
  loop
    v_room := least(lane.room, v_most);
    continue when v_room <= 0;

    select count(*) into v_rung from (
      select from stepwell.checkpoints c
       where c.state = 'ready' and c.rung_at is not null
         and c.job_class = lane.job_class and c.work = p_work
       limit lane.depth + v_room) rung;
    if v_rung > lane.depth then
      return query
      with lost as (
        select c.tenant_id, c.job_id, c.seq
          from stepwell.checkpoints c
         where c.state = 'ready' and c.job_class = lane.job_class and c.work = p_work
           and c.rung_at < now() - make_interval(secs => p_again_s)
         order by c.rung_at
         limit least(v_room, v_rung - lane.depth)
           for update skip locked)
      update stepwell.checkpoints c
         set rung_at = now()
        from lost
       where c.tenant_id = lost.tenant_id and c.job_id = lost.job_id and c.seq = lost.seq
      returning c.tenant_id, c.job_id, c.seq, c.name, c.job_class::text, false,
                extract(epoch from now() - c.ready_at)::double precision;
      get diagnostics v_got = row_count;
      v_room := v_room - v_got;
      v_most := v_most - v_got;
    end if;

    return query
    select t.tenant_id, t.job_id, t.seq, t.name, lane.job_class, false, t.waited_s
      from stepwell.take_turns(lane.job_class, p_work, false, v_room) t;
    get diagnostics v_got = row_count;
    v_room := v_room - v_got;
    v_most := v_most - v_got;

    return query
    select t.tenant_id, t.job_id, t.seq, t.name, lane.job_class, t.is_new, t.waited_s
      from stepwell.take_turns(lane.job_class, p_work, true, v_room) t;
    get diagnostics v_got = row_count;
    v_most := v_most - v_got;
  end loop;
end $$;
