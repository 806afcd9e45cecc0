-- settle_budget: what a settled step has used becomes spent, and the rest of what it set aside goes back.
--
-- A step that was done or has failed has used itself, and the tokens and dollars of its row of usage.
-- Where the price was unknown, what was set aside counts as spent, and is marked as an estimate. A step
-- that was cancelled before it came to run has used nothing.
--
-- A job that is over gives what is left of its loan back to its parent, and tells it what it has spent;
-- not before its own children have done so.
--
-- Called by the commit (commit_budgeted), and by the scheduler for whatever ended without one: a step
-- that was cancelled, a job that never ran, for which p_seq is 0. To do it twice changes nothing.
create or replace function stepwell.settle_budget(p_tenant uuid, p_job uuid, p_seq int)
returns void language plpgsql as $$
declare
  job record;
  v_state text;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  select c.state into v_state from stepwell.checkpoints c
   where c.tenant_id = p_tenant and c.job_id = p_job and c.seq = p_seq;
  if v_state in ('ready', 'running', 'waiting') then return; end if;
  select j.root_id, j.parent_job_id, j.finished_at is not null and j.outstanding = 0 as is_over
    into job
    from stepwell.jobs j
   where j.tenant_id = p_tenant and j.id = p_job;

  perform from stepwell.budgets b
   where b.tenant_id = p_tenant and b.owner_id in (p_job, job.root_id, job.parent_job_id, p_tenant)
     and case b.scope
           when 'job' then b.owner_id = p_job or job.is_over and b.owner_id = job.parent_job_id
           when 'tree' then b.owner_id = job.root_id
           when 'day' then b.day in (
             select e.day from stepwell.budget_entries e
              where e.tenant_id = p_tenant and e.job_id = p_job and e.seq = p_seq)
           else true end
   order by b.scope, b.owner_id, b.day, b.unit
     for no key update;

  with used as (
    select e.owner_id, e.scope, e.day, e.unit, e.unit = 'usd' and u.seq is not null
           and u.cost_usd is null as is_estimated,
           case e.unit
             when 'steps' then case v_state when 'cancelled' then 0 else e.reserved end
             when 'tokens' then coalesce(u.input_tokens + u.output_tokens, 0)
             when 'usd' then case when u.seq is null then 0 else coalesce(u.cost_usd, e.reserved) end
           end as amount
      from stepwell.budget_entries e
      left join stepwell.usage u
        on u.tenant_id = e.tenant_id and u.job_id = e.job_id and u.seq = e.seq
     where e.tenant_id = p_tenant and e.job_id = p_job and e.seq = p_seq
  ), settled as (
    update stepwell.budget_entries e
       set spent = used.amount, released = e.reserved - used.amount,
           is_estimated = used.is_estimated, settled_at = now()
      from used
     where e.tenant_id = p_tenant and e.job_id = p_job and e.seq = p_seq
       and e.owner_id = used.owner_id and e.scope = used.scope and e.day = used.day
       and e.unit = used.unit and e.settled_at is null
    returning e.*
  )
  update stepwell.budgets b
     set reserved = b.reserved - settled.reserved, spent = b.spent + settled.spent
    from settled
   where b.tenant_id = p_tenant and b.owner_id = settled.owner_id and b.scope = settled.scope
     and b.day = settled.day and b.unit = settled.unit;

  if not job.is_over or job.parent_job_id is null
     or exists (select from stepwell.budget_entries e
                 where e.tenant_id = p_tenant and e.job_id = p_job and e.settled_at is null)
     or exists (select from stepwell.budgets child
                 where child.tenant_id = p_tenant and child.parent_id = p_job and child.is_open) then
    return;
  end if;
  with closed as (
    update stepwell.budgets b set is_open = false
     where b.tenant_id = p_tenant and b.owner_id = p_job and b.scope = 'job' and b.is_open
    returning b.unit, b.taken, b.spent
  )
  update stepwell.budgets parent
     set lent = parent.lent - closed.taken, spent = parent.spent + closed.spent
    from closed
   where parent.tenant_id = p_tenant and parent.owner_id = job.parent_job_id
     and parent.scope = 'job' and parent.unit = closed.unit and closed.unit <> 'seconds';
end $$;
