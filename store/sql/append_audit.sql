-- append_audit: one more line of a tenant's audit, bound to the line before it by its hash.
--
-- Whoever adds a line holds the end of the chain until the transaction is over, so the lines have one
-- order and no gap. That row is locked after everything else but the accounts of budgets, and by one who
-- adds lines of several tenants in the order of their ids. Returns the number of the line.
create or replace function stepwell.append_audit(p_tenant uuid, p_content jsonb)
returns bigint language plpgsql as $$
declare
  chain record;
  v_content jsonb := p_content || jsonb_build_object(
    'at', to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'));
  v_sha256 text;
begin
  insert into stepwell.audit_chains (tenant_id) values (p_tenant) on conflict do nothing;
  select c.length + 1 as n, c.sha256 into chain from stepwell.audit_chains c
   where c.tenant_id = p_tenant
     for no key update;
  v_sha256 := encode(sha256(convert_to(
    concat_ws(E'\n', chain.sha256, p_tenant, chain.n, v_content::text), 'UTF8')), 'hex');
  insert into stepwell.audit (tenant_id, n, content, before_sha256, sha256)
  values (p_tenant, chain.n, v_content, chain.sha256, v_sha256);
  update stepwell.audit_chains c set length = chain.n, sha256 = v_sha256
   where c.tenant_id = p_tenant;
  return chain.n;
end $$;
