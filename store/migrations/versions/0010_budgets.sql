-- What may be spent, and what was: budgets and their ledger.

create domain stepwell.budget_scope as text;
alter domain stepwell.budget_scope add constraint budget_scope_is_known check (value in ('day', 'job', 'tenant', 'tree'));
create domain stepwell.budget_unit as text;
alter domain stepwell.budget_unit add constraint budget_unit_is_known check (value in ('seconds', 'steps', 'tokens', 'usd'));

CREATE TABLE stepwell.budgets (
  tenant_id UUID NOT NULL,
  owner_id UUID NOT NULL,
  scope stepwell.budget_scope NOT NULL,
  day DATE DEFAULT '0001-01-01'::date NOT NULL,
  unit stepwell.budget_unit NOT NULL,
  job_id UUID,
  parent_id UUID,
  cap NUMERIC(28, 9),
  reserved NUMERIC(28, 9) DEFAULT 0 NOT NULL,
  lent NUMERIC(28, 9) DEFAULT 0 NOT NULL,
  spent NUMERIC(28, 9) DEFAULT 0 NOT NULL,
  base NUMERIC(28, 9) DEFAULT 0 NOT NULL,
  taken NUMERIC(28, 9) DEFAULT 0 NOT NULL,
  is_open BOOLEAN DEFAULT true NOT NULL,
  since TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT budgets_pkey PRIMARY KEY (tenant_id, owner_id, scope, day, unit),
  CONSTRAINT budgets_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES stepwell.tenants (tenant_id),
  CONSTRAINT budgets_tenant_id_job_id_fkey FOREIGN KEY(tenant_id, job_id) REFERENCES stepwell.jobs (tenant_id, id) ON DELETE CASCADE,
  CONSTRAINT amounts_are_counted CHECK (reserved >= 0 and lent >= 0 and base >= 0 and spent >= base and taken >= 0),
  CONSTRAINT cap_is_an_amount CHECK (cap >= 0),
  CONSTRAINT budget_has_an_owner CHECK ((job_id is null) = (scope in ('day', 'tenant')) and (job_id is null or job_id = owner_id)),
  CONSTRAINT loan_is_the_cap CHECK (taken = 0 or not is_open or (parent_id is not null and cap <= taken))
)
 WITH (fillfactor = 50);
CREATE INDEX budgets_lent ON stepwell.budgets (tenant_id, parent_id) WHERE is_open and parent_id is not null;
CREATE INDEX budgets_of_job ON stepwell.budgets (tenant_id, job_id) WHERE job_id is not null;
CREATE TABLE stepwell.budget_entries (
  tenant_id UUID NOT NULL,
  job_id UUID NOT NULL,
  seq INTEGER NOT NULL,
  owner_id UUID NOT NULL,
  scope stepwell.budget_scope NOT NULL,
  day DATE NOT NULL,
  unit stepwell.budget_unit NOT NULL,
  reserved NUMERIC(28, 9) NOT NULL,
  spent NUMERIC(28, 9) DEFAULT 0 NOT NULL,
  released NUMERIC(28, 9) DEFAULT 0 NOT NULL,
  is_estimated BOOLEAN DEFAULT false NOT NULL,
  at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  settled_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT budget_entries_pkey PRIMARY KEY (tenant_id, job_id, seq, owner_id, scope, day, unit),
  CONSTRAINT budget_conserved CHECK (case when settled_at is null then spent = 0 and released = 0 else spent + released = reserved end),
  CONSTRAINT entries_are_amounts CHECK (reserved >= 0 and spent >= 0)
)
 WITH (fillfactor = 70);
CREATE INDEX budget_entries_of_budget ON stepwell.budget_entries (tenant_id, owner_id, scope, day, unit);
CREATE INDEX budget_entries_open ON stepwell.budget_entries (tenant_id, job_id, seq) WHERE settled_at is null;
CREATE INDEX budget_entries_settled ON stepwell.budget_entries (settled_at) WHERE settled_at is not null;

grant select, insert, update on stepwell.budgets to stepwell_app;
grant select, insert, update, delete on stepwell.budgets to stepwell_operator;
alter table stepwell.budgets enable row level security;
alter table stepwell.budgets force row level security;
create policy tenant_wall on stepwell.budgets to stepwell_app using (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid) with check (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid);
create policy operator_door on stepwell.budgets to stepwell_operator using (true) with check (true);

grant select, insert, update on stepwell.budget_entries to stepwell_app;
grant select, insert, update, delete on stepwell.budget_entries to stepwell_operator;
alter table stepwell.budget_entries enable row level security;
alter table stepwell.budget_entries force row level security;
create policy tenant_wall on stepwell.budget_entries to stepwell_app using (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid) with check (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid);
create policy operator_door on stepwell.budget_entries to stepwell_operator using (true) with check (true);

-- It gives one column more; the new one is among the functions (store/sql).
drop function if exists stepwell.claim_step(uuid, uuid, int, uuid, boolean);
