-- bury_job: write the dead letter of a job that failed, in the transaction that fails it.
--
-- Failures that look the same but for numbers and ids share a fingerprint.
create or replace function stepwell.bury_job(
  p_tenant uuid, p_job uuid, p_seq int, p_step text, p_agent text, p_error jsonb
) returns void language sql as $$
  insert into stepwell.dead_letters (
    tenant_id, job_id, seq, step_name, agent, class, fingerprint, message, hint, state, dependency)
  values (
    p_tenant, p_job, p_seq, p_step, p_agent, coalesce(p_error ->> 'class', 'bug'),
    left(md5(concat_ws(E'\n', p_agent, p_step, p_error ->> 'class',
      regexp_replace(p_error ->> 'message', '[0-9a-fA-F-]{8,}|[0-9]+', '#', 'g'))), 12),
    coalesce(p_error ->> 'message', ''), coalesce(p_error ->> 'hint', ''), 'open',
    p_error ->> 'dependency');
$$;
