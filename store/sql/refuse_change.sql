-- refuse_change: what was written down is kept as it is, whoever asks.
create or replace function stepwell.refuse_change() returns trigger language plpgsql as $$
begin
  raise exception using
    message = 'audit_is_kept: ' || tg_table_name || ' is only ever added to',
    errcode = 'integrity_constraint_violation';
end $$;
