"""A wall clock that can be put wrong, for one process: install it before anything else is imported.

`time.time`, `datetime.now` and the ids that begin with the time all follow it. The offset, in
seconds by the process's id, is in a file of the world's folder. The monotonic clock is not touched:
no operating system lets it jump.
"""

from __future__ import annotations

import datetime as moments
import json
import os
import time
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

LOOK_EVERY_S = 0.05

_true_time, _true_time_ns = time.time, time.time_ns
_true_datetime = moments.datetime


class _Offset:
    seconds = 0.0


class _LikeDatetime(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _true_datetime)

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, _true_datetime)


def _now(_: object = None, tz: moments.tzinfo | None = None) -> moments.datetime:
    return _true_datetime.fromtimestamp(time.time(), tz)


def _utcnow(_: object = None) -> moments.datetime:
    return _true_datetime.fromtimestamp(time.time(), moments.UTC).replace(tzinfo=None)


def offset_file(folder: Path) -> Path:
    return folder / "skew"


def put_clocks(folder: Path, seconds_by_pid: dict[int, float]) -> None:
    """Put the wall clocks of these processes wrong by so much; all others are right again."""
    draft = offset_file(folder).with_suffix(".draft")
    draft.write_text(json.dumps({str(pid): s for pid, s in seconds_by_pid.items()}))
    draft.rename(offset_file(folder))


def install(folder: Path) -> None:
    """From here on, the wall clock of this process is what the file says."""
    time.time = lambda: _true_time() + _Offset.seconds
    time.time_ns = lambda: _true_time_ns() + int(_Offset.seconds * 1e9)
    moments.datetime = _LikeDatetime(  # type: ignore[misc,assignment]
        "datetime",
        (_true_datetime,),
        {
            "__module__": "datetime",
            "__slots__": (),
            "now": classmethod(_now),
            "utcnow": classmethod(_utcnow),
            "today": classmethod(_now),
        },
    )
    _skew_ids()
    Thread(target=_follow, args=(offset_file(folder),), name="skew", daemon=True).start()


def _skew_ids() -> None:
    from uuid_utils import compat

    true_uuid7, lock, last_ms = compat.uuid7, Lock(), [0]

    def uuid7(*, nanoseconds: int | None = None) -> Any:
        if nanoseconds is not None or not (_Offset.seconds or last_ms[0]):
            return true_uuid7(nanoseconds=nanoseconds)
        # The true ones never go back within a process either, however the clock jumps.
        with lock:
            last = last_ms[0] or _true_time_ns() // 10**6
            last_ms[0] = max(last + 1, time.time_ns() // 10**6)
            return true_uuid7(nanoseconds=last_ms[0] * 10**6)

    compat.uuid7 = uuid7  # type: ignore[assignment]


def _follow(file: Path) -> None:
    pause = Event()
    while not pause.wait(LOOK_EVERY_S):
        try:
            _Offset.seconds = json.loads(file.read_text()).get(str(os.getpid()), 0.0)
        except FileNotFoundError:
            continue
