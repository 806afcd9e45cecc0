-- bear_children: put down the jobs that a step has asked for, each with its first steps.
--
-- A child is never more than its parent (child_is_less): it has its class, model and tenant, ends no
-- later, is one deeper in the same line, and is asked for by the same person through the same doors. Whether
-- its input may say what a text from outside said is known to the step that asks for it; workers of the
-- version before say nothing of it. The caller holds the parent, and has checked the bounds.
create or replace function stepwell.bear_children(
  p_tenant uuid, p_job uuid, p_seq int, p_children jsonb
) returns void language sql as $$
  insert into stepwell.jobs (
    tenant_id, id, agent, agent_version, model, job_class, origin, origins_above, requester, roles, status,
    outstanding, next_seq, event_seq, input, deadline_at, parent_job_id, parent_seq, root_id, depth,
    tainted_by, input_tainted)
  select p_tenant, (child.value ->> 'id')::uuid, child.value ->> 'agent',
         child.value ->> 'agent_version', parent.model, parent.job_class, 'agent',
         parent.origins_above || parent.origin::text, parent.requester, parent.roles, 'queued',
         jsonb_array_length(child.value -> 'steps'), jsonb_array_length(child.value -> 'steps') + 1,
         1, child.value -> 'input',
         least(parent.deadline_at, now() + make_interval(
           secs => (child.value ->> 'deadline_in_s')::double precision)),
         p_job, p_seq, parent.root_id, parent.depth + 1, parent.tainted_by,
         coalesce((child.value ->> 'input_tainted')::boolean, parent.tainted_by <> '{}')
    from stepwell.jobs parent, jsonb_array_elements(p_children) child
   where parent.tenant_id = p_tenant and parent.id = p_job;

  insert into stepwell.checkpoints (
    tenant_id, job_id, seq, kind, name, job_class, work, input, state)
  select p_tenant, (child.value ->> 'id')::uuid, step.n, step.value ->> 'kind',
         step.value ->> 'name', parent.job_class, step.value ->> 'work', step.value -> 'input',
         'ready'
    from stepwell.jobs parent, jsonb_array_elements(p_children) child,
         jsonb_array_elements(child.value -> 'steps') with ordinality as step (value, n)
   where parent.tenant_id = p_tenant and parent.id = p_job;

  insert into stepwell.events (tenant_id, job_id, id, type, data)
  select p_tenant, (child.value ->> 'id')::uuid, 1, 'job.queued', jsonb_build_object(
           'agent', child.value ->> 'agent', 'class', parent.job_class, 'parent', p_job)
    from stepwell.jobs parent, jsonb_array_elements(p_children) child
   where parent.tenant_id = p_tenant and parent.id = p_job;
$$;
