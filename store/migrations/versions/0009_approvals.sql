-- Calls that wait for people, what those said, and the audit.

create domain stepwell.tier as text;
alter domain stepwell.tier add constraint tier_is_known check (value in ('approve', 'confirm'));
create domain stepwell.approval_state as text;
alter domain stepwell.approval_state add constraint approval_state_is_known check (value in ('answered', 'cancelled', 'edited', 'granted', 'pending', 'rejected'));
create domain stepwell.approval_ending as text;
alter domain stepwell.approval_ending add constraint approval_ending_is_known check (value in ('decided', 'expired', 'remembered', 'stopped'));
create domain stepwell.decision as text;
alter domain stepwell.decision add constraint decision_is_known check (value in ('approve', 'edit', 'reject', 'respond'));
alter domain stepwell.wait_kind drop constraint wait_kind_is_known;
alter domain stepwell.wait_kind add constraint wait_kind_is_known check (value in ('approval', 'children', 'question', 'reconcile', 'review', 'signal', 'timer'));

CREATE TABLE stepwell.approvals (
  tenant_id UUID NOT NULL,
  job_id UUID NOT NULL,
  seq INTEGER NOT NULL,
  n INTEGER NOT NULL,
  wait_n INTEGER NOT NULL,
  tool TEXT NOT NULL,
  args JSONB NOT NULL,
  args_sha256 TEXT NOT NULL,
  tool_sha256 TEXT NOT NULL,
  tier stepwell.tier NOT NULL,
  role TEXT,
  quorum INTEGER NOT NULL,
  reasons TEXT[] NOT NULL,
  rules TEXT[] NOT NULL,
  policy_version TEXT NOT NULL,
  fallback stepwell.decision NOT NULL,
  state stepwell.approval_state NOT NULL,
  ending stepwell.approval_ending,
  is_remembered BOOLEAN DEFAULT false NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE,
  closed_at TIMESTAMP WITH TIME ZONE,
  consumed_at TIMESTAMP WITH TIME ZONE,
  consumed_epoch INTEGER,
  CONSTRAINT approvals_pkey PRIMARY KEY (tenant_id, job_id, seq, n),
  CONSTRAINT approvals_step_fkey FOREIGN KEY(tenant_id, job_id, seq) REFERENCES stepwell.checkpoints (tenant_id, job_id, seq) ON DELETE CASCADE,
  CONSTRAINT somebody_decides CHECK (quorum >= 1),
  CONSTRAINT fallback_is_yes_or_no CHECK (fallback in ('approve', 'reject')),
  CONSTRAINT closed_approval_has_its_ending CHECK ((closed_at is null) = (state = 'pending') and (ending is null) = (state = 'pending')),
  CONSTRAINT only_a_granted_approval_is_consumed CHECK (consumed_at is null or state = 'granted'),
  CONSTRAINT consumed_approval_has_its_claim CHECK ((consumed_at is null) = (consumed_epoch is null))
);
CREATE INDEX approvals_asking ON stepwell.approvals (tenant_id, created_at) WHERE state = 'pending';
CREATE INDEX approvals_due ON stepwell.approvals (expires_at) WHERE state = 'pending' and expires_at is not null;
CREATE INDEX approvals_remembered ON stepwell.approvals (tenant_id, job_id, args_sha256) WHERE is_remembered;
CREATE UNIQUE INDEX one_approval_per_step ON stepwell.approvals (tenant_id, job_id, seq) WHERE state = 'pending';
CREATE TABLE stepwell.decisions (
  tenant_id UUID NOT NULL,
  job_id UUID NOT NULL,
  seq INTEGER NOT NULL,
  n INTEGER NOT NULL,
  decided_by TEXT NOT NULL,
  roles TEXT[] NOT NULL,
  decision stepwell.decision NOT NULL,
  args_sha256 TEXT NOT NULL,
  reason TEXT,
  answer JSONB,
  remember BOOLEAN DEFAULT false NOT NULL,
  decided_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT decisions_pkey PRIMARY KEY (tenant_id, job_id, seq, n, decided_by),
  CONSTRAINT decisions_approval_fkey FOREIGN KEY(tenant_id, job_id, seq, n) REFERENCES stepwell.approvals (tenant_id, job_id, seq, n) ON DELETE CASCADE
);
CREATE TABLE stepwell.audit (
  tenant_id UUID NOT NULL,
  n BIGINT NOT NULL,
  content JSONB NOT NULL,
  before_sha256 TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  CONSTRAINT audit_pkey PRIMARY KEY (tenant_id, n)
);
CREATE TABLE stepwell.audit_chains (
  tenant_id UUID NOT NULL,
  length BIGINT DEFAULT 0 NOT NULL,
  sha256 TEXT DEFAULT '0000000000000000000000000000000000000000000000000000000000000000' NOT NULL,
  CONSTRAINT audit_chains_pkey PRIMARY KEY (tenant_id)
);

grant select, insert, update on stepwell.approvals to stepwell_app;
grant select, insert, update, delete on stepwell.approvals to stepwell_operator;
alter table stepwell.approvals enable row level security;
alter table stepwell.approvals force row level security;
create policy tenant_wall on stepwell.approvals to stepwell_app using (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid) with check (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid);
create policy operator_door on stepwell.approvals to stepwell_operator using (true) with check (true);
grant select, insert on stepwell.decisions to stepwell_app;
grant select, insert on stepwell.decisions to stepwell_operator;
alter table stepwell.decisions enable row level security;
alter table stepwell.decisions force row level security;
create policy tenant_wall on stepwell.decisions to stepwell_app using (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid) with check (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid);
create policy operator_door on stepwell.decisions to stepwell_operator using (true) with check (true);
grant select, insert on stepwell.audit to stepwell_app;
grant select, insert on stepwell.audit to stepwell_operator;
alter table stepwell.audit enable row level security;
alter table stepwell.audit force row level security;
create policy tenant_wall on stepwell.audit to stepwell_app using (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid) with check (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid);
create policy operator_door on stepwell.audit to stepwell_operator using (true) with check (true);
grant select, insert, update on stepwell.audit_chains to stepwell_app;
grant select, insert, update on stepwell.audit_chains to stepwell_operator;
alter table stepwell.audit_chains enable row level security;
alter table stepwell.audit_chains force row level security;
create policy tenant_wall on stepwell.audit_chains to stepwell_app using (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid) with check (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid);
create policy operator_door on stepwell.audit_chains to stepwell_operator using (true) with check (true);

create or replace function stepwell.refuse_change() returns trigger language plpgsql as $$
begin
  raise exception using
    message = 'audit_is_kept: ' || tg_table_name || ' is only ever added to',
    errcode = 'integrity_constraint_violation';
end $$;

create trigger audit_is_kept before update or delete or truncate on stepwell.audit
  for each statement execute function stepwell.refuse_change();
-- A decision goes with its job, and is never changed.
create trigger decision_is_kept before update on stepwell.decisions
  for each statement execute function stepwell.refuse_change();

-- Its successor takes two things more, which callers of this one leave out.
drop function if exists stepwell.start_effect(uuid, uuid, int, int);
