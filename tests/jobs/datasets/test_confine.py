"""The confined child: what it may do, what it may not, and how each of its ends is told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.datasets import confine
from jobs.datasets.confine import Crashed, Limits, OutOfMemory, TimedOut, run_confined
from jobs.datasets.errors import RefusedQuery
from jobs.datasets.folders import sweep_scratch
from jobs.datasets.probe import walls_here

ERRANDS = "tests.jobs.datasets.errands"
ROOT = Path(__file__).parents[3]
linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's walls are Linux only")


def run(errand: str, **arguments: object) -> object:
    return run_confined(f"{ERRANDS}:{errand}", arguments).value


def eventually(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.01)
    return True


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.fixture(scope="module")
def walls(tmp_path_factory: pytest.TempPathFactory) -> confine.Walls:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEPWELL_HOME", str(tmp_path_factory.mktemp("home")))
        return walls_here()


def test_a_value_travels_there_and_back() -> None:
    value = {"text": "ä\u2028\"'", "numbers": [1, 2.5, -0.1, 10**30], "none": None, "yes": True}
    assert run("echo", value=value) == value


def test_an_order_larger_than_a_pipe_arrives() -> None:
    assert run("echo", value="x" * 1_000_000) == "x" * 1_000_000


def test_a_refusal_keeps_its_kind_and_its_words() -> None:
    with pytest.raises(RefusedQuery, match="not like this"):
        run("refuse", message="not like this")


def test_an_unexpected_error_is_a_crash_that_names_it() -> None:
    with pytest.raises(Crashed, match="RuntimeError: oh no"):
        run("fail", message="oh no")


def test_what_it_prints_is_not_taken_for_its_answer() -> None:
    assert run("chatter") == "the answer"


def test_a_value_that_is_not_json_is_a_crash() -> None:
    with pytest.raises(Crashed, match="not JSON serializable"):
        run("return_a_set")


@pytest.mark.parametrize("errand", ["segfault", "die_by_signal"])
def test_a_death_is_told(errand: str) -> None:
    arguments = {"number": signal.SIGABRT} if errand == "die_by_signal" else {}
    with pytest.raises(Crashed, match="ended with code -"):
        run(errand, **arguments)


def test_the_wall_clock_ends_it() -> None:
    started = time.monotonic()
    with pytest.raises(TimedOut, match=r"longer than 0\.3 s"):
        run_confined(f"{ERRANDS}:sleep", {"seconds": 60}, limits=Limits(wall_clock_s=0.3))
    assert time.monotonic() - started < 10


def test_processor_time_ends_it() -> None:
    with pytest.raises(TimedOut, match="1 s of processor time"):
        run_confined(f"{ERRANDS}:spin", {}, limits=Limits(wall_clock_s=60, cpu_s=1))


def test_memory_ends_it_without_taking_it() -> None:
    with pytest.raises(OutOfMemory, match="more than the 256 MiB"):
        run_confined(
            f"{ERRANDS}:eat_memory",
            {"megabytes": 4096},
            limits=Limits(memory_bytes=256 * 1024 * 1024),
        )


def test_an_endless_answer_is_cut_off() -> None:
    with pytest.raises(Crashed, match="more than 10,000 bytes"):
        run_confined(
            f"{ERRANDS}:say_a_lot", {"characters": 5_000_000}, limits=Limits(answer_bytes=10_000)
        )


def test_a_file_cannot_grow_past_its_limit() -> None:
    with pytest.raises(Crashed, match="File too large"):
        run_confined(
            f"{ERRANDS}:write_file",
            {"path": "big", "size": 2_000_000},
            limits=Limits(file_bytes=1_000_000),
        )


def test_it_sees_none_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_DATABASE_URL", "postgresql://u:secret@h/d")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    seen = run("environment")
    assert isinstance(seen, dict)
    assert "secret" not in str(seen)
    expected = {"PATH", "HOME", "TMPDIR", "LANG", "MALLOC_ARENA_MAX", "LC_CTYPE"}
    assert set(seen) - {"LD_LIBRARY_PATH", "__CF_USER_TEXT_ENCODING"} <= expected


def test_it_works_in_an_empty_folder_of_its_own_that_is_gone_afterwards(home: Path) -> None:
    seen = run("facts")
    assert isinstance(seen, dict)
    assert seen["files"] == []
    assert seen["folder"].startswith(str(home.resolve()))
    assert not Path(seen["folder"]).exists()
    assert seen["core"] == 0
    assert seen["session"]
    assert seen["isolated"] == 1


def test_it_does_not_import_the_public_face_of_the_platform() -> None:
    seen = run("facts")
    assert isinstance(seen, dict)
    assert not {"jobs.agent", "jobs.lifecycle", "jobs.worker"} & set(seen["modules"])


@linux
def test_only_what_it_is_handed_can_be_read(tmp_path: Path, walls: confine.Walls) -> None:
    if not walls.files:
        pytest.skip("this kernel has no Landlock")
    given, other = tmp_path / "given.txt", tmp_path / "other.txt"
    given.write_text("for you")
    other.write_text("for others")
    read = f"{ERRANDS}:read_file"
    assert run_confined(read, {"path": str(given)}, readable=[given]).value == "for you"
    for path in (str(other), "/etc/passwd", "/proc/1/environ", str(ROOT / "pyproject.toml")):
        with pytest.raises(Crashed, match="PermissionError"):
            run_confined(read, {"path": path}, readable=[given])


@linux
def test_only_what_it_is_handed_can_be_written(tmp_path: Path, walls: confine.Walls) -> None:
    if not walls.files:
        pytest.skip("this kernel has no Landlock")
    given, other = tmp_path / "given", tmp_path / "other"
    given.mkdir()
    other.mkdir()
    write = f"{ERRANDS}:write_file"
    arguments = {"path": str(given / "a"), "size": 10}
    assert run_confined(write, arguments, writable=[given]).value == 10
    for folder, handed in ((other, "writable"), (given, "readable")):
        with pytest.raises(Crashed, match="PermissionError"):
            run_confined(
                write,
                {"path": str(folder / "b"), "size": 10},
                readable=[given] if handed == "readable" else [],
                writable=[given] if handed == "writable" else [],
            )


@linux
def test_it_cannot_start_programs_or_signal_others(walls: confine.Walls) -> None:
    if not walls.files:
        pytest.skip("this kernel has no Landlock")
    with pytest.raises(Crashed, match="PermissionError"):
        run("start_program")


@linux
@pytest.mark.parametrize("errand", ["connect", "send_datagram"])
def test_it_has_no_network(errand: str, walls: confine.Walls) -> None:
    if not walls.network:
        pytest.skip("this host permits no user namespaces")
    kind = socket.SOCK_STREAM if errand == "connect" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as server:
        server.bind(("127.0.0.1", 0))
        if errand == "connect":
            server.listen()
        with pytest.raises(Crashed, match=r"OSError|ConnectionRefused|PermissionError"):
            run(errand, port=server.getsockname()[1])


@linux
def test_what_it_leaves_running_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    note.touch()
    with pytest.raises(TimedOut):  # the child left behind still holds its end of the pipe
        run_confined(
            f"{ERRANDS}:leave_a_child_behind",
            {"note_pid_in": str(note)},
            limits=Limits(wall_clock_s=2),
            writable=[tmp_path],
        )
    assert eventually(lambda: not is_running(int(note.read_text())))


@linux
def test_it_dies_with_a_killed_parent(tmp_path: Path, home: Path) -> None:
    note = tmp_path / "pid"
    code = (
        "from pathlib import Path; from jobs.datasets.confine import run_confined;"
        f"run_confined({ERRANDS + ':sleep'!r}, "
        f"{{'seconds': 60, 'note_pid_in': {str(note)!r}}}, writable=[Path({str(tmp_path)!r})])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment)
    try:
        assert eventually(lambda: note.exists() and note.read_text() != "")
        child = int(note.read_text())
        assert is_running(child)
    finally:
        parent.kill()
        parent.wait()
    assert eventually(lambda: not is_running(child))
    left = list((home / "cache" / "scratch").iterdir())
    assert len(left) == 1
    assert sweep_scratch(now_s=time.time() + 2 * 24 * 3600) == 1


def test_many_at_once_do_not_mix_up_their_answers() -> None:
    answers: dict[int, object] = {}

    def ask(number: int) -> None:
        answers[number] = run("echo", value=number)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: n for n in range(12)}


def test_without_the_kernels_walls_it_still_works_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "cell_without_walls.py"
    cell = confine.CELL.read_text()
    assert "from jobs.confinement import locks\n" in cell
    weak = cell.replace(
        "from jobs.confinement import locks\n",
        "from jobs.confinement import locks\n    locks.linux_library = lambda: None\n",
    ).replace("Path(__file__).resolve().parents[2]", f"Path({str(ROOT)!r})")
    script.write_text(weak)
    monkeypatch.setattr(confine, "CELL", script)
    outcome = run_confined(f"{ERRANDS}:echo", {"value": 1})
    assert outcome.value == 1
    assert outcome.walls == confine.Walls(network=False, files=False)
