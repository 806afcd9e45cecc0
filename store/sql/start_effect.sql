-- start_effect: the last word before a tool changes the world.
--
-- The planned row with its arguments is the intent; this marks the start; the commit is the result. A
-- step found later with a start and no result has an unknown outcome. Fenced like a commit, so a worker
-- that was taken for dead begins nothing. 'go', or 'stop' when the job is to end; null: not ours.
create or replace function stepwell.start_effect(p_tenant uuid, p_job uuid, p_seq int, p_epoch int)
returns text language plpgsql as $$
declare
  step record;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  if exists (select from stepwell.jobs j
              where j.tenant_id = p_tenant and j.id = p_job
                and (j.finished_at is not null or j.cancel_requested_at is not null
                     or j.deadline_at <= now())) then
    return 'stop';
  end if;
  update stepwell.checkpoints c
     set effect_epoch = c.epoch, effect_started_at = now()
   where c.tenant_id = p_tenant and c.job_id = p_job and c.seq = p_seq
     and c.epoch = p_epoch and c.state || '' = 'running'
  returning c.waits into step;
  if not found then return null; end if;
  if step.waits > 0 then
    perform stepwell.consume_wait(p_tenant, p_job, p_seq, p_epoch);
  end if;
  return 'go';
end $$;
