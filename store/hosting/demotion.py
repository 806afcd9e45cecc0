"""Run a program as someone less than root, even from folders that only root may enter.

PostgreSQL refuses to run as root, rightly. A checkout under /root (mode 0700) is then out of its
reach: another user can pass neither to the program nor to the data. Opening the parent folders
would undo what their owner decided, so instead the demoted program keeps a single capability of
root's: to read and pass folders (`dac_read_search`). It is kept as an *ambient* capability, so
that it lives through `exec`; `no_setuid_fixup` makes `access(2)`, which programs ask before they
open their own files, count it as well; `no_new_privs` makes sure nothing is ever added.

Containers often run without that capability; they have the larger `dac_override`, which is the
last resort, as it also allows to write. Which of the three is needed is found by trying, in a
child that only looks. Nothing is kept when nothing is needed.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from store.hosting.errors import CannotRun

ROOT = 0
PREFERRED_USERS = ("postgres", "nobody")
CAPABILITIES = (None, "dac_read_search", "dac_override")

_LOOK = 'test -r "$1" && test -x "$1" && cd "$2"'


@dataclass(frozen=True, slots=True)
class Demotion:
    """How to run as one unprivileged user: `words` go before the command."""

    uid: int
    gid: int
    words: tuple[str, ...]


def is_needed() -> bool:
    return os.geteuid() == ROOT


def demote(program: Path, folder: Path) -> Demotion:
    """Find the way to run `program` as the owner of `folder`, handing it over if it is root's.

    It goes to the user postgres, or else nobody. Raises `CannotRun` when there is no way.
    """
    uid, gid = _hand_over(folder)
    for capability in CAPABILITIES:
        words = _words(uid, gid, capability)
        look = [*words, "/bin/sh", "-c", _LOOK, "sh", str(program), str(folder)]
        if subprocess.run(look, capture_output=True, cwd="/", check=False).returncode == 0:
            return Demotion(uid, gid, words)
    raise CannotRun(
        f"As root, PostgreSQL is run by user number {uid}, who cannot reach {folder} or "
        f"{program}. Run as an ordinary user, move the folder (STEPWELL_HOME), or use a server of "
        "your own (STEPWELL_DATABASE_URL)."
    )


def _hand_over(folder: Path) -> tuple[int, int]:
    owner = folder.stat()
    if owner.st_uid == ROOT:
        account = _unprivileged_account()
        os.chown(folder, account.pw_uid, account.pw_gid)
        owner = folder.stat()
    return owner.st_uid, owner.st_gid


def _unprivileged_account() -> pwd.struct_passwd:
    for name in PREFERRED_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise CannotRun("PostgreSQL does not run as root, and there is no user postgres or nobody.")


def _words(uid: int, gid: int, capability: str | None) -> tuple[str, ...]:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise CannotRun(
            "PostgreSQL does not run as root, and setpriv (util-linux) is missing. Run as an "
            "ordinary user, or use a server of your own (STEPWELL_DATABASE_URL)."
        )
    become = (f"--reuid={uid}", f"--regid={gid}", "--clear-groups")
    if capability is None:
        return (setpriv, "--no-new-privs", *become, "--")
    keep = (f"--inh-caps=-all,+{capability}", f"--ambient-caps=-all,+{capability}")
    return (setpriv, "--securebits=+no_setuid_fixup", "--no-new-privs", *become, *keep, "--")
