"""A disk that is full for a moment: no artifact can be written, and all else goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

# A flag rather than a trigger that comes and goes: making one waits for every open transaction.
INSTALL = """
set local role stepwell_owner;
create table if not exists stepwell_history.full_disk (since timestamptz not null);
create or replace function stepwell_history.refuse_when_full() returns trigger
language plpgsql security definer as $$
begin
  if exists (select from stepwell_history.full_disk) then
    raise exception using errcode = '53100', message = 'could not extend file: no space left';
  end if;
  return new;
end $$;
create or replace trigger refuse_when_full before insert on stepwell.artifact_chunks
  for each row execute function stepwell_history.refuse_when_full();
"""


def install(admin_url: str) -> None:
    """Make a database whose history is kept able to run full."""
    with psycopg.connect(admin_url) as admin:
        admin.execute(INSTALL.encode())


@contextmanager
def full(admin_url: str) -> Iterator[None]:
    """While the block lasts, writing the bytes of an artifact fails as it does on a full disk."""
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute("insert into stepwell_history.full_disk values (now())")
    try:
        yield
    finally:
        with psycopg.connect(admin_url, autocommit=True) as admin:
            admin.execute("delete from stepwell_history.full_disk")
