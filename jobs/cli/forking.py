"""`stepwell fork`: a new job that shares the first steps of another and goes its own way."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.cli import watching
from jobs.cli.finding import find_platform
from jobs.cli.given import read_object, refuse_what_is_not_json
from jobs.cli.ids import find_job_id, short
from jobs.cli.options import AsJson, JobId, Urgency, WatchIt
from jobs.cli.speech import emit, out, say


def fork(
    job: JobId,
    from_step: Annotated[
        int, typer.Option("--from", min=1, help="The first step that runs again.")
    ],
    raw_input: Annotated[
        str | None,
        typer.Option("--input", metavar="JSON|@FILE", help="Another input for the steps to come."),
    ] = None,
    job_class: Urgency = None,
    watch_it: WatchIt = False,
    as_json: AsJson = False,
) -> None:
    """Make a job that shares the steps of another before one, and runs again from there."""
    given = None if raw_input is None else read_object(raw_input, "--input")
    refuse_what_is_not_json(given, "The input")
    urgency = job_class and job_class.value
    with find_platform().client() as client:
        old = find_job_id(client, job)
        made = client.fork(old, from_step, input=given, job_class=urgency)
        say(f"forked job {short(old)} as job {made['id']}: {_shared(from_step)}")
        if watch_it:
            watching.follow(client, made["id"], as_json=as_json)
            return
    if as_json:
        emit(made)
    else:
        out.print(made["id"])
        say(f"watch it: stepwell watch {short(made['id'])}")


def _shared(from_step: int) -> str:
    if from_step == 1:
        return "it does everything again"
    shared = "step 1 is" if from_step == 2 else f"steps 1 to {from_step - 1} are"
    return f"{shared} shared, and it goes on at step {from_step}"
