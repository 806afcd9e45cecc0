-- keep_verdicts: keep what guards said in a step, and what its result taints the job with.
--
-- Part of the transaction that settles or parks the step, under whose fence it stands. What is told is
-- {guards: [{stage, guard, verdict, count, reason, found}], taint: [source]}, with whatever else; it comes
-- back as the story of the job tells it, without plain allows. A job that has read something from
-- outside stays tainted by it, and so do the jobs it makes and the copies that are made of it.
create or replace function stepwell.keep_verdicts(
  p_tenant uuid, p_job uuid, p_seq int, p_epoch int, p_told jsonb
) returns jsonb language plpgsql as $$
declare
  v_loud jsonb;
  v_sources text[] := array(select jsonb_array_elements_text(coalesce(p_told -> 'taint', '[]')));
begin
  insert into stepwell.guard_verdicts (
    tenant_id, job_id, seq, epoch, n, stage, guard, verdict, count, reason, found)
  select p_tenant, p_job, p_seq, p_epoch, said.n::int, said.value ->> 'stage',
         said.value ->> 'guard', said.value ->> 'verdict',
         coalesce((said.value ->> 'count')::int, 1), coalesce(said.value ->> 'reason', ''),
         said.value -> 'found'
    from jsonb_array_elements(coalesce(p_told -> 'guards', '[]')) with ordinality as said (value, n)
  on conflict do nothing;

  if cardinality(v_sources) > 0 then
    update stepwell.jobs j
       set tainted_by = (
           select array_agg(distinct source order by source)
             from unnest(j.tainted_by || v_sources) source)
     where j.tenant_id = p_tenant and j.id = p_job and not v_sources <@ j.tainted_by;
  end if;

  select jsonb_agg(said.value order by said.n) into v_loud
    from jsonb_array_elements(coalesce(p_told -> 'guards', '[]')) with ordinality as said (value, n)
   where said.value ->> 'verdict' <> 'allow';
  return p_told - 'guards'
         || case when v_loud is null then '{}' else jsonb_build_object('guards', v_loud) end;
end $$;
