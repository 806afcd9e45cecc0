-- tell_parent: a child is over; when it was the last of those its parent waits for, wake the parent.
--
-- Said by the worker that ended the child, right after; what was missed is said by the scheduler
-- (parent_told is durable). The parent is locked before the child, as everywhere, so of two last
-- children one sees the other over. Returns the parent's step that is ready now, if it was woken.
create or replace function stepwell.tell_parent(p_tenant uuid, p_child uuid)
returns table (job_id uuid, seq int, name text, job_class text, work text) language plpgsql as $$
#variable_conflict use_column
declare
  child record;
  wait record;
  v_told jsonb;
begin
  perform set_config('stepwell.tenant_id', p_tenant::text, true);

  select j.parent_job_id, j.parent_seq, j.finished_at, j.parent_told into child
    from stepwell.jobs j
   where j.tenant_id = p_tenant and j.id = p_child;
  if child.parent_job_id is null or child.finished_at is null or child.parent_told then
    return;
  end if;
  perform from stepwell.jobs j
    where j.tenant_id = p_tenant and j.id = child.parent_job_id
      for no key update;
  update stepwell.jobs j set parent_told = true where j.tenant_id = p_tenant and j.id = p_child;

  select w.n, w.prompt -> 'children' as in_order into wait from stepwell.waits w
   where w.tenant_id = p_tenant and w.job_id = child.parent_job_id and w.seq = child.parent_seq
     and w.state = 'pending' and w.kind = 'children';
  if not found or exists (
    select from stepwell.jobs j
     where j.tenant_id = p_tenant and j.parent_job_id = child.parent_job_id
       and j.parent_seq = child.parent_seq and j.finished_at is null) then
    return;
  end if;

  select jsonb_agg(jsonb_build_object(
           'job_id', j.id, 'agent', j.agent, 'status', j.status, 'output', j.output,
           'error', j.error) order by asked.n, j.id) into v_told
    from stepwell.jobs j
    left join jsonb_array_elements_text(wait.in_order) with ordinality as asked (id, n)
      on asked.id = j.id::text
   where j.tenant_id = p_tenant and j.parent_job_id = child.parent_job_id
     and j.parent_seq = child.parent_seq;
  perform stepwell.wake_wait(
    p_tenant, child.parent_job_id, child.parent_seq, wait.n, 'fired', v_told, null);
  return query select c.job_id, c.seq, c.name, c.job_class::text, c.work::text
     from stepwell.checkpoints c
    where c.tenant_id = p_tenant and c.job_id = child.parent_job_id and c.seq = child.parent_seq;
end $$;
