-- How a job came to be: its origin among a few words, those of the line above, who asked, and their roles.

create domain stepwell.origin as text;

alter table stepwell.jobs
  alter column origin type stepwell.origin,
  add column origins_above text[] not null default '{}',
  add column requester text,
  add column roles text[] not null default '{}';

-- Children that are there already have at least the origin of the first of their line above them.
-- The owner is behind the walls like anybody else, and this is about every tenant's rows.
alter table stepwell.jobs no force row level security;
update stepwell.jobs child
   set origins_above = array[root.origin::text]
  from stepwell.jobs root
 where child.parent_job_id is not null
   and root.tenant_id = child.tenant_id and root.id = child.root_id;
alter table stepwell.jobs force row level security;

alter domain stepwell.origin add constraint origin_is_known check (value in ('agent', 'api', 'chat', 'mcp', 'schedule', 'webhook'));

create function stepwell.keep_invocation() returns trigger language plpgsql as $$
begin
  raise exception 'invocation_is_kept: how a job came to be cannot be changed'
    using errcode = 'integrity_constraint_violation';
end $$;

-- It fires only for statements that name one of these columns, so an ordinary step pays nothing for it.
create trigger invocation_is_kept
  before update of origin, origins_above, requester, roles, parent_job_id, root_id, depth
  on stepwell.jobs for each statement execute function stepwell.keep_invocation();

-- It gives more columns; the new one is among the functions (store/sql).
drop function if exists stepwell.claim_step(uuid, uuid, int, uuid, boolean);
