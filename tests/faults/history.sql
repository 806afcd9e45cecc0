-- history: one row for every change of anything that a law speaks of, written by the change itself.
--
-- A row is numbered while the changed row is locked, so the changes of one row are numbered in the
-- order in which they happened, and so are those of one transaction. Outputs are kept as their MD5.
-- The functions run as the owner: the walled role is not let near a table that crosses tenants.
-- What a trigger does not name in its `when` (a ring, a counter of events) is not written down.

create schema if not exists stepwell_history authorization stepwell_owner;
set local role stepwell_owner;

create table if not exists stepwell_history.changes (
  number bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  transaction bigint not null default pg_current_xact_id()::text::bigint,
  relation text not null,
  verb text not null,
  job_id uuid not null,
  seq int,
  n int,
  id uuid,
  parent_seq int,
  old_state text,
  new_state text,
  old_epoch int,
  new_epoch int,
  old_worker uuid,
  new_worker uuid,
  old_output uuid,
  new_output uuid,
  old_error uuid,
  new_error uuid,
  old_closed timestamptz,
  new_closed timestamptz,
  old_consumed timestamptz,
  new_consumed timestamptz,
  old_effect_epoch int,
  new_effect_epoch int,
  is_rewritten boolean not null default false,
  is_loss boolean not null default false,
  worker_state text,
  worker_beaten_at timestamptz
);
grant usage on schema stepwell_history to stepwell_operator;
grant select on stepwell_history.changes to stepwell_operator;


-- jobs: how a job stood and stands.
create or replace function stepwell_history.see_job() returns trigger
language plpgsql security definer as $$
begin
  insert into stepwell_history.changes (
    relation, verb, job_id, old_state, new_state, old_output, new_output, old_error, new_error,
    old_closed, new_closed, is_rewritten)
  values (
    'jobs', tg_op, coalesce(new.id, old.id), old.status, new.status,
    md5(old.output::text)::uuid, md5(new.output::text)::uuid,
    md5(old.error::text)::uuid, md5(new.error::text)::uuid, old.finished_at, new.finished_at,
    tg_op = 'UPDATE'
    and row(old.tenant_id, old.id, old.agent, old.origin, old.input, old.created_at,
            old.deadline_at, old.parent_job_id, old.parent_seq, old.root_id, old.depth,
            old.forked_from, old.forked_from_seq)
        is distinct from
        row(new.tenant_id, new.id, new.agent, new.origin, new.input, new.created_at,
            new.deadline_at, new.parent_job_id, new.parent_seq, new.root_id, new.depth,
            new.forked_from, new.forked_from_seq));
  return null;
end $$;

create or replace trigger history_of_ends
  after insert or delete on stepwell.jobs
  for each row execute function stepwell_history.see_job();
create or replace trigger history_of_changes
  after update on stepwell.jobs for each row
  when ((old.status, old.finished_at, old.output, old.error, old.tenant_id, old.id, old.agent,
         old.origin, old.input, old.created_at, old.deadline_at, old.parent_job_id, old.parent_seq,
         old.root_id, old.depth, old.forked_from, old.forked_from_seq)
        is distinct from
        (new.status, new.finished_at, new.output, new.error, new.tenant_id, new.id, new.agent,
         new.origin, new.input, new.created_at, new.deadline_at, new.parent_job_id, new.parent_seq,
         new.root_id, new.depth, new.forked_from, new.forked_from_seq))
  execute function stepwell_history.see_job();


-- checkpoints: how a step stood and stands; when it is taken from a worker, how that one stood.
create or replace function stepwell_history.see_step() returns trigger
language plpgsql security definer as $$
declare
  v_is_loss boolean := tg_op = 'UPDATE' and new.losses > old.losses;
  v_state text;
  v_beaten_at timestamptz;
begin
  if v_is_loss then
    select w.state, w.beaten_at into v_state, v_beaten_at
      from stepwell.workers w where w.id = old.worker_id;
  end if;
  insert into stepwell_history.changes (
    relation, verb, job_id, seq, parent_seq, old_state, new_state, old_epoch, new_epoch,
    old_worker, new_worker, old_output, new_output, old_error, new_error, old_closed, new_closed,
    old_effect_epoch, new_effect_epoch, is_loss, worker_state, worker_beaten_at, is_rewritten)
  values (
    'checkpoints', tg_op, coalesce(new.job_id, old.job_id), coalesce(new.seq, old.seq),
    coalesce(new.parent_seq, old.parent_seq), old.state, new.state, old.epoch, new.epoch,
    old.worker_id, new.worker_id, md5(old.output::text)::uuid, md5(new.output::text)::uuid,
    md5(old.error::text)::uuid, md5(new.error::text)::uuid, old.committed_at, new.committed_at,
    old.effect_epoch, new.effect_epoch, v_is_loss, v_state, v_beaten_at,
    tg_op = 'UPDATE'
    and row(old.tenant_id, old.job_id, old.seq, old.parent_seq, old.kind, old.name, old.input,
            old.effect_key)
        is distinct from
        row(new.tenant_id, new.job_id, new.seq, new.parent_seq, new.kind, new.name, new.input,
            new.effect_key));
  return null;
end $$;

create or replace trigger history_of_ends
  after insert or delete on stepwell.checkpoints
  for each row execute function stepwell_history.see_step();
create or replace trigger history_of_changes
  after update on stepwell.checkpoints for each row
  when ((old.state, old.epoch, old.worker_id, old.losses, old.committed_at, old.output, old.error,
         old.effect_epoch, old.tenant_id, old.job_id, old.seq, old.parent_seq, old.kind, old.name,
         old.input, old.effect_key)
        is distinct from
        (new.state, new.epoch, new.worker_id, new.losses, new.committed_at, new.output, new.error,
         new.effect_epoch, new.tenant_id, new.job_id, new.seq, new.parent_seq, new.kind, new.name,
         new.input, new.effect_key))
  execute function stepwell_history.see_step();


-- waits: how a wait stood and stands; its output is the result, its epoch the claim that used it.
create or replace function stepwell_history.see_wait() returns trigger
language plpgsql security definer as $$
begin
  insert into stepwell_history.changes (
    relation, verb, job_id, seq, n, old_state, new_state, old_epoch, new_epoch,
    old_output, new_output, old_closed, new_closed, old_consumed, new_consumed, is_rewritten)
  values (
    'waits', tg_op, coalesce(new.job_id, old.job_id), coalesce(new.seq, old.seq),
    coalesce(new.n, old.n), old.state, new.state, old.consumed_epoch, new.consumed_epoch,
    md5(old.result::text)::uuid, md5(new.result::text)::uuid, old.closed_at, new.closed_at,
    old.consumed_at, new.consumed_at,
    tg_op = 'UPDATE'
    and row(old.tenant_id, old.job_id, old.seq, old.n, old.kind, old.name, old.prompt,
            old.fallback, old.created_at, old.wake_at)
        is distinct from
        row(new.tenant_id, new.job_id, new.seq, new.n, new.kind, new.name, new.prompt,
            new.fallback, new.created_at, new.wake_at));
  return null;
end $$;

create or replace trigger history_of_all
  after insert or update or delete on stepwell.waits
  for each row execute function stepwell_history.see_wait();


-- signals: by which step and wait a signal was taken, and when; its output is the payload.
create or replace function stepwell_history.see_signal() returns trigger
language plpgsql security definer as $$
begin
  insert into stepwell_history.changes (
    relation, verb, job_id, id, seq, n, old_output, new_output, old_consumed, new_consumed,
    is_rewritten)
  values (
    'signals', tg_op, coalesce(new.job_id, old.job_id), coalesce(new.id, old.id),
    new.consumed_seq, new.consumed_n, md5(old.payload::text)::uuid, md5(new.payload::text)::uuid,
    old.consumed_at, new.consumed_at,
    tg_op = 'UPDATE'
    and row(old.tenant_id, old.job_id, old.id, old.name, old.key, old.payload, old.sent_at)
        is distinct from
        row(new.tenant_id, new.job_id, new.id, new.name, new.key, new.payload, new.sent_at));
  return null;
end $$;

create or replace trigger history_of_all
  after insert or update or delete on stepwell.signals
  for each row execute function stepwell_history.see_signal();


-- approvals: how the question about a call stood and stands; its epoch is the claim that consumed it.
create or replace function stepwell_history.see_approval() returns trigger
language plpgsql security definer as $$
begin
  insert into stepwell_history.changes (
    relation, verb, job_id, seq, n, old_state, new_state, old_epoch, new_epoch, old_closed, new_closed,
    old_consumed, new_consumed, is_rewritten)
  values (
    'approvals', tg_op, coalesce(new.job_id, old.job_id), coalesce(new.seq, old.seq),
    coalesce(new.n, old.n), old.state, new.state, old.consumed_epoch, new.consumed_epoch,
    old.closed_at, new.closed_at, old.consumed_at, new.consumed_at,
    tg_op = 'UPDATE'
    and row(old.tenant_id, old.job_id, old.seq, old.n, old.wait_n, old.tool, old.args,
            old.args_sha256, old.tool_sha256, old.tier, old.role, old.quorum, old.expires_at)
        is distinct from
        row(new.tenant_id, new.job_id, new.seq, new.n, new.wait_n, new.tool, new.args,
            new.args_sha256, new.tool_sha256, new.tier, new.role, new.quorum, new.expires_at));
  return null;
end $$;

create or replace trigger history_of_all
  after insert or update or delete on stepwell.approvals
  for each row execute function stepwell_history.see_approval();


-- dead_letters: what became of a letter.
create or replace function stepwell_history.see_letter() returns trigger
language plpgsql security definer as $$
begin
  insert into stepwell_history.changes (
    relation, verb, job_id, seq, old_state, new_state, is_rewritten)
  values (
    'dead_letters', tg_op, coalesce(new.job_id, old.job_id), coalesce(new.seq, old.seq),
    old.state, new.state,
    tg_op = 'UPDATE'
    and row(old.tenant_id, old.job_id, old.seq, old.class, old.fingerprint, old.message)
        is distinct from
        row(new.tenant_id, new.job_id, new.seq, new.class, new.fingerprint, new.message));
  return null;
end $$;

create or replace trigger history_of_all
  after insert or update or delete on stepwell.dead_letters
  for each row execute function stepwell_history.see_letter();
