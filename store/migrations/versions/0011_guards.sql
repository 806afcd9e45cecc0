-- What guards said of what passed through a job, and which outside texts a job has read.

-- Schedules come first, as a tick locks its schedule and then makes a job.
-- What the job had read that made the schedule: its jobs may do no more than that one might.
alter table stepwell.schedules add column tainted_by text[] not null default '{}';

-- A run that was moved is in place of this tick, which does not come as well.
alter table stepwell.schedules add column replaced_tick_at timestamptz;
alter table stepwell.jobs add column tainted_by text[] not null default '{}';

create domain stepwell.guard_stage as text;
alter domain stepwell.guard_stage add constraint guard_stage_is_known check (value in ('job.input', 'job.output', 'job.post', 'model.request', 'tool.args', 'tool.result'));
create domain stepwell.guard_verdict as text;
alter domain stepwell.guard_verdict add constraint guard_verdict_is_known check (value in ('allow', 'block', 'confirm', 'halt', 'replace', 'retry'));

CREATE TABLE stepwell.guard_verdicts (
  tenant_id UUID NOT NULL,
  job_id UUID NOT NULL,
  seq INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  n INTEGER NOT NULL,
  stage stepwell.guard_stage NOT NULL,
  guard TEXT NOT NULL,
  verdict stepwell.guard_verdict NOT NULL,
  count INTEGER DEFAULT 1 NOT NULL,
  reason TEXT DEFAULT '' NOT NULL,
  found JSONB,
  at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT guard_verdicts_pkey PRIMARY KEY (tenant_id, job_id, seq, epoch, n),
  CONSTRAINT guard_verdicts_tenant_id_job_id_fkey FOREIGN KEY(tenant_id, job_id) REFERENCES stepwell.jobs (tenant_id, id) ON DELETE CASCADE,
  CONSTRAINT only_allows_are_counted CHECK (count = 1 or verdict = 'allow')
);

grant select, insert on stepwell.guard_verdicts to stepwell_app;
grant select, insert, update, delete on stepwell.guard_verdicts to stepwell_operator;
alter table stepwell.guard_verdicts enable row level security;
alter table stepwell.guard_verdicts force row level security;
create policy tenant_wall on stepwell.guard_verdicts to stepwell_app using (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid) with check (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid);
create policy operator_door on stepwell.guard_verdicts to stepwell_operator using (true) with check (true);

create index schedules_ended on stepwell.schedules (created_at) where next_at is null;

-- It is told the roles of whoever answers.
drop function if exists stepwell.answer_wait(uuid, uuid, integer, integer, jsonb, text);
