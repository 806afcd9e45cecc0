-- The words of a column become a type of their own, which is cheaper to keep than a check.
--
-- A type without a law is given to the columns first, which rewrites no table; the law comes after, and
-- reads them once.

create domain stepwell.job_status as text;
create domain stepwell.job_class as text;
create domain stepwell.step_state as text;
create domain stepwell.step_kind as text;
create domain stepwell.work as text;
create domain stepwell.wait_kind as text;
create domain stepwell.wait_state as text;
create domain stepwell.letter_state as text;
create domain stepwell.worker_state as text;

alter table stepwell.jobs
  drop constraint job_status_is_known,
  drop constraint job_class_is_known,
  alter column status type stepwell.job_status,
  alter column job_class type stepwell.job_class;

alter table stepwell.checkpoints
  drop constraint step_state_is_known,
  drop constraint step_kind_is_known,
  drop constraint step_class_is_known,
  drop constraint step_work_is_known,
  alter column state type stepwell.step_state,
  alter column kind type stepwell.step_kind,
  alter column job_class type stepwell.job_class,
  alter column work type stepwell.work;

alter table stepwell.waits
  drop constraint wait_kind_is_known,
  drop constraint wait_state_is_known,
  alter column kind type stepwell.wait_kind,
  alter column state type stepwell.wait_state;

alter table stepwell.dead_letters
  drop constraint letter_state_is_known,
  alter column state type stepwell.letter_state;

alter table stepwell.workers
  drop constraint worker_state_is_known,
  alter column state type stepwell.worker_state,
  alter column work type stepwell.work;

alter domain stepwell.job_status add constraint job_status_is_known check (value in ('cancelled', 'completed', 'expired', 'failed', 'input_required', 'queued', 'running'));
alter domain stepwell.job_class add constraint job_class_is_known check (value in ('background', 'batch', 'default', 'interactive'));
alter domain stepwell.step_state add constraint step_state_is_known check (value in ('cancelled', 'committed', 'failed', 'ready', 'running', 'waiting'));
alter domain stepwell.step_kind add constraint step_kind_is_known check (value in ('function', 'model', 'tool'));
alter domain stepwell.work add constraint work_is_known check (value in ('computes', 'waits'));
alter domain stepwell.wait_kind add constraint wait_kind_is_known check (value in ('children', 'question', 'reconcile', 'review', 'signal', 'timer'));
alter domain stepwell.wait_state add constraint wait_state_is_known check (value in ('answered', 'cancelled', 'expired', 'fired', 'pending'));
alter domain stepwell.letter_state add constraint letter_state_is_known check (value in ('discarded', 'open', 'replayed', 'replaying'));
alter domain stepwell.worker_state add constraint worker_state_is_known check (value in ('draining', 'live', 'lost', 'stopped'));

-- A scheduler of the version before rings for nothing any more.
drop function if exists stepwell.take_due(text, text, int, double precision);
