-- What waits where, what was refused, and what was left out.

alter table stepwell.jobs add column degraded JSONB;

alter table stepwell.dead_letters add column dependency TEXT;

alter table stepwell.tenants
  add column weight INTEGER DEFAULT 1 NOT NULL,
  add column waiting_max INTEGER,
  add constraint weight_is_small CHECK (weight between 1 and 100),
  add constraint quota_is_positive CHECK (waiting_max > 0);

CREATE INDEX checkpoints_rung ON stepwell.checkpoints (job_class, work, rung_at) WHERE state = 'ready' and rung_at is not null;
CREATE INDEX checkpoints_waiting ON stepwell.checkpoints (job_class, work, ((parent_seq is null)::integer), tenant_id, ready_at) WHERE state = 'ready' and rung_at is null;
DROP INDEX stepwell.checkpoints_ready;
-- It takes turns now. A scheduler of the version before rings for nothing any more.
drop function if exists stepwell.take_due_steps(text[], text[], int[], double precision);

CREATE TABLE stepwell.census (
  job_class stepwell.job_class NOT NULL,
  waiting INTEGER DEFAULT 0 NOT NULL,
  oldest_at TIMESTAMP WITH TIME ZONE,
  turned_away INTEGER DEFAULT 0 NOT NULL,
  running INTEGER DEFAULT 0 NOT NULL,
  tenants INTEGER DEFAULT 0 NOT NULL,
  weights DOUBLE PRECISION DEFAULT 0 NOT NULL,
  started BIGINT DEFAULT 0 NOT NULL,
  started_counted BIGINT DEFAULT 0 NOT NULL,
  started_per_s DOUBLE PRECISION,
  wait_min_s DOUBLE PRECISION,
  refused BIGINT DEFAULT 0 NOT NULL,
  CONSTRAINT census_pkey PRIMARY KEY (job_class)
) WITH (fillfactor = 50);
insert into stepwell.census (job_class) values ('interactive'), ('default'), ('batch'), ('background');

CREATE TABLE stepwell.tenant_census (
  tenant_id UUID NOT NULL,
  job_class stepwell.job_class NOT NULL,
  waiting INTEGER NOT NULL,
  promised INTEGER DEFAULT 0 NOT NULL,
  CONSTRAINT tenant_census_pkey PRIMARY KEY (tenant_id, job_class),
  CONSTRAINT tenant_census_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES stepwell.tenants (tenant_id) ON DELETE CASCADE
) WITH (fillfactor = 50);

CREATE TABLE stepwell.load (
  is_the_one BOOLEAN DEFAULT true NOT NULL,
  level INTEGER DEFAULT 0 NOT NULL,
  since TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  calm INTEGER DEFAULT 0 NOT NULL,
  judged_at TIMESTAMP WITH TIME ZONE,
  measured_at TIMESTAMP WITH TIME ZONE,
  cost_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
  slots_waits INTEGER DEFAULT 0 NOT NULL,
  slots_computes INTEGER DEFAULT 0 NOT NULL,
  usual_s JSONB DEFAULT '{}'::jsonb NOT NULL,
  usual_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT load_pkey PRIMARY KEY (is_the_one),
  CONSTRAINT load_is_one_row CHECK (is_the_one),
  CONSTRAINT level_is_known CHECK (level between 0 and 3)
) WITH (fillfactor = 50);
insert into stepwell.load default values;

CREATE TABLE stepwell.turns (
  job_class stepwell.job_class NOT NULL,
  work stepwell.work NOT NULL,
  is_start BOOLEAN NOT NULL,
  whose UUID NOT NULL,
  steps_left INTEGER NOT NULL,
  CONSTRAINT turns_pkey PRIMARY KEY (job_class, work, is_start)
) WITH (fillfactor = 50);
insert into stepwell.turns (job_class, work, is_start, whose, steps_left)
select c.job_class, w.work, s.is_start, '00000000-0000-0000-0000-000000000000', 0
  from stepwell.census c, (values ('waits'), ('computes')) w (work), (values (true), (false)) s (is_start);

CREATE TABLE stepwell.refusals (
  tenant_id UUID NOT NULL,
  id UUID NOT NULL,
  at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  job_class stepwell.job_class NOT NULL,
  agent TEXT NOT NULL,
  code TEXT NOT NULL,
  reason TEXT NOT NULL,
  request_sha256 TEXT NOT NULL,
  retry_after_s DOUBLE PRECISION NOT NULL,
  come_at TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT refusals_pkey PRIMARY KEY (tenant_id, id),
  CONSTRAINT refusals_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES stepwell.tenants (tenant_id)
);
CREATE INDEX refusals_by_time ON stepwell.refusals (at);
CREATE INDEX refusals_of_tenant ON stepwell.refusals (tenant_id, at);
CREATE INDEX refusals_of_request ON stepwell.refusals (tenant_id, request_sha256, come_at);
CREATE INDEX refusals_promised ON stepwell.refusals (come_at);

grant select on stepwell.census to stepwell_app;
grant select, insert, update, delete on stepwell.census to stepwell_operator;
grant select on stepwell.tenant_census to stepwell_app;
grant select, insert, update, delete on stepwell.tenant_census to stepwell_operator;
grant select on stepwell.load to stepwell_app;
grant select, insert, update, delete on stepwell.load to stepwell_operator;
grant select, insert, update, delete on stepwell.turns to stepwell_operator;
grant select, insert on stepwell.refusals to stepwell_app;
grant select, insert, update, delete on stepwell.refusals to stepwell_operator;
alter table stepwell.refusals enable row level security;
alter table stepwell.refusals force row level security;
create policy tenant_wall on stepwell.refusals to stepwell_app using (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid) with check (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid);
create policy operator_door on stepwell.refusals to stepwell_operator using (true) with check (true);
alter table stepwell.tenant_census enable row level security;
alter table stepwell.tenant_census force row level security;
create policy tenant_wall on stepwell.tenant_census to stepwell_app using (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid) with check (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid);
create policy operator_door on stepwell.tenant_census to stepwell_operator using (true) with check (true);

-- Its successor takes one thing more, which callers of this one may leave out.
drop function if exists stepwell.release_step(uuid, uuid, int, int, double precision, boolean, text, jsonb);
