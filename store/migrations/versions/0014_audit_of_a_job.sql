-- What the audit says of one job is found without reading all of it. It is a column of its own because ours is a wall
-- by rows: Postgres looks into the JSON of a row only after the wall has let it through, so an index over that would
-- never be used. What is hashed stays the content alone; this follows from it.
alter table stepwell.audit
  add column job_id uuid generated always as ((content ->> 'job_id')::uuid) stored;
create index audit_of_a_job on stepwell.audit (tenant_id, job_id, n) where job_id is not null;
