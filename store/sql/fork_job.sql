-- fork_job: a new job that shares what another one has done, and goes on from there.
--
-- Two ways to say from where, and one copy:
--
--   p_from given   fork: committed steps below it are shared; steps from it on that were planned by a
--                  shared one are ready again, as new calls with keys of their own; the rest never was
--   p_from null    replay of a failed job: every committed step is shared; the failed one and those that
--                  never ran are ready again, under the keys of the original, so that what the other
--                  side has seen already is known there; a begun effect stays begun, and is asked
--                  about, unless it failed in a way that says that nothing happened; a call that was
--                  begun as people have edited it keeps their arguments, which its key stands for
--
-- It came to be as the original did: what was out of the reach of that is out of the reach of its copy.
--
-- 'made', 'missing', 'busy' when a step of a replayed job is still coming in, or 'refused' when there is
-- no such step, or one before it was not committed.
create or replace function stepwell.fork_job(
  p_tenant uuid, p_job uuid, p_new uuid, p_from int, p_version text, p_input jsonb, p_class text
) returns text language plpgsql as $$
declare
  old record;
  v_ready int;
  v_shared int;
  v_first int;
  v_last int;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  select * into old from stepwell.jobs j
   where j.tenant_id = p_tenant and j.id = p_job
     for no key update;
  if not found then return 'missing'; end if;
  if p_from is null and old.outstanding > 0 then return 'busy'; end if;

  select count(*) filter (where not c.is_shared), count(*) filter (where c.is_shared),
         min(c.seq) filter (where not c.is_shared), max(c.seq)
    into v_ready, v_shared, v_first, v_last
    from stepwell.steps_of_fork(p_tenant, p_job, p_from) c;
  if v_ready = 0 or v_first <> p_from then return 'refused'; end if;

  insert into stepwell.jobs (
    tenant_id, id, agent, agent_version, model, job_class, origin, origins_above, requester, roles, status,
    outstanding, steps_done, next_seq, event_seq, input, root_id, forked_from, forked_from_seq,
    tainted_by, input_tainted)
  values (
    p_tenant, p_new, old.agent, coalesce(p_version, old.agent_version), old.model,
    coalesce(p_class, old.job_class), old.origin, old.origins_above, old.requester, old.roles,
    'queued', v_ready, v_shared, v_last + 1, 1, coalesce(p_input, old.input), p_new, p_job, v_first,
    old.tainted_by, old.input_tainted and p_input is null);
  insert into stepwell.checkpoints (
    tenant_id, job_id, seq, parent_seq, kind, name, job_class, work, input, state, epoch,
    attempts, losses, claimed_at, committed_at, output, error, effect_key, effect_epoch, effect_started_at)
  select p_tenant, p_new, c.seq, c.parent_seq, c.kind, c.name, coalesce(p_class, old.job_class),
         c.work,
         case when s.is_shared then c.input
              when p_from is not null and c.kind = 'function' and c.input ? 'args'
                then c.input - 'args'
              when p_from is not null and c.input ? 'planned_args'
                then c.input - 'planned_args' || jsonb_build_object('args', c.input -> 'planned_args')
              when yes.args is not distinct from c.input -> 'args' then c.input
              when c.kind = 'function' then c.input || jsonb_build_object('args', yes.args)
              else jsonb_build_object('planned_args', c.input -> 'args') || c.input
                   || jsonb_build_object('args', yes.args)
         end,
         case when s.is_shared then c.state else 'ready' end,
         case when s.is_shared or p_from is null then c.epoch else 0 end,
         case when s.is_shared then c.attempts else 0 end,
         case when s.is_shared then c.losses else 0 end,
         case when s.is_shared then c.claimed_at end,
         case when s.is_shared then c.committed_at end,
         case when s.is_shared then c.output end,
         case when s.is_shared then c.error end,
         case when s.is_shared or p_from is null
              then coalesce(c.effect_key, p_job::text || ':' || c.seq) end,
         case when begun.is_so then c.effect_epoch end,
         case when begun.is_so then c.effect_started_at end
    from stepwell.steps_of_fork(p_tenant, p_job, p_from) s
    join stepwell.checkpoints c on c.tenant_id = p_tenant and c.job_id = p_job and c.seq = s.seq
   cross join lateral (select s.is_shared or p_from is null and coalesce(c.error ->> 'class', '')
     not in ('not_sent', 'rate_limited', 'quota', 'rejected') as is_so) begun
   cross join lateral (
     -- Without a yes that was made use of, the arguments are those that were planned.
     select coalesce((
       select a.args from stepwell.approvals a
        where p_from is null and a.tenant_id = p_tenant and a.job_id = p_job
          and a.seq = c.seq and a.consumed_at is not null
        order by a.n desc
        limit 1), c.input -> 'args') as args) yes;
  insert into stepwell.events (tenant_id, job_id, id, type, data)
  values (p_tenant, p_new, 1, 'job.queued', jsonb_build_object(
    'agent', old.agent, 'class', coalesce(p_class, old.job_class), 'forked_from', p_job,
    'from_step', v_first));
  perform stepwell.carry_budget(p_tenant, p_job, p_new, p_from is null);
  return 'made';
end $$;
