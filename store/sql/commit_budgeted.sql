-- commit_budgeted: the commit of a step that has set something aside, settled in the same transaction.
--
-- It is commit_step, followed by settle_budget: the accounts come last, when every job that the commit
-- needs is locked already. Steps without a budget call commit_step, and pay nothing for those that have.
create or replace function stepwell.commit_budgeted(
  p_tenant uuid, p_job uuid, p_seq int, p_epoch int, p_worker uuid,
  p_state text, p_output jsonb, p_error jsonb, p_event jsonb, p_usage jsonb,
  p_plan jsonb, p_joining boolean, p_inline boolean, p_ending jsonb
) returns table (settled boolean, job_status text, first_seq int, planned int)
language plpgsql as $$
declare
  done record;
begin
  select * into done from stepwell.commit_step(
    p_tenant, p_job, p_seq, p_epoch, p_worker, p_state, p_output, p_error, p_event, p_usage,
    p_plan, p_joining, p_inline, p_ending);
  if done.settled then
    perform stepwell.settle_budget(p_tenant, p_job, p_seq);
  end if;
  return query select done.settled, done.job_status, done.first_seq, done.planned;
end $$;
