-- keep_invocation: how a job came to be is never changed (the trigger `invocation_is_kept`).
create or replace function stepwell.keep_invocation() returns trigger language plpgsql as $$
begin
  raise exception 'invocation_is_kept: how a job came to be cannot be changed'
    using errcode = 'integrity_constraint_violation';
end $$;
