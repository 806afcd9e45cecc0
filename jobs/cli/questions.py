"""`stepwell questions`, `answer` and `signal`: what people are asked, and what is said to a job."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jobs.cli.approvals import respond
from jobs.cli.finding import find_platform
from jobs.cli.given import read_json, refuse_what_is_not_json
from jobs.cli.ids import find_job_id, short
from jobs.cli.options import AsJson, JobId
from jobs.cli.speech import Complaint, emit, one_line, out, plain, say
from jobs.cli.waiting import does, question_block, questions_page
from jobs.client import Client


def list_questions(
    job: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="What this job asks, only.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what people are asked, and how to answer it."""
    with find_platform().client() as client:
        found = client.questions(None if job is None else find_job_id(client, job))
    if as_json:
        emit(found)
    elif found:
        out.print(questions_page(found))
    else:
        say("Nothing is asked now.")


def answer(
    job: JobId,
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="The answer.")] = None,
    result: Annotated[
        str | None,
        typer.Option(
            metavar="JSON|@FILE",
            help="The answer as JSON; with --happened, the result that the call had.",
        ),
    ] = None,
    happened: Annotated[
        bool, typer.Option("--happened", help="The call did happen: take --result for its result.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="The call did not happen: make it.")
    ] = False,
    fail: Annotated[bool, typer.Option("--fail", help="Give the job up.")] = False,
    go_on: Annotated[
        bool, typer.Option("--continue", help="Go on with the code as it is now.")
    ] = False,
    step: Annotated[
        int | None, typer.Option(min=1, help="Which step's question, when there are several.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Answer what a job asks, or decide about a step that cannot go on by itself.

    With the id of a call that waits for approval, the answer is its result in the tool's place.
    """
    if ":" in job and (text is not None or result is not None):
        told = text if result is None else read_json(result, "--result")
        respond(job, told, as_json=as_json)
        return
    flags = {"happened": happened, "again": again, "fail": fail, "continue": go_on}
    decided = [name for name, is_given in flags.items() if is_given]
    if len(decided) > 1:
        raise Complaint(f"--{decided[0]} and --{decided[1]} exclude each other.")
    with find_platform().client() as client:
        question = _pick(client, find_job_id(client, job), step)
        said = _read_said(question, text, result, decided[0] if decided else None)
        closed = _say(client, question, said)
    if as_json:
        emit(closed)
    else:
        outcome = "is given up" if said.get("decision") == "fail" else "goes on"
        say(f"answered: job {short(closed['job_id'])} {outcome} at step {closed['seq']}")


def signal(
    job: JobId,
    name: Annotated[str, typer.Argument(help="The name a step waits for.")],
    data: Annotated[
        str | None, typer.Option(metavar="JSON|@FILE", help="What comes with it.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="The same key again is the same signal.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send a signal to a job, before, during or after its wait for it."""
    payload = None if data is None else read_json(data, "--data")
    refuse_what_is_not_json([name, payload, key], "The signal")
    with find_platform().client() as client:
        sent = client.signal(find_job_id(client, job), name, payload, key=key)
    if as_json:
        emit(sent)
    elif sent["status"] == "duplicate":
        say("It was sent before, with this key; nothing was changed.")
    else:
        say(f"signal {one_line(name, 60)!r} sent to job {short(sent['job_id'])}")


def _pick(client: Client, job_id: str, step: int | None) -> dict[str, Any]:
    """The one question that is meant; a `Complaint`, after showing all, when that is not clear."""
    found = client.questions(job_id)
    meant = [each for each in found if step in (None, each["seq"])]
    if len(meant) == 1:
        return meant[0]
    if meant:
        say(questions_page(meant))
        steps = ", ".join(str(each["seq"]) for each in meant)
        raise Complaint(f"The job asks {len(meant)} questions: say which one with --step {steps}.")
    if found:
        steps = ", ".join(str(each["seq"]) for each in found)
        raise Complaint(f"Step {step} asks nothing now; --step {steps} does.")
    raise Complaint(f"Job {short(job_id)} asks nothing now.", hint=f"stepwell show {short(job_id)}")


def _read_said(
    question: dict[str, Any], text: str | None, result: str | None, decision: str | None
) -> dict[str, Any]:
    """What to send: `{"answer": ...}`, or `{"decision": ...}` with the result where it has one."""
    if text is not None and (decision or result is not None):
        raise Complaint("Give either a text, or --result, or a decision.")
    if decision is not None:
        return _read_decision(question, decision, result)
    if text is None and result is None:
        say(question_block(question, names_step=False))
        raise Complaint("Say what to answer.", hint="one of the commands above")
    if question["decisions"]:
        say(question_block(question, names_step=False))
        raise Complaint("This has to be decided; it takes no answer in words.")
    answer = text if result is None else read_json(result, "--result")
    refuse_what_is_not_json(answer, "The answer")
    return {"answer": _among(_choices_of(question), answer)}


def _read_decision(question: dict[str, Any], decision: str, result: str | None) -> dict[str, Any]:
    if decision not in question["decisions"]:
        say(question_block(question, names_step=False))
        raise Complaint(f"--{decision} is no answer to that.", hint="one of the commands above")
    if decision != "happened":
        if result is not None:
            raise Complaint(f"--result goes with --happened only, not with --{decision}.")
        return {"decision": decision}
    if result is None:
        raise Complaint(
            "When it happened, say which result it had.",
            hint="--happened --result '{\"id\": 7}', or --result null when it has none",
        )
    given = read_json(result, "--result")
    refuse_what_is_not_json(given, "The result")
    return {"decision": decision, "result": given}


def _say(client: Client, question: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    prompt = question["prompt"] or {}
    asked = plain(prompt.get("ask") or does(question["kind"], question["name"]))
    say(f"step {question['seq']} asked: {one_line(asked, 200)}")
    where = (question["job_id"], question["seq"], question["n"])
    if "answer" in said:
        return client.answer(*where, said["answer"])
    return client.decide(*where, said["decision"], result=said.get("result"))


def _choices_of(question: dict[str, Any]) -> list[Any]:
    return (question["prompt"] or {}).get("choices") or []


def _among(choices: list[Any], answer: Any) -> Any:
    """The choice that was meant, though it may be typed in another case; else the answer itself."""
    if answer in choices or not isinstance(answer, str):
        return answer
    alike = [each for each in choices if str(each).casefold() == answer.strip().casefold()]
    return alike[0] if len(alike) == 1 else answer
