"""`stepwell schedule`: what is asked for again and again, by cron, interval or once."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import typer

from jobs.cli.finding import find_platform
from jobs.cli.given import read_span
from jobs.cli.ids import short
from jobs.cli.options import AsJson, Urgency
from jobs.cli.schedule_tables import schedule_page, schedules_table, shown_run
from jobs.cli.speech import Complaint, emit, out, plain, say
from jobs.cli.submission import Wish, read_input
from jobs.client import Client, Refused
from store.states import CatchUp, Overlap

TICKS_SHOWN = 10

app = typer.Typer(
    help="Make, list, show, pause, resume, run and delete schedules.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Which = Annotated[str, typer.Argument(metavar="NAME", help="Its name, or its whole id.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    agent: Annotated[str, typer.Argument(help="Whom to ask: see `stepwell agents`.")],
    cron: Annotated[
        str | None, typer.Option(metavar="'30 7 * * 1-5'", help="Five fields, as in a crontab.")
    ] = None,
    every: Annotated[str | None, typer.Option(metavar="15m", help="Or an interval.")] = None,
    at: Annotated[
        str | None, typer.Option(metavar="2027-01-31T08:00", help="Or once, at this moment.")
    ] = None,
    zone: Annotated[
        str, typer.Option(metavar="Europe/Berlin", help="The time zone whose clocks count.")
    ] = "UTC",
    ask: Annotated[str | None, typer.Option(help="What you want to know, in plain words.")] = None,
    email: Annotated[str | None, typer.Option(help="Where to mail the answer.")] = None,
    raw_input: Annotated[
        str | None, typer.Option("--input", metavar="JSON|@FILE", help="The whole input as JSON.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="openai:..., anthropic:..., or offline.")
    ] = None,
    job_class: Urgency = None,
    deadline: Annotated[
        str | None, typer.Option(metavar="30m", help="Of each job, from its tick on.")
    ] = None,
    jitter: Annotated[
        str | None, typer.Option(metavar="5m", help="Put each tick off by up to so much.")
    ] = None,
    catch_up: Annotated[
        CatchUp, typer.Option(help="Of the ticks that came while nothing ran: run none, one, all.")
    ] = CatchUp.ONE,
    catch_up_max: Annotated[
        int, typer.Option(min=1, max=1_000, help="With `all`: only the last so many.")
    ] = 100,
    overlap: Annotated[
        Overlap, typer.Option(help="What a tick does while an earlier job goes on.")
    ] = Overlap.SKIP,
    paused: Annotated[
        bool, typer.Option("--paused", help="Make it, and fire nothing yet.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a schedule; its input is checked now, not at its first run."""
    given = read_input(Wish(agent, None, ask, email, raw_input))
    every_s = None if every is None else read_span(every, "--every")
    if every_s is not None and every_s != int(every_s):
        raise Complaint("An interval has whole seconds.", hint="--every 90s")
    more = {
        "model": model,
        "job_class": job_class and job_class.value,
        "deadline_s": None if deadline is None else read_span(deadline, "--deadline"),
        "jitter_s": None if jitter is None else read_span(jitter, "--jitter"),
        "catch_up": catch_up.value,
        "catch_up_max": catch_up_max,
        "overlap": overlap.value,
        "paused": paused,
    }
    with find_platform().client() as client:
        made = _create(
            client,
            name,
            agent,
            given,
            cron=cron,
            every_s=None if every_s is None else int(every_s),
            at=at,
            zone=zone,
            **{option: value for option, value in more.items() if value is not None},
        )
    if as_json:
        emit(made)
        return
    out.print(made["id"])
    if made["next_runs"]:
        say(f"the first run is due {shown_run(made['next_runs'][0])}, {plain(made['zone'])}")
    else:
        say("it is paused: stepwell schedule resume " + plain(made["name"]))


@app.command("list")
def list_schedules(as_json: AsJson = False) -> None:
    """List schedules by name, with their next run."""
    with find_platform().client() as client:
        found = client.schedules()
    if as_json:
        emit(found)
    elif found:
        out.print(schedules_table(found))
    else:
        say("No schedules yet: stepwell schedule create --help")


@app.command()
def show(schedule: Which, as_json: AsJson = False) -> None:
    """Show a schedule: its next five runs, and what became of its last ticks."""
    with find_platform().client() as client:
        found = find_schedule(client, schedule)
        ticks = client.ticks(found["id"], limit=TICKS_SHOWN)
    if as_json:
        emit({**found, "ticks": ticks})
    else:
        out.print(schedule_page(found, ticks))


@app.command()
def pause(schedule: Which, as_json: AsJson = False) -> None:
    """Fire nothing more until it is resumed; jobs that were made go on."""
    with find_platform().client() as client:
        found = client.pause_schedule(find_schedule(client, schedule)["id"])
    _tell(found, f"{plain(found['name'])} is paused", as_json=as_json)


@app.command()
def resume(schedule: Which, as_json: AsJson = False) -> None:
    """Go on with the first run that is still to come."""
    with find_platform().client() as client:
        found = client.resume_schedule(find_schedule(client, schedule)["id"])
    runs = found["next_runs"]
    then = f"the next run is due {shown_run(runs[0])}" if runs else "it has no run any more"
    _tell(found, f"{plain(found['name'])} goes on; {then}", as_json=as_json)


@app.command()
def run(schedule: Which, as_json: AsJson = False) -> None:
    """Run it now, outside of its rhythm."""
    with find_platform().client() as client:
        tick = client.run_schedule(find_schedule(client, schedule)["id"])
    if as_json:
        emit(tick)
    elif tick["job_id"] is not None:
        out.print(tick["job_id"])
        say(f"watch it: stepwell watch {short(tick['job_id'])}")
    elif tick["state"] == "waiting":
        say("it waits for the job before it")
    else:
        raise Complaint(
            "The job before it goes on, and this schedule lets no two of them run at once.",
            hint=f"stepwell schedule show {schedule}",
        )


@app.command()
def delete(schedule: Which, as_json: AsJson = False) -> None:
    """Forget a schedule and its ticks; its jobs stay."""
    with find_platform().client() as client:
        found = client.delete_schedule(find_schedule(client, schedule)["id"])
    _tell(found, f"{plain(found['name'])} is deleted", as_json=as_json)


def find_schedule(client: Client, typed: str) -> dict[str, Any]:
    """The schedule of that name or id; a `Complaint` when there is none."""
    by_name = client.schedules(name=typed)
    if by_name:
        return by_name[0]
    missing = Complaint(f"There is no schedule {typed!r}.", hint="stepwell schedule list")
    try:
        return client.schedule(str(UUID(typed.strip())))
    except ValueError:
        raise missing from None
    except Refused as refusal:
        if refusal.code != "not-found":
            raise
        raise missing from None


def _create(client: Client, name: str, agent: str, asked: dict[str, Any], **more: Any) -> Any:
    try:
        return client.create_schedule(name, agent, asked, **more)
    except Refused as refusal:
        hints = {
            "unknown-agent": "stepwell agents",
            "invalid-input": f"stepwell agents {agent}   shows what it takes",
        }
        raise Complaint(str(refusal), hint=hints.get(refusal.code, "")) from None


def _tell(found: dict[str, Any], words: str, *, as_json: bool) -> None:
    if as_json:
        emit(found)
    else:
        say(words)
