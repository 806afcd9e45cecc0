"""Stopping: end a call of a step that somebody else is about to be given, or that nobody waits for.

A step's thread makes its call through `stoppably`. Another thread may ask the call to end
(`Call.stop`), and goes on asking until it is over. What that does is decided under the call's lock,
by where the call is:

    not begun       it is refused when it comes
    open            `Stopped` is thrown at the thread, as Ctrl-C is at the main one
    under a remedy  what waits inside `on_stop` is ended from outside: the coroutine is cancelled,
                    the child process killed; `Stopped` is raised when the thread comes back
    over            nothing: the result is in hand, and worth more than the time it took

Whatever a call comes to after it was asked, `stoppably` raises `Stopped`: its result is nobody's.
Nothing else raises it, so whoever makes the call is the only one who has to expect it.

A thread belongs to the pool and has other calls to make, so nothing may land in it later. The call
is closed under the lock that a throw needs, and closing takes back what was thrown and has not
landed. The throw itself is the interpreter's: it lands between two instructions of Python. So a
thread inside C code (a sleep, a socket without a timeout) hears of it when that returns, and code
that catches everything may swallow it; it is thrown again a few times.

Some code must not be left halfway, because others would pay: a connection to Postgres would not
come back to its pool, the log would stay locked, a module half imported. A thread inside such code
is left in peace and looked at again. The look and the throw happen within one turn of the
interpreter's lock, and a thread that waits for that lock has the throw land where it waits.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, get_ident, local
from types import FrameType
from typing import ParamSpec, TypeVar

import structlog

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

THROW_AGAIN_S = 1.0
THROWS_MAX = 3
# Packages whose functions leave something broken for the whole process when they end halfway.
FRAGILE = frozenset(("store", "sqlalchemy", "psycopg", "logging", "structlog", "importlib"))

_throw_at = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.py_object)(
    ("PyThreadState_SetAsyncExc", ctypes.pythonapi)
)
_take_back = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)(
    ("PyThreadState_SetAsyncExc", ctypes.pythonapi)
)
_here = local()


class Stopped(BaseException):
    """The call was ended from outside, and the step is for somebody else.

    Not an `Exception`, so that a tool's own handling of errors lets it pass.
    """


class Call:
    """The one call of a step, made by the thread that creates this."""

    __slots__ = (
        "_is_open",
        "_is_over",
        "_lock",
        "_remedies",
        "_thread_id",
        "_throw_again_at",
        "_throws",
        "_why",
    )

    def __init__(self) -> None:
        self._lock = Lock()
        self._thread_id = get_ident()
        self._why = ""
        self._is_open = False
        self._is_over = False
        self._remedies: list[Callable[[], None]] = []
        self._throws = 0
        self._throw_again_at = 0.0

    @property
    def is_over(self) -> bool:
        """Whether it has come to an end, whichever."""
        return self._is_over

    def stop(self, why: str) -> bool:
        """Ask the call to end and say why; True when it is over. Never waits; to be repeated."""
        with self._lock:
            if self._is_over:
                return True
            self._why = self._why or why
            if self._remedies:
                remedy, self._remedies[-1] = self._remedies[-1], _nothing
                self._apply(remedy)
            elif self._is_open:
                self._throw()
            return False

    def make(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of the call; `Stopped`, whatever it came to, once it was asked to end."""
        try:
            result = self._make_open(work, *args, **kwargs)
        except BaseException:
            if self._why:
                raise Stopped(self._why) from None
            raise
        if self._why:
            raise Stopped(self._why)
        return result

    @contextmanager
    def under(self, remedy: Callable[[], None]) -> Iterator[None]:
        """While the block lasts, the call is ended by the remedy alone."""
        if not self._is_open:
            # Before and after its call, a thread is about work of ours that nobody is to stop.
            yield
            return
        with self._lock:
            if self._why:
                raise Stopped(self._why)
            self._remedies.append(remedy)
        try:
            yield
        finally:
            with self._lock:
                self._remedies.pop()
            if self._why:
                raise Stopped(self._why)

    def _make_open(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        # Opened and closed in this one frame: a throw that lands in it anywhere meets the finally,
        # and entering a lock by `with` is one instruction, so that closing cannot be prevented.
        try:
            with self._lock:
                if self._why:
                    raise Stopped(self._why)
                self._is_open = True
            return work(*args, **kwargs)
        finally:
            with self._lock:
                self._is_open, self._is_over = False, True
                if self._throws:
                    _take_back(self._thread_id, None)

    def _apply(self, remedy: Callable[[], None]) -> None:
        try:
            remedy()
        except Exception as error:  # noqa: BLE001 - whoever stops one call has others to stop
            log.warning("a call could not be ended", error=type(error).__name__)

    def _throw(self) -> None:
        if self._throws == THROWS_MAX or time.monotonic() < self._throw_again_at:
            return
        # Gives the interpreter's lock away and takes it anew: a whole turn for the next two lines.
        time.sleep(0)
        if not _is_fragile(sys._current_frames().get(self._thread_id)):
            _throw_at(self._thread_id, Stopped)
            self._throws += 1
            self._throw_again_at = time.monotonic() + THROW_AGAIN_S


def _nothing() -> None:
    pass


def _is_fragile(frame: FrameType | None) -> bool:
    """Whether the thread of this frame is in code that must not end halfway."""
    while frame is not None and frame.f_code is not Call._make_open.__code__:
        if str(frame.f_globals.get("__name__")).partition(".")[0] in FRAGILE:
            return True
        frame = frame.f_back
    return False


class Calling:
    """While the block lasts, this is the call that `stoppably` and `on_stop` mean here."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        _here.call = self._call

    def __exit__(self, *_: object) -> None:
        _here.call = None


def stoppably(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of this thread's call; raises `Stopped` when it was asked to end."""
    call: Call | None = getattr(_here, "call", None)
    return work(*args, **kwargs) if call is None else call.make(work, *args, **kwargs)


@contextmanager
def on_stop(remedy: Callable[[], None]) -> Iterator[None]:
    """For what this thread waits for inside the block: how to end it from outside.

    The remedy is called at most once, from another thread, and must not wait: to kill a child
    process, to cancel a coroutine. Nothing is thrown at this thread meanwhile; `Stopped` is raised
    when the block is left.
    """
    call: Call | None = getattr(_here, "call", None)
    if call is None:
        yield
        return
    with call.under(remedy):
        yield
