-- start_effect: the last word before a tool changes the world.
--
-- The planned row with its arguments is the intent; this marks the start; the commit is the result. A
-- step found later with a start and no result has an unknown outcome. Fenced like a commit, so a worker
-- that was taken for dead begins nothing.
--
-- Where people were asked about the call, it begins only under their yes to exactly these arguments of
-- exactly this tool, and consumes it in the same breath (approval_binds). A call that was begun before,
-- and may be made again under its key, goes on under the yes that it has consumed.
--
-- 'go'; 'stop' when the job is to end; 'ask' when nobody has said yes to this call; null: not ours.
create or replace function stepwell.start_effect(
  p_tenant uuid, p_job uuid, p_seq int, p_epoch int,
  p_args_sha256 text default null, p_tool_sha256 text default null
) returns text language plpgsql as $$
declare
  step record;
  asked record;
  v_is_asked boolean;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  if exists (select from stepwell.jobs j
              where j.tenant_id = p_tenant and j.id = p_job
                and (j.finished_at is not null or j.cancel_requested_at is not null
                     or j.deadline_at <= now())) then
    return 'stop';
  end if;
  select a.n, a.tool, a.state = 'granted' and a.args_sha256 = p_args_sha256
         and a.tool_sha256 = p_tool_sha256 as is_granted into asked
    from stepwell.approvals a
   where a.tenant_id = p_tenant and a.job_id = p_job and a.seq = p_seq
   order by a.n desc
   limit 1;
  v_is_asked := found or p_args_sha256 is not null;
  if v_is_asked and asked.is_granted is not true then return 'ask'; end if;
  update stepwell.checkpoints c
     set effect_epoch = c.epoch, effect_started_at = now()
   where c.tenant_id = p_tenant and c.job_id = p_job and c.seq = p_seq
     and c.epoch = p_epoch and c.state || '' = 'running'
  returning c.waits into step;
  if not found then return null; end if;
  if v_is_asked then
    update stepwell.approvals a set consumed_at = now(), consumed_epoch = p_epoch
     where a.tenant_id = p_tenant and a.job_id = p_job and a.seq = p_seq and a.n = asked.n
       and a.consumed_at is null;
    if found then
      perform stepwell.append_audit(p_tenant, jsonb_build_object(
        'kind', 'approval.consumed', 'job_id', p_job, 'seq', p_seq, 'n', asked.n,
        'tool', asked.tool, 'args_sha256', p_args_sha256, 'tool_sha256', p_tool_sha256,
        'epoch', p_epoch));
    end if;
  end if;
  if step.waits > 0 then
    perform stepwell.consume_wait(p_tenant, p_job, p_seq, p_epoch);
  end if;
  return 'go';
end $$;
