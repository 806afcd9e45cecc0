-- What tenants ask for before calls of their agents.

CREATE TABLE stepwell.policy_rules (
  tenant_id UUID NOT NULL,
  id TEXT NOT NULL,
  version INTEGER NOT NULL,
  tool TEXT NOT NULL,
  expression TEXT NOT NULL,
  verdict TEXT NOT NULL,
  role TEXT,
  quorum INTEGER NOT NULL,
  is_removed BOOLEAN DEFAULT false NOT NULL,
  decided_by TEXT NOT NULL,
  decided_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT policy_rules_pkey PRIMARY KEY (tenant_id, id, version),
  CONSTRAINT policy_rules_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES stepwell.tenants (tenant_id),
  CONSTRAINT rule_only_tightens CHECK (verdict in ('approve', 'confirm', 'deny')),
  CONSTRAINT rule_version_counts CHECK (version > 0),
  CONSTRAINT rule_quorum_is_small CHECK (quorum between 1 and 10)
);

grant select, insert on stepwell.policy_rules to stepwell_app;
grant select, insert, update, delete on stepwell.policy_rules to stepwell_operator;
alter table stepwell.policy_rules enable row level security;
alter table stepwell.policy_rules force row level security;
create policy tenant_wall on stepwell.policy_rules to stepwell_app using (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid) with check (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid);
create policy operator_door on stepwell.policy_rules to stepwell_operator using (true) with check (true);
