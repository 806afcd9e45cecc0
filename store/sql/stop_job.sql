-- stop_job: end a job that is to end before its time: its cancel was asked for, or its deadline passed.
--
-- Ready and waiting steps are cancelled at once, and their waits closed. A running step is never torn:
-- its commit sees that the job is to end and plans nothing, and the last one to come in ends it.
-- A ready step that somebody is claiming or ringing for at this moment is as if it ran: waiting for it
-- with the job locked would be a deadlock, as whoever has claimed it will want the job. Unless it comes
-- to run, the next claim or the next round of the scheduler ends it.
--
-- Unfinished children are cancelled with it. Locks go down the tree, parent before child, always.
-- Returns whether the job is, or will be, over.
create or replace function stepwell.stop_job(p_tenant uuid, p_job uuid)
returns boolean language plpgsql as $$
declare
  job record;
  child record;
  v_stopped int;
  v_ending text;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  select j.outstanding, j.event_seq, j.finished_at, j.cancel_requested_at, j.children,
         j.deadline_at <= now() as is_late into job
    from stepwell.jobs j
   where j.tenant_id = p_tenant and j.id = p_job
     for no key update;
  if not found or job.finished_at is null and job.cancel_requested_at is null
     and job.is_late is not true then
    return false;
  end if;

  with unbegun as (
    select c.seq from stepwell.checkpoints c
     where c.tenant_id = p_tenant and c.job_id = p_job and c.state in ('ready', 'waiting')
       for no key update skip locked
  )
  update stepwell.checkpoints c
     set state = 'cancelled', committed_at = now()
    from unbegun
   where c.tenant_id = p_tenant and c.job_id = p_job and c.seq = unbegun.seq;
  get diagnostics v_stopped = row_count;
  if v_stopped > 0 then
    update stepwell.waits w set state = 'cancelled', closed_at = now()
     where w.tenant_id = p_tenant and w.job_id = p_job and w.state = 'pending';
    update stepwell.approvals a set state = 'cancelled', ending = 'stopped', closed_at = now()
     where a.tenant_id = p_tenant and a.job_id = p_job and a.state = 'pending';
  end if;

  if job.finished_at is null and job.outstanding = v_stopped then
    v_ending := case when job.cancel_requested_at is not null then 'cancelled' else 'expired' end;
    insert into stepwell.events (tenant_id, job_id, id, type)
    values (p_tenant, p_job, job.event_seq + 1, 'job.' || v_ending);
    update stepwell.jobs j
       set status = v_ending, finished_at = now(), outstanding = 0, event_seq = j.event_seq + 1,
           status_reason = case v_ending when 'expired' then 'deadline' end,
           status_until = null, waiting_for = null,
           error = case v_ending when 'expired' then jsonb_build_object(
             'class', 'deadline', 'message', 'Its deadline passed before it was done.',
             'hint', 'Give it more time, or ask for less.') end
     where j.tenant_id = p_tenant and j.id = p_job;
  elsif v_stopped > 0 then
    update stepwell.jobs j set outstanding = j.outstanding - v_stopped
     where j.tenant_id = p_tenant and j.id = p_job;
  end if;

  if job.children > 0 then
    for child in
      select j.id from stepwell.jobs j
       where j.tenant_id = p_tenant and j.parent_job_id = p_job and j.finished_at is null
       order by j.id
    loop
      perform stepwell.cancel_job(p_tenant, child.id);
    end loop;
  end if;
  return true;
end $$;
