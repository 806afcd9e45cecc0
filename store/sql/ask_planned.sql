-- ask_planned: open the questions about calls that were planned as waiting for approval.
--
-- Called by the commit that plans them, so plan and questions appear together; the job is held.
create or replace function stepwell.ask_planned(
  p_tenant uuid, p_job uuid, p_first int, p_plan jsonb
) returns void language plpgsql as $$
declare
  step record;
  v_until timestamptz;
begin
  for step in
    select p_first + planned.n::int - 1 as seq, planned.value ->> 'name' as name,
           planned.value -> 'approval' as approval
      from jsonb_array_elements(p_plan) with ordinality as planned (value, n)
     where planned.value ? 'approval'
  loop
    v_until := now() + make_interval(secs => (step.approval ->> 'expires_s')::double precision);
    insert into stepwell.waits (tenant_id, job_id, seq, n, kind, name, prompt, state, wake_at)
    values (p_tenant, p_job, step.seq, 1, 'approval', step.approval ->> 'tool',
            jsonb_build_object('tool', step.approval ->> 'tool',
                               'args_sha256', step.approval ->> 'args_sha256'),
            'pending', v_until);
    perform stepwell.tell_event(p_tenant, p_job, 'step.waiting', jsonb_build_object(
      'seq', step.seq, 'name', step.name, 'for', 'approval', 'what', step.approval ->> 'tool',
      'until', v_until));
    perform stepwell.ask_approval(p_tenant, p_job, step.seq, 1, step.approval);
  end loop;
  perform stepwell.rest_job(p_tenant, p_job);
end $$;
