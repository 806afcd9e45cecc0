"""Callers: who may ask, as whom, through which door; a file of names and hashes of tokens.

    [[callers]]
    name = "ann"                  # the requester of every job she asks for
    token_sha256 = "9f86d0…"      # of her token, which is kept nowhere
    roles = ["finance"]           # none, by default
    origin = "chat"               # chat, api, webhook or mcp
    tenant_id = "0198…"           # the platform's own, by default

Somebody may be there several times, with a token for each door. The file is read when the API
starts, and one that others could read or change, or that says anything odd, keeps it from starting.

Whoever holds the platform's own token is the operator: `operator` by name and by role, over `api`.
That name is nobody else's; the role may be given to others.
"""

from __future__ import annotations

import hashlib
import stat
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jobs.policy.judgement import ROLE
from jobs.web.settings import WebSettings
from store.approvals import OPERATOR
from store.errors import NotReady
from store.rows import JobRow
from store.schedules import ScheduleRow
from store.states import Origin

FILE_NAME = "callers.toml"
FILE_BYTES_MAX = 8 * 2**20
CALLERS_MAX = 20_000
ROLES_MAX = 50
# The group may read it; nobody else may, and only its owner may write.
FORBIDDEN_MODE = stat.S_IWGRP | stat.S_IRWXO

# A role is what a policy may ask for. Only by its pattern: a value that is wrong is never told.
Role = Annotated[str, Field(pattern=f"^{ROLE.pattern}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}$")]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as the door has recognised them."""

    tenant_id: UUID
    requester: str
    roles: frozenset[str]
    origin: Origin

    @property
    def is_operator(self) -> bool:
        return OPERATOR in self.roles

    def may_copy(self, job: JobRow) -> bool:
        """Whether a copy of the job, which is as the job came to be, gives them nothing new."""
        is_theirs = job.requester == self.requester and self.roles >= {*job.roles}
        came_by = [*job.origins_above, job.origin][0]
        return self.is_operator or (is_theirs and came_by == self.origin)

    def may_steer(self, row: ScheduleRow) -> bool:
        """Whether they may say when the schedule runs: it is theirs, with no role they have not."""
        is_theirs = row.requester == self.requester and self.roles >= {*row.roles}
        return self.is_operator or is_theirs


class Entry(BaseModel):
    """A caller as the file says it."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    token_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    roles: Annotated[list[Role], Field(max_length=ROLES_MAX)] = []
    origin: Literal["chat", "api", "webhook", "mcp"] = "api"
    tenant_id: UUID | None = None


class CallersFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid")

    callers: Annotated[list[Entry], Field(max_length=CALLERS_MAX)] = []


@dataclass(frozen=True, slots=True)
class Callers:
    """Everybody the door knows, by the hash of their token."""

    by_hash: Mapping[str, Caller] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, path: Path | None, tenant_id: UUID) -> Callers:
        """Those of the file; nobody without one. Raises `NotReady` saying what is wrong with it.

        `tenant_id` is the tenant of those who name none.
        """
        if path is None:
            return cls()
        entries = read_callers(path)
        return cls(
            {
                each.token_sha256: Caller(
                    each.tenant_id or tenant_id,
                    each.name,
                    frozenset(each.roles),
                    Origin(each.origin),
                )
                for each in entries
            }
        )

    def find(self, token: str) -> Caller | None:
        """Whose token this is. A hash is looked up, so the time it takes tells nothing of it."""
        return self.by_hash.get(hash_of(token))


def operator(tenant_id: UUID) -> Caller:
    """Whoever holds the platform's own token."""
    return Caller(tenant_id, OPERATOR, frozenset({OPERATOR}), Origin.API)


def hash_of(token: str) -> str:
    """What is kept of a token. It is random and long, so it needs no salt and no slow hash."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def find_file(settings: WebSettings, home: Path) -> Path | None:
    """The file that is set, else the one in the home of the platform, where there is one."""
    if settings.callers_file is not None:
        return settings.callers_file
    usual = home / FILE_NAME
    return usual if usual.exists() else None


def read_callers(path: Path) -> list[Entry]:
    """The entries of the file, in its order; raises `NotReady`."""
    try:
        found = path.stat()
        text = path.read_text("utf-8") if found.st_size <= FILE_BYTES_MAX else None
    except (OSError, ValueError) as error:
        raise _refused(path, f"it cannot be read: {error}") from None
    if found.st_mode & FORBIDDEN_MODE:
        raise _refused(
            path,
            f"others may read or change it (mode {stat.S_IMODE(found.st_mode):04o}). "
            f"Say: chmod 600 {path}",
        )
    if text is None:
        raise _refused(path, f"it has more than {FILE_BYTES_MAX:,} bytes.")
    return parse(text, path)


def parse(text: str, path: Path) -> list[Entry]:
    """The entries of a text that is, or is to be, in this file; raises `NotReady`."""
    try:
        entries = CallersFile.model_validate(tomllib.loads(text)).callers
    except tomllib.TOMLDecodeError as error:
        raise _refused(path, f"it is no TOML: {error}.") from None
    except ValidationError as error:
        raise _refused(path, f"{'; '.join(_told(error))}.") from None
    if any(each.name == OPERATOR for each in entries):
        raise _refused(path, f"{OPERATOR!r} is who holds the platform's own token. Name another.")
    twice = [one for one, n in Counter(e.token_sha256 for e in entries).items() if n > 1]
    if twice:
        names = sorted({each.name for each in entries if each.token_sha256 in twice})
        raise _refused(path, f"a token is there twice (of {', '.join(names)}).")
    return entries


def _told(error: ValidationError) -> list[str]:
    """What is wrong, and where, without the values: one of them might be a token."""
    said = error.errors(include_url=False, include_context=False, include_input=False)
    return [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in said[:5]]


def _refused(path: Path, why: str) -> NotReady:
    return NotReady(f"The file of callers, {path}, cannot be used: {why}")
