"""What the tests of confinement have done inside the child, from the harmless to the hostile."""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from jobs.datasets.errors import RefusedQuery


def echo(value: Any) -> Any:
    return value


def refuse(message: str) -> None:
    raise RefusedQuery(message)


def fail(message: str) -> None:
    raise RuntimeError(message)


def chatter() -> str:
    print("this is not the answer")
    os.write(1, b"{}")
    print("nor this", file=sys.stderr)
    return "the answer"


def sleep(seconds: float, note_pid_in: str | None = None) -> None:
    if note_pid_in:
        Path(note_pid_in).write_text(str(os.getpid()))
    time.sleep(seconds)


def leave_a_child_behind(note_pid_in: str) -> str:
    pid = os.fork()
    if pid == 0:
        Path(note_pid_in).write_text(str(os.getpid()))
        time.sleep(60)
        os._exit(0)
    while not Path(note_pid_in).exists() or not Path(note_pid_in).read_text():
        time.sleep(0.01)
    return "left it"


def spin() -> None:
    while True:
        pass


def die_by_signal(number: int) -> None:
    os.kill(os.getpid(), number)


def segfault() -> None:
    ctypes.string_at(0)


def eat_memory(megabytes: int) -> int:
    return len(bytearray(megabytes * 1024 * 1024))


def say_a_lot(characters: int) -> str:
    return "x" * characters


def return_a_set() -> set[int]:
    return {1}


def environment() -> dict[str, str]:
    return dict(os.environ)


def read_file(path: str) -> str:
    return Path(path).read_text()


def write_file(path: str, size: int) -> int:
    with open(path, "wb") as stream:
        stream.write(b"\0" * size)
    return os.path.getsize(path)


def list_folder(path: str) -> list[str]:
    return os.listdir(path)


def connect(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        return "connected"


def send_datagram(port: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"secret", ("127.0.0.1", port))
        return "sent"


def start_program() -> str:
    return subprocess.run(["/bin/ls", "/"], capture_output=True, text=True, check=True).stdout


def signal_process(pid: int) -> str:
    os.kill(pid, 0)
    return "reached it"


def facts() -> dict[str, Any]:
    return {
        "folder": os.getcwd(),
        "files": os.listdir("."),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "session": os.getsid(0) == os.getpid(),
        "modules": sorted(name for name in sys.modules if name.split(".")[0] == "jobs"),
        "isolated": sys.flags.isolated,
    }
