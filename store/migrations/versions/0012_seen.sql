-- Whether what a job was given may be a text from outside: a tainted job has written it, and no person has seen it.

-- Schedules come first, as a tick locks its schedule and then makes a job. Null: the version before made it,
-- and said nothing of it.
alter table stepwell.schedules add column input_tainted boolean;
alter table stepwell.jobs add column input_tainted boolean not null default false;

-- Nobody knows of the jobs that are there, so what may have come of a tainted one is taken for it. The owner is
-- behind the walls like anybody else, and this is about every tenant's rows.
alter table stepwell.jobs no force row level security;
update stepwell.jobs set input_tainted = true where tainted_by <> '{}' and origin in ('agent', 'schedule');
alter table stepwell.jobs force row level security;
