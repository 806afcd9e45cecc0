-- The first tables, their laws and their walls.

CREATE TABLE stepwell.tenants (
  tenant_id UUID NOT NULL,
  name TEXT NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT tenants_pkey PRIMARY KEY (tenant_id),
  CONSTRAINT tenants_name_key UNIQUE (name)
);

CREATE TABLE stepwell.workers (
  id UUID NOT NULL,
  name TEXT NOT NULL,
  work TEXT NOT NULL,
  slots INTEGER NOT NULL,
  version TEXT NOT NULL,
  state TEXT NOT NULL,
  started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  beaten_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT workers_pkey PRIMARY KEY (id),
  CONSTRAINT worker_state_is_known CHECK (state in ('draining', 'live', 'lost', 'stopped'))
)
 WITH (fillfactor = 50);

CREATE TABLE stepwell.jobs (
  tenant_id UUID NOT NULL,
  id UUID NOT NULL,
  agent TEXT NOT NULL,
  agent_version TEXT NOT NULL,
  model TEXT,
  job_class TEXT NOT NULL,
  origin TEXT NOT NULL,
  status TEXT NOT NULL,
  status_reason TEXT,
  status_until TIMESTAMP WITH TIME ZONE,
  waiting_for TEXT,
  outstanding INTEGER NOT NULL,
  steps_done INTEGER DEFAULT 0 NOT NULL,
  next_seq INTEGER NOT NULL,
  event_seq INTEGER DEFAULT 0 NOT NULL,
  cancel_requested_at TIMESTAMP WITH TIME ZONE,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  started_at TIMESTAMP WITH TIME ZONE,
  finished_at TIMESTAMP WITH TIME ZONE,
  idempotency_key TEXT,
  request_sha256 TEXT,
  input JSONB NOT NULL,
  output JSONB,
  error JSONB,
  CONSTRAINT jobs_pkey PRIMARY KEY (tenant_id, id),
  CONSTRAINT jobs_tenant_id_idempotency_key_key UNIQUE (tenant_id, idempotency_key),
  CONSTRAINT jobs_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES stepwell.tenants (tenant_id),
  CONSTRAINT job_status_is_known CHECK (status in ('cancelled', 'completed', 'expired', 'failed', 'input_required', 'queued', 'running')),
  CONSTRAINT job_class_is_known CHECK (job_class in ('background', 'batch', 'default', 'interactive')),
  CONSTRAINT one_ending CHECK ((finished_at is not null) = (status in ('cancelled', 'completed', 'expired', 'failed'))),
  CONSTRAINT outstanding_is_counted CHECK (outstanding >= 0)
)
 WITH (fillfactor = 70);
CREATE INDEX jobs_cancelling ON stepwell.jobs (cancel_requested_at) WHERE cancel_requested_at is not null and finished_at is null;
CREATE INDEX jobs_newest ON stepwell.jobs (tenant_id, created_at, id);

CREATE TABLE stepwell.artifacts (
  tenant_id UUID NOT NULL,
  id UUID NOT NULL,
  job_id UUID,
  seq INTEGER,
  name TEXT NOT NULL,
  media_type TEXT NOT NULL,
  size_bytes BIGINT NOT NULL,
  sha256 TEXT NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT artifacts_pkey PRIMARY KEY (tenant_id, id),
  CONSTRAINT artifacts_tenant_id_job_id_seq_name_key UNIQUE (tenant_id, job_id, seq, name),
  CONSTRAINT artifacts_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES stepwell.tenants (tenant_id),
  CONSTRAINT artifacts_tenant_id_job_id_fkey FOREIGN KEY(tenant_id, job_id) REFERENCES stepwell.jobs (tenant_id, id) ON DELETE CASCADE,
  CONSTRAINT size_is_counted CHECK (size_bytes >= 0)
);

CREATE TABLE stepwell.checkpoints (
  tenant_id UUID NOT NULL,
  job_id UUID NOT NULL,
  seq INTEGER NOT NULL,
  parent_seq INTEGER,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  job_class TEXT NOT NULL,
  work TEXT NOT NULL,
  state TEXT NOT NULL,
  epoch INTEGER DEFAULT 0 NOT NULL,
  attempts INTEGER DEFAULT 0 NOT NULL,
  losses INTEGER DEFAULT 0 NOT NULL,
  worker_id UUID,
  ready_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  rung_at TIMESTAMP WITH TIME ZONE,
  claimed_at TIMESTAMP WITH TIME ZONE,
  committed_at TIMESTAMP WITH TIME ZONE,
  input JSONB,
  output JSONB,
  error JSONB,
  CONSTRAINT checkpoints_pkey PRIMARY KEY (tenant_id, job_id, seq),
  CONSTRAINT checkpoints_tenant_id_job_id_fkey FOREIGN KEY(tenant_id, job_id) REFERENCES stepwell.jobs (tenant_id, id) ON DELETE CASCADE,
  CONSTRAINT step_state_is_known CHECK (state in ('cancelled', 'committed', 'failed', 'ready', 'running')),
  CONSTRAINT step_kind_is_known CHECK (kind in ('function', 'model', 'tool')),
  CONSTRAINT step_class_is_known CHECK (job_class in ('background', 'batch', 'default', 'interactive')),
  CONSTRAINT step_work_is_known CHECK (work in ('computes', 'waits')),
  CONSTRAINT running_has_a_worker CHECK ((state = 'running') = (worker_id is not null and committed_at is null)),
  CONSTRAINT settled_has_its_moment CHECK ((committed_at is not null) = (state in ('committed', 'failed', 'cancelled')))
)
 WITH (fillfactor = 85);
CREATE INDEX checkpoints_ready ON stepwell.checkpoints (job_class, work, ready_at) WHERE state = 'ready';
CREATE INDEX checkpoints_running ON stepwell.checkpoints (worker_id) WHERE state = 'running';

CREATE TABLE stepwell.events (
  tenant_id UUID NOT NULL,
  job_id UUID NOT NULL,
  id INTEGER NOT NULL,
  type TEXT NOT NULL,
  data JSONB DEFAULT '{}'::jsonb NOT NULL,
  at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT events_pkey PRIMARY KEY (tenant_id, job_id, id),
  CONSTRAINT events_tenant_id_job_id_fkey FOREIGN KEY(tenant_id, job_id) REFERENCES stepwell.jobs (tenant_id, id) ON DELETE CASCADE
);

CREATE TABLE stepwell.usage (
  tenant_id UUID NOT NULL,
  job_id UUID NOT NULL,
  seq INTEGER NOT NULL,
  model TEXT NOT NULL,
  requests INTEGER NOT NULL,
  input_tokens BIGINT NOT NULL,
  output_tokens BIGINT NOT NULL,
  cost_usd NUMERIC(18, 9),
  at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT usage_pkey PRIMARY KEY (tenant_id, job_id, seq),
  CONSTRAINT usage_tenant_id_job_id_fkey FOREIGN KEY(tenant_id, job_id) REFERENCES stepwell.jobs (tenant_id, id) ON DELETE CASCADE
);

CREATE TABLE stepwell.artifact_chunks (
  tenant_id UUID NOT NULL,
  artifact_id UUID NOT NULL,
  n INTEGER NOT NULL,
  data BYTEA NOT NULL,
  CONSTRAINT artifact_chunks_pkey PRIMARY KEY (tenant_id, artifact_id, n),
  CONSTRAINT artifact_chunks_tenant_id_artifact_id_fkey FOREIGN KEY(tenant_id, artifact_id) REFERENCES stepwell.artifacts (tenant_id, id) ON DELETE CASCADE
);

insert into stepwell.tenants (tenant_id, name)
values ('00000000-0000-4000-8000-000000000001', 'default');

grant usage on schema stepwell to stepwell_app, stepwell_operator;
grant select on stepwell.alembic_version to stepwell_app, stepwell_operator;
grant select on stepwell.tenants to stepwell_app;
grant select, insert, update, delete on stepwell.tenants to stepwell_operator;
grant select, insert, update on stepwell.jobs to stepwell_app;
grant select, insert, update, delete on stepwell.jobs to stepwell_operator;
grant select, insert, update on stepwell.checkpoints to stepwell_app;
grant select, insert, update, delete on stepwell.checkpoints to stepwell_operator;
grant select, insert, update on stepwell.workers to stepwell_app;
grant select, insert, update, delete on stepwell.workers to stepwell_operator;
grant select, insert on stepwell.events to stepwell_app;
grant select, insert, update, delete on stepwell.events to stepwell_operator;
grant select, insert on stepwell.usage to stepwell_app;
grant select, insert, update, delete on stepwell.usage to stepwell_operator;
grant select, insert, update, delete on stepwell.artifacts to stepwell_app;
grant select, insert, update, delete on stepwell.artifacts to stepwell_operator;
grant select, insert, delete on stepwell.artifact_chunks to stepwell_app;
grant select, insert, update, delete on stepwell.artifact_chunks to stepwell_operator;
alter table stepwell.artifact_chunks enable row level security;
alter table stepwell.artifact_chunks force row level security;
create policy tenant_wall on stepwell.artifact_chunks to stepwell_app using (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid) with check (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid);
create policy operator_door on stepwell.artifact_chunks to stepwell_operator using (true) with check (true);
alter table stepwell.artifacts enable row level security;
alter table stepwell.artifacts force row level security;
create policy tenant_wall on stepwell.artifacts to stepwell_app using (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid) with check (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid);
create policy operator_door on stepwell.artifacts to stepwell_operator using (true) with check (true);
alter table stepwell.checkpoints enable row level security;
alter table stepwell.checkpoints force row level security;
create policy tenant_wall on stepwell.checkpoints to stepwell_app using (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid) with check (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid);
create policy operator_door on stepwell.checkpoints to stepwell_operator using (true) with check (true);
alter table stepwell.events enable row level security;
alter table stepwell.events force row level security;
create policy tenant_wall on stepwell.events to stepwell_app using (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid) with check (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid);
create policy operator_door on stepwell.events to stepwell_operator using (true) with check (true);
alter table stepwell.jobs enable row level security;
alter table stepwell.jobs force row level security;
create policy tenant_wall on stepwell.jobs to stepwell_app using (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid) with check (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid);
create policy operator_door on stepwell.jobs to stepwell_operator using (true) with check (true);
alter table stepwell.tenants enable row level security;
alter table stepwell.tenants force row level security;
create policy tenant_wall on stepwell.tenants to stepwell_app using (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid) with check (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid);
create policy operator_door on stepwell.tenants to stepwell_operator using (true) with check (true);
alter table stepwell.usage enable row level security;
alter table stepwell.usage force row level security;
create policy tenant_wall on stepwell.usage to stepwell_app using (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid) with check (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid);
create policy operator_door on stepwell.usage to stepwell_operator using (true) with check (true);
