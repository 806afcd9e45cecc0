-- replay_letter: a dead letter becomes a new job that goes on from the step that failed, once.
--
-- 'made', 'busy' when a step of the failed job is still coming in, 'closed' when it was replayed or
-- discarded already, 'missing' when there is no such letter.
create or replace function stepwell.replay_letter(
  p_tenant uuid, p_job uuid, p_new uuid, p_version text, p_class text, p_by text
) returns text language plpgsql as $$
declare
  letter record;
  v_made text;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  perform from stepwell.jobs j where j.tenant_id = p_tenant and j.id = p_job for no key update;
  select l.state, l.replay_version into letter from stepwell.dead_letters l
   where l.tenant_id = p_tenant and l.job_id = p_job
     for no key update;
  if not found then return 'missing'; end if;
  if letter.state not in ('open', 'replaying') then return 'closed'; end if;
  v_made := stepwell.fork_job(
    p_tenant, p_job, p_new, null, coalesce(p_version, letter.replay_version), null, p_class);
  if v_made <> 'made' then return v_made; end if;
  update stepwell.dead_letters l
     set state = 'replayed', replayed_as = p_new, replay_at = null, decided_at = now(),
         decided_by = coalesce(p_by, l.decided_by)
   where l.tenant_id = p_tenant and l.job_id = p_job;
  return 'made';
end $$;
