"""A folder of state has one owner, and its secrets are made once and read by nobody else."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from store.hosting.errors import FolderInUse
from store.hosting.folder import FolderClaim, keep_secret, write_private

ROOT = Path(__file__).parents[3]

HOLDER = """
import sys
from pathlib import Path
from store.hosting.folder import FolderClaim
folder = Path(sys.argv[1])
claim = FolderClaim(folder / "lock", folder)
claim.take()
print("held", flush=True)
sys.stdin.read()
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_secret_is_made_once_even_by_many_at_once(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "token"

    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: keep_secret(path), range(32)))

    assert len(secrets) == 1
    assert len(secrets.pop()) >= 40
    assert [file.name for file in path.parent.iterdir()] == ["token"], "no drafts are left"


def test_secrets_and_private_files_are_for_their_owner_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        keep_secret(tmp_path / "secrets" / "token")
        write_private(tmp_path / "secrets" / "other", "text")
    finally:
        os.umask(old)

    assert mode(tmp_path / "secrets") == 0o700
    assert {mode(file) for file in (tmp_path / "secrets").iterdir()} == {0o600}


def test_the_second_claim_names_the_process_that_has_the_first(tmp_path: Path) -> None:
    second = FolderClaim(tmp_path / "lock", tmp_path)
    with (
        FolderClaim(tmp_path / "lock", tmp_path),
        pytest.raises(FolderInUse, match=f"process {os.getpid()}") as refusal,
    ):
        second.take()
    assert refusal.value.owner_pid == os.getpid()

    with second:
        assert second.is_held


def test_a_claim_ends_with_its_holder(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            HOLDER,
            str(tmp_path),
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    claim = FolderClaim(tmp_path / "lock", tmp_path)
    with pytest.raises(FolderInUse, match=f"process {holder.pid}"):
        claim.take()

    holder.kill()
    holder.communicate()

    with claim:
        assert claim.is_held
