-- reserve_budget: set aside what a step may come to use, before it makes its call.
--
-- Every account that counts for the step is asked: its job's, that of its line of jobs, its tenant's,
-- its tenant's of this day (in UTC, by the clock of the database). Either all of them have enough left,
-- or nothing is written, and the first that has not is told. The amounts become entries of the ledger,
-- one for each account; a step that is run again, by whomever, has what it set aside the first time.
--
--   p_asked   {steps, tokens, usd}, dollars as text
--
-- Fenced like a commit. Accounts are locked last of all, always, and in the order of their key, so that
-- any number of steps may ask at once. Seconds are not set aside: they pass for all at once, and are
-- looked at only.
--
-- {} when it was reserved; {scope, unit, cap, spent, reserved, lent, asked} of what was too little; null
-- when the claim is not the latest.
create or replace function stepwell.reserve_budget(
  p_tenant uuid, p_job uuid, p_seq int, p_epoch int, p_asked jsonb
) returns jsonb language plpgsql as $$
declare
  job record;
  account stepwell.budgets;
  v_charged stepwell.budgets[] := '{}';
  v_is_held boolean;
  v_asked numeric;
  v_spent numeric;
  v_today date := (now() at time zone 'utc')::date;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  perform from stepwell.checkpoints c
   where c.tenant_id = p_tenant and c.job_id = p_job and c.seq = p_seq
     and c.epoch = p_epoch and c.state || '' = 'running'
     for no key update;
  if not found then return null; end if;
  select j.root_id, extract(epoch from clock_timestamp() - j.created_at) as age_s into job
    from stepwell.jobs j
   where j.tenant_id = p_tenant and j.id = p_job;
  v_is_held := exists (
    select from stepwell.budget_entries e
     where e.tenant_id = p_tenant and e.job_id = p_job and e.seq = p_seq and e.settled_at is null);

  insert into stepwell.budgets (tenant_id, owner_id, scope, day, unit, cap)
  select p_tenant, p_tenant, 'day', v_today, b.unit, b.cap
    from stepwell.budgets b
   where b.tenant_id = p_tenant and b.owner_id = p_tenant and b.scope = 'day'
     and b.day = '0001-01-01'
  on conflict do nothing;

  for account in
    select * from stepwell.budgets b
     where b.tenant_id = p_tenant and b.owner_id in (p_job, job.root_id, p_tenant)
       and case b.scope when 'job' then b.owner_id = p_job
                        when 'day' then b.day = v_today
                        else true end
     order by b.scope, b.owner_id, b.day, b.unit
       for no key update
  loop
    v_spent := account.spent + case account.unit when 'seconds' then job.age_s else 0 end;
    v_asked := case account.unit when 'seconds' then 0
                                 else (p_asked ->> account.unit::text)::numeric end;
    if account.unit = 'seconds' and v_spent >= account.cap
       or account.unit <> 'seconds' and not v_is_held
          and v_spent + account.reserved + account.lent + v_asked > account.cap then
      return jsonb_build_object(
        'scope', account.scope, 'unit', account.unit, 'cap', account.cap::text,
        'spent', v_spent::text, 'reserved', account.reserved::text, 'lent', account.lent::text,
        'asked', v_asked::text);
    end if;
    if account.unit <> 'seconds' then
      v_charged := array_append(v_charged, account);
    end if;
  end loop;
  if v_is_held then return '{}'; end if;

  with reserved as (
    insert into stepwell.budget_entries (
      tenant_id, job_id, seq, owner_id, scope, day, unit, reserved)
    select p_tenant, p_job, p_seq, c.owner_id, c.scope, c.day, c.unit,
           (p_asked ->> c.unit::text)::numeric
      from unnest(v_charged) c
    returning *
  )
  update stepwell.budgets b set reserved = b.reserved + r.reserved
    from reserved r
   where b.tenant_id = p_tenant and b.owner_id = r.owner_id and b.scope = r.scope
     and b.day = r.day and b.unit = r.unit;
  return '{}';
end $$;
