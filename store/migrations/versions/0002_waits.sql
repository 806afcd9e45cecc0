-- Waiting, effects, deadlines, children, dead letters and forks.

-- It returns more now. A worker of the version before can settle what it holds, and claims nothing.
drop function if exists stepwell.claim_step(uuid, uuid, int, uuid, boolean);
drop function if exists stepwell.sweep_cancelled();

alter table stepwell.workers add column serves JSONB DEFAULT '{}'::jsonb NOT NULL;

alter table stepwell.jobs
  add column deadline_at TIMESTAMP WITH TIME ZONE,
  add column parent_job_id UUID,
  add column parent_seq INTEGER,
  add column root_id UUID,
  add column depth INTEGER DEFAULT 0 NOT NULL,
  add column children INTEGER DEFAULT 0 NOT NULL,
  add column parent_told BOOLEAN DEFAULT false NOT NULL,
  add column forked_from UUID,
  add column forked_from_seq INTEGER;
-- The owner is behind the walls like anybody else, and this is about every tenant's rows.
alter table stepwell.jobs no force row level security;
update stepwell.jobs set root_id = id;
alter table stepwell.jobs force row level security;
alter table stepwell.jobs
  alter column root_id set not null,
  add constraint jobs_parent_fkey FOREIGN KEY(tenant_id, parent_job_id) REFERENCES stepwell.jobs (tenant_id, id) ON DELETE CASCADE,
  add constraint child_has_a_parent CHECK ((parent_job_id is null) = (depth = 0) and (parent_job_id is null) = (root_id = id));
CREATE INDEX jobs_expiring ON stepwell.jobs (deadline_at) WHERE deadline_at is not null and finished_at is null;
CREATE INDEX jobs_finished ON stepwell.jobs (finished_at) WHERE finished_at is not null;
CREATE INDEX jobs_forked ON stepwell.jobs (tenant_id, forked_from) WHERE forked_from is not null;
CREATE INDEX jobs_of_parent ON stepwell.jobs (tenant_id, parent_job_id, parent_seq) WHERE parent_job_id is not null;
CREATE INDEX jobs_of_root ON stepwell.jobs (tenant_id, root_id) WHERE parent_job_id is not null;
CREATE INDEX jobs_untold ON stepwell.jobs (finished_at) WHERE parent_job_id is not null and not parent_told and finished_at is not null;

alter table stepwell.checkpoints
  add column waits INTEGER DEFAULT 0 NOT NULL,
  add column effect_key TEXT,
  add column effect_epoch INTEGER,
  add column effect_started_at TIMESTAMP WITH TIME ZONE,
  drop constraint step_state_is_known,
  add constraint step_state_is_known CHECK (state in ('cancelled', 'committed', 'failed', 'ready', 'running', 'waiting')),
  add constraint effect_was_claimed CHECK (effect_epoch between 1 and epoch);

CREATE TABLE stepwell.waits (
  tenant_id UUID NOT NULL,
  job_id UUID NOT NULL,
  seq INTEGER NOT NULL,
  n INTEGER NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  prompt JSONB,
  state TEXT NOT NULL,
  result JSONB,
  fallback JSONB,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  wake_at TIMESTAMP WITH TIME ZONE,
  decided_by TEXT,
  closed_at TIMESTAMP WITH TIME ZONE,
  consumed_at TIMESTAMP WITH TIME ZONE,
  consumed_epoch INTEGER,
  CONSTRAINT waits_pkey PRIMARY KEY (tenant_id, job_id, seq, n),
  CONSTRAINT waits_step_fkey FOREIGN KEY(tenant_id, job_id, seq) REFERENCES stepwell.checkpoints (tenant_id, job_id, seq) ON DELETE CASCADE,
  CONSTRAINT wait_kind_is_known CHECK (kind in ('children', 'question', 'reconcile', 'review', 'signal', 'timer')),
  CONSTRAINT wait_state_is_known CHECK (state in ('answered', 'cancelled', 'expired', 'fired', 'pending')),
  CONSTRAINT closed_wait_has_its_moment CHECK ((closed_at is not null) = (state <> 'pending')),
  CONSTRAINT only_a_given_answer_is_consumed CHECK (consumed_at is null or state in ('fired', 'answered', 'expired'))
);
CREATE UNIQUE INDEX one_wait_per_step ON stepwell.waits (tenant_id, job_id, seq) WHERE state = 'pending';
CREATE INDEX waits_asking ON stepwell.waits (tenant_id, created_at) WHERE state = 'pending' and kind in ('question', 'reconcile', 'review');
CREATE INDEX waits_due ON stepwell.waits (wake_at) WHERE state = 'pending' and wake_at is not null;
CREATE TABLE stepwell.signals (
  tenant_id UUID NOT NULL,
  job_id UUID NOT NULL,
  id UUID NOT NULL,
  name TEXT NOT NULL,
  key TEXT,
  payload JSONB,
  sent_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  consumed_seq INTEGER,
  consumed_n INTEGER,
  consumed_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT signals_pkey PRIMARY KEY (tenant_id, job_id, id),
  CONSTRAINT one_signal_per_key UNIQUE (tenant_id, job_id, key),
  CONSTRAINT one_signal_per_wait UNIQUE (tenant_id, job_id, consumed_seq, consumed_n),
  CONSTRAINT signals_tenant_id_job_id_fkey FOREIGN KEY(tenant_id, job_id) REFERENCES stepwell.jobs (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX signals_unread ON stepwell.signals (tenant_id, job_id, name, sent_at) WHERE consumed_at is null;
CREATE TABLE stepwell.dead_letters (
  tenant_id UUID NOT NULL,
  job_id UUID NOT NULL,
  seq INTEGER NOT NULL,
  step_name TEXT NOT NULL,
  agent TEXT NOT NULL,
  class TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  message TEXT NOT NULL,
  hint TEXT NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  state TEXT NOT NULL,
  replay_at TIMESTAMP WITH TIME ZONE,
  replay_version TEXT,
  replayed_as UUID,
  decided_by TEXT,
  decided_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT dead_letters_pkey PRIMARY KEY (tenant_id, job_id),
  CONSTRAINT dead_letters_tenant_id_job_id_fkey FOREIGN KEY(tenant_id, job_id) REFERENCES stepwell.jobs (tenant_id, id) ON DELETE CASCADE,
  CONSTRAINT letter_state_is_known CHECK (state in ('discarded', 'open', 'replayed', 'replaying')),
  CONSTRAINT replayed_names_its_job CHECK ((state = 'replayed') = (replayed_as is not null))
);
CREATE INDEX dead_letters_due ON stepwell.dead_letters (replay_at) WHERE state = 'replaying';
CREATE INDEX dead_letters_newest ON stepwell.dead_letters (tenant_id, created_at, job_id);

grant select, insert, update on stepwell.waits to stepwell_app;
grant select, insert, update, delete on stepwell.waits to stepwell_operator;
alter table stepwell.waits enable row level security;
alter table stepwell.waits force row level security;
create policy tenant_wall on stepwell.waits to stepwell_app using (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid) with check (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid);
create policy operator_door on stepwell.waits to stepwell_operator using (true) with check (true);
grant select, insert, update on stepwell.signals to stepwell_app;
grant select, insert, update, delete on stepwell.signals to stepwell_operator;
alter table stepwell.signals enable row level security;
alter table stepwell.signals force row level security;
create policy tenant_wall on stepwell.signals to stepwell_app using (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid) with check (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid);
create policy operator_door on stepwell.signals to stepwell_operator using (true) with check (true);
grant select, insert, update on stepwell.dead_letters to stepwell_app;
grant select, insert, update, delete on stepwell.dead_letters to stepwell_operator;
alter table stepwell.dead_letters enable row level security;
alter table stepwell.dead_letters force row level security;
create policy tenant_wall on stepwell.dead_letters to stepwell_app using (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid) with check (tenant_id = (select current_setting('stepwell.tenant_id'))::uuid);
create policy operator_door on stepwell.dead_letters to stepwell_operator using (true) with check (true);
