-- rest_job: say what a job waits for, once every step it still has is parked.
--
-- The caller holds the job. A question to a person is told before anything else it waits for.
create or replace function stepwell.rest_job(p_tenant uuid, p_job uuid)
returns void language plpgsql as $$
declare
  wait record;
begin
  select w.kind, w.wake_at, w.kind in ('question', 'reconcile', 'review', 'approval') as is_asking,
         count(*) over () as parked
    into wait
    from stepwell.waits w
   where w.tenant_id = p_tenant and w.job_id = p_job and w.state = 'pending'
   order by w.kind in ('question', 'reconcile', 'review', 'approval') desc, w.wake_at
   limit 1;
  if not found then return; end if;

  update stepwell.jobs j
     set status = case when wait.is_asking then 'input_required' else 'queued' end,
         status_reason = case when wait.is_asking then null else wait.kind end,
         waiting_for = case when wait.is_asking then wait.kind end,
         status_until = wait.wake_at
   where j.tenant_id = p_tenant and j.id = p_job and j.outstanding = wait.parked;
end $$;
