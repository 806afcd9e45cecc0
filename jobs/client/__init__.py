"""The client: ask a running Stepwell over HTTP for anything, from any Python program.

    with Client("http://127.0.0.1:8700", token) as stepwell:
        data = stepwell.upload(Path("flights.csv"))
        job = stepwell.submit("analyst", {"ask": "who runs late?", "dataset": data["id"]})
        print(stepwell.wait(job["id"])["output"])

It imports nothing of the platform, so this folder may be copied into a program of its own. Shapes
are plain dictionaries, exactly the JSON the API answers.

    StepwellError
    ├── Refused         the platform answered, and said no: `.problem` tells why; correct and retry
    │   └── Overloaded  it has no room now: ask again after `.retry_after_s` seconds
    ├── Unreachable     nothing answered, or it said "not now": wait and try again
    └── NotFinished     `wait` ran out of its time; the job goes on

Nothing is sent twice by itself but the event stream, which may be read any number of times.
"""

from __future__ import annotations

from .client import ENDED, Client
from .errors import NotFinished, Overloaded, Refused, Shape, StepwellError, Unreachable

__all__ = [
    "ENDED",
    "Client",
    "NotFinished",
    "Overloaded",
    "Refused",
    "Shape",
    "StepwellError",
    "Unreachable",
]
