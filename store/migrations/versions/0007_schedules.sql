-- What is asked for again and again: schedules, and what became of their ticks.

alter table stepwell.workers add column begins JSONB DEFAULT '{}'::jsonb NOT NULL;

CREATE DOMAIN stepwell.catch_up AS TEXT CONSTRAINT catch_up_is_known CHECK (value in ('all', 'one', 'skip'));
CREATE DOMAIN stepwell.overlap AS TEXT CONSTRAINT overlap_is_known CHECK (value in ('allow', 'cancel_previous', 'queue', 'skip'));
CREATE TABLE stepwell.schedules (
  tenant_id UUID NOT NULL,
  id UUID NOT NULL,
  name TEXT NOT NULL,
  agent TEXT NOT NULL,
  input JSONB NOT NULL,
  job_class stepwell.job_class NOT NULL,
  model TEXT,
  deadline_s DOUBLE PRECISION,
  begins JSONB NOT NULL,
  requester TEXT,
  roles TEXT[] DEFAULT '{}' NOT NULL,
  origins_above TEXT[] DEFAULT '{}' NOT NULL,
  cron TEXT,
  every_s INTEGER,
  once_at TIMESTAMP WITH TIME ZONE,
  zone TEXT NOT NULL,
  starts_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  jitter_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
  catch_up stepwell.catch_up NOT NULL,
  catch_up_max INTEGER NOT NULL,
  overlap stepwell.overlap NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  paused_at TIMESTAMP WITH TIME ZONE,
  next_tick_at TIMESTAMP WITH TIME ZONE,
  next_at TIMESTAMP WITH TIME ZONE,
  last_tick_at TIMESTAMP WITH TIME ZONE,
  last_job_id UUID,
  CONSTRAINT schedules_pkey PRIMARY KEY (tenant_id, id),
  CONSTRAINT schedules_tenant_id_name_key UNIQUE (tenant_id, name),
  CONSTRAINT schedules_tenant_id_fkey FOREIGN KEY(tenant_id) REFERENCES stepwell.tenants (tenant_id),
  CONSTRAINT schedule_has_one_rhythm CHECK (num_nonnulls(cron, every_s, once_at) = 1),
  CONSTRAINT interval_is_positive CHECK (every_s >= 1),
  CONSTRAINT jitter_is_later CHECK (jitter_s >= 0),
  CONSTRAINT catch_up_is_bounded CHECK (catch_up_max between 1 and 1000),
  CONSTRAINT ticks_only_advance CHECK (last_tick_at < next_tick_at),
  CONSTRAINT tick_is_due_after_it CHECK ((next_tick_at is null) = (next_at is null) and next_at >= next_tick_at)
) WITH (fillfactor = 70);
CREATE INDEX schedules_due ON stepwell.schedules (next_at) WHERE next_at is not null and paused_at is null;
CREATE DOMAIN stepwell.tick_state AS TEXT CONSTRAINT tick_state_is_known CHECK (value in ('fired', 'skipped', 'waiting'));
CREATE TABLE stepwell.ticks (
  tenant_id UUID NOT NULL,
  schedule_id UUID NOT NULL,
  tick_at TIMESTAMP WITH TIME ZONE NOT NULL,
  state stepwell.tick_state NOT NULL,
  reason TEXT,
  missed INTEGER DEFAULT 0 NOT NULL,
  job_id UUID,
  at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  moved_by TEXT,
  CONSTRAINT tick_fires_once PRIMARY KEY (tenant_id, schedule_id, tick_at),
  CONSTRAINT ticks_schedule_fkey FOREIGN KEY(tenant_id, schedule_id) REFERENCES stepwell.schedules (tenant_id, id) ON DELETE CASCADE,
  CONSTRAINT fired_has_a_job CHECK ((state = 'fired') = (job_id is not null)),
  CONSTRAINT skipped_has_a_reason CHECK ((state = 'skipped') = (reason is not null))
);
CREATE INDEX ticks_by_time ON stepwell.ticks (at);
CREATE UNIQUE INDEX ticks_of_job ON stepwell.ticks (tenant_id, job_id) WHERE job_id is not null;
CREATE INDEX ticks_waiting ON stepwell.ticks (tenant_id, schedule_id, tick_at) WHERE state = 'waiting';

grant select, insert, update, delete on stepwell.schedules to stepwell_app;
grant select, insert, update, delete on stepwell.schedules to stepwell_operator;
grant select, insert, update on stepwell.ticks to stepwell_app;
grant select, insert, update, delete on stepwell.ticks to stepwell_operator;
alter table stepwell.schedules enable row level security;
alter table stepwell.schedules force row level security;
create policy tenant_wall on stepwell.schedules to stepwell_app using (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid) with check (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid);
create policy operator_door on stepwell.schedules to stepwell_operator using (true) with check (true);
alter table stepwell.ticks enable row level security;
alter table stepwell.ticks force row level security;
create policy tenant_wall on stepwell.ticks to stepwell_app using (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid) with check (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid);
create policy operator_door on stepwell.ticks to stepwell_operator using (true) with check (true);
