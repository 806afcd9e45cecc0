"""What the front door itself refuses, before any room of the house is asked.

WebRefusal
├── BadRequest      a header or a parameter nobody can make sense of
├── UnknownHost     the Host header names something we are not
├── WrongToken      no token, or not the right one
├── NotYours        it is somebody else's to ask for, or to decide: ask them
├── TooManyBytes    the body is longer than its limit
├── Unfit           what was sent does not fit what it is for: change it
├── Closed          it was decided before, or is over: look at it again
├── NotSettled      a step of it is still coming in: try again shortly
├── Crowded         so many of these wait already that another one is refused
├── Busy            too many uploads or streams at once: come back shortly
└── NoRoom          the disk of the spool is full
"""

from __future__ import annotations

from starlette.exceptions import HTTPException


class WebRefusal(Exception):
    """The front door said no; the message is meant for whoever asked."""


class BadRequest(WebRefusal):
    """A header or a parameter nobody can make sense of."""


class UnknownHost(WebRefusal):
    """The Host header names something we are not."""


class WrongToken(WebRefusal):
    """No token, or not the right one."""


class NotYours(WebRefusal):
    """It is somebody else's to ask for, as it would act as them, or to decide."""


class TooManyBytes(WebRefusal, HTTPException):
    """The body is longer than its limit.

    An HTTPException too, because FastAPI lets no other error through while it reads a body.
    """

    def __init__(self, detail: str) -> None:
        HTTPException.__init__(self, 413, detail)

    def __str__(self) -> str:
        return str(self.detail)


class Unfit(WebRefusal):
    """What was sent does not fit what it is for."""


class Closed(WebRefusal):
    """It was decided before, or is over."""


class NotSettled(WebRefusal):
    """A step of it is still coming in."""


class Crowded(WebRefusal):
    """So many of these wait already that another one is refused."""


class Busy(WebRefusal):
    """Too many uploads or streams at once."""


class NoRoom(WebRefusal):
    """The disk of the spool is full."""
