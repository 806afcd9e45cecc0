"""Errands: what comes back from a child process, how it is ended, and what it does not know."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ValidationError

from jobs import Tool, ToolContext, ToolFailed, tool
from jobs.agent.tool import MEMORY_BYTES_MAX
from jobs.confinement.environment import MODEL_KEYS, without_our_keys
from jobs.errors import Misdeclared
from jobs.lifecycle import errand
from jobs.lifecycle.errand import (
    ErrandStopped,
    ToolCrashed,
    ToolDied,
    call_in_child,
    step_in_child,
)
from jobs.lifecycle.verdicts import ErrorClass, classify
from tests.jobs.lifecycle import errands
from tests.running import at_once, eventually

ROOT = Path(__file__).parents[3]
TENANT, JOB = UUID(int=1), UUID(int=2)
linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


def context_of(
    told: list[tuple[str, float | None]] | None = None,
    asked: Any = None,
    effect_key: str | None = None,
) -> ToolContext:
    told = [] if told is None else told
    return ToolContext(
        tenant_id=TENANT,
        job_id=JOB,
        seq=7,
        input=asked or errands.Asked(words=["hello"]),
        artifacts=None,  # type: ignore[arg-type]
        tell=lambda message, done: told.append((message, done)),
        effect_key=effect_key,
    )


def call(made: Tool, **args: Any) -> Any:
    return call_in_child(made, context_of(), args)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


# --- there and back -------------------------------------------------------------------------------


def test_a_value_travels_there_and_back() -> None:
    value = {"text": "ä\u2028\"'\n", "numbers": [1, 2.5, -0.1, 10**30], "none": None, "yes": True}
    assert call(errands.echo, value=value) == value


def test_arguments_become_typed_and_what_is_returned_becomes_json() -> None:
    moved = call(errands.move, at={"x": 1, "day": "2026-03-01"}, by="2")
    assert moved == {"x": 3.0, "day": "2026-03-01"}


def test_a_step_of_a_pipeline_is_given_one_value_as_its_type() -> None:
    value = {"x": 1, "day": "2026-03-01"}
    assert step_in_child(errands.place, context_of(), value) == "1.0 on Sunday"
    assert step_in_child(errands.chatter, context_of(), value) == "the answer"


def test_arguments_that_do_not_fit_are_refused_by_the_child_as_well() -> None:
    with pytest.raises(ToolCrashed, match="valid number") as caught:
        call(errands.move, at={"x": "far", "day": "2026-03-01"})
    assert type(caught.value).__name__ == ValidationError.__name__


def test_the_context_says_whose_call_it_is() -> None:
    told = call(errands.introduce, greeting="hi")
    assert told == {
        "greeting": "hi",
        "key": f"{JOB}:7",
        "tenant": str(TENANT),
        "job": str(JOB),
        "seq": 7,
        "words": ["hello"],
    }
    again = step_in_child(errands.introduce, context_of(effect_key="older:3"), "hi")
    assert again["key"] == "older:3", "a repeated call keeps the key of the first"


def test_progress_is_told_while_it_goes_on(tmp_path: Path) -> None:
    told: list[tuple[str, float | None]] = []
    heard = tmp_path / "heard"

    class Telling(list[tuple[str, float | None]]):
        def append(self, said: tuple[str, float | None]) -> None:
            heard.touch()
            told.append(said)

    began = monotonic()
    assert call_in_child(errands.count_down, context_of(Telling()), {"note": str(heard)}) == 2
    assert monotonic() - began < 15, "the child waited for its first word to be heard"
    assert told == [("three", 0.25), ("two", None)]


def test_what_it_prints_is_seen_and_not_taken_for_its_answer(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert call(errands.chatter) == "the answer"
    printed = capfd.readouterr().err
    assert "this is not the answer" in printed
    assert "last words" in printed


def test_a_function_may_be_made_a_tool_elsewhere() -> None:
    assert errands.declared_elsewhere.name == "twice"
    assert call(errands.declared_elsewhere, value=21) == 42


def test_many_at_once_do_not_mix_up_their_answers() -> None:
    answers = at_once([lambda n=n: call(errands.echo, value=n) for n in range(4)])  # type: ignore[misc]
    assert answers == [0, 1, 2, 3]


# --- what it raises -------------------------------------------------------------------------------


def test_a_failure_the_model_can_act_on_stays_one() -> None:
    with pytest.raises(ToolFailed, match=r"^There is no such order\.$"):
        call(errands.fail_politely)


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("refused", ConnectionRefusedError, "[Errno 111] Connection refused"),
        ("timeout", TimeoutError, "the other side is silent"),
        ("key", KeyError, "'A-17'"),
        ("bare", Exception, "just that"),
    ],
)
def test_a_built_in_error_comes_back_as_itself(
    how: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as caught:
        call(errands.fail, how=how)
    assert type(caught.value) is kind
    assert str(caught.value) == message
    assert "in fail" in "".join(caught.value.__notes__), "its traceback goes along for the log"


@pytest.mark.parametrize(
    ("how", "name", "judged"),
    [
        ("gaierror", "gaierror", ErrorClass.NOT_SENT),
        ("own", "Unheard", ErrorClass.NOT_SENT),
        ("unicode", "UnicodeDecodeError", ErrorClass.BUG),
        ("exit", "SystemExit", ErrorClass.BUG),
    ],
)
def test_any_other_error_keeps_its_name_and_is_judged_by_its_ancestors(
    how: str, name: str, judged: ErrorClass
) -> None:
    with pytest.raises(ToolCrashed) as caught:
        call(errands.fail, how=how)
    assert not isinstance(caught.value, ToolDied)
    assert type(caught.value).__name__ == name
    assert classify(caught.value) is judged


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (errands.use_artifacts, "has no artifacts, so it cannot save any"),
        (errands.ask, "cannot wait; it returned AskUser"),
        (errands.return_something_else, "cannot be kept as JSON"),
    ],
)
def test_what_a_child_cannot_do_is_said(made: Tool, message: str) -> None:
    with pytest.raises(ToolCrashed, match=message) as caught:
        call(made)
    assert type(caught.value).__name__ == "Misdeclared"


def test_what_a_child_cannot_find_is_not_started() -> None:
    class Local(BaseModel):
        """An input that only this test can see."""

    with pytest.raises(Misdeclared, match=r"Local.*cannot be found by a child process"):
        call_in_child(errands.introduce, context_of(asked=Local()), {"greeting": "hi"})
    assert call_in_child(errands.echo, context_of(asked=Local()), {"value": 1}) == 1


# --- how it is ended ------------------------------------------------------------------------------


@linux
def test_at_its_timeout_it_is_killed_with_all_it_started(tmp_path: Path) -> None:
    note, began = tmp_path / "pids", monotonic()
    with pytest.raises(TimeoutError, match=r"hang took longer than 2\.5 s, and was killed"):
        call(errands.hang, note=str(note))
    assert monotonic() - began < 10
    for pid in note.read_text().split():
        eventually(lambda pid=int(pid): not is_running(pid))  # type: ignore[misc]


def test_a_deadline_may_come_before_its_timeout(tmp_path: Path) -> None:
    note = {"note": str(tmp_path / "pids")}
    with pytest.raises(TimeoutError, match=r"hang_long took longer than 0\.5 s"):
        call_in_child(errands.hang_long, context_of(), note, timeout_s=0.5)


def test_one_that_never_stops_talking_is_killed_too() -> None:
    began = monotonic()
    with pytest.raises(TimeoutError):
        call_in_child(errands.chatter_forever, context_of(), {})
    assert monotonic() - began < 10


@linux
def test_it_can_be_stopped_early(tmp_path: Path) -> None:
    note, stop = tmp_path / "pids", threading.Event()

    def stop_when_it_runs() -> None:
        eventually(note.exists, timeout_s=20)
        stop.set()

    stopper = threading.Thread(target=stop_when_it_runs)
    stopper.start()
    began = monotonic()
    with pytest.raises(ErrandStopped, match="hang_long was told to stop"):
        call_in_child(errands.hang_long, context_of(), {"note": str(note)}, stop=stop)
    assert monotonic() - began < 20
    stopper.join()
    for pid in note.read_text().split():
        eventually(lambda pid=int(pid): not is_running(pid))  # type: ignore[misc]


@linux
def test_what_it_leaves_running_neither_keeps_its_answer_nor_lives_on(tmp_path: Path) -> None:
    note, began = tmp_path / "pid", monotonic()
    assert call(errands.leave_behind, note=str(note)) == "done"
    assert monotonic() - began < 15
    eventually(lambda: not is_running(int(note.read_text())))


@linux
def test_it_dies_with_a_killed_worker(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    code = (
        "from tests.jobs.lifecycle.test_errand import call, errands;"
        f"call(errands.hang_long, note={str(note)!r})"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    worker = subprocess.Popen([sys.executable, "-c", code], env=environment)
    try:
        eventually(note.exists, timeout_s=20)
        child, left_behind = map(int, note.read_text().split())
        assert is_running(child)
    finally:
        worker.kill()
        worker.wait()
    eventually(lambda: not is_running(child))
    os.kill(left_behind, signal.SIGKILL)  # only the child itself goes with the worker


def test_memory_is_limited_and_the_message_says_so() -> None:
    assert call(errands.eat, megabytes=8) == 8 * 2**20
    with pytest.raises(ToolDied, match="eat needed more than the 256 MiB it may have"):
        call(errands.eat, megabytes=2048)


def test_an_answer_too_long_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(call(errands.say_a_lot, characters=3_000_000)) == 3_000_000
    monkeypatch.setattr(errand, "ANSWER_BYTES_MAX", 2**20)
    with pytest.raises(ToolDied, match="say_a_lot returned more than 1 MiB"):
        call(errands.say_a_lot, characters=3_000_000)


@pytest.mark.parametrize(
    ("made", "args", "message"),
    [
        (errands.die, {"number": signal.SIGTERM}, "die was killed by the signal SIGTERM"),
        (errands.crash, {}, "crash was killed by the signal SIGSEGV"),
        (errands.die, {"number": signal.SIGKILL}, "killed by the system, most likely for want"),
        (errands.leave_without_a_word, {}, "ended its process with code 3"),
    ],
)
def test_a_death_is_told(made: Tool, args: dict[str, Any], message: str) -> None:
    with pytest.raises(ToolDied, match=message):
        call(made, **args)


# --- what it knows --------------------------------------------------------------------------------


def test_the_keys_to_our_own_doors_stay_with_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "STEPWELL_DATABASE_URL",
        "STEPWELL_OPERATOR_DATABASE_URL",
        "STEPWELL_MIGRATION_DATABASE_URL",
        "STEPWELL_REDIS_URL",
        "STEPWELL_API_TOKEN",
        "STEPWELL_MODEL_API_KEY",
        "PGPASSWORD",
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
    ):
        monkeypatch.setenv(name, "a-key-of-ours")
    monkeypatch.setenv("STRIPE_API_KEY", "a-key-of-the-tool")
    monkeypatch.setenv("STEPWELL_HOME", "/somewhere")
    seen = call(errands.look_around)
    assert "a-key-of-ours" not in str(seen)
    assert seen["environment"]["STRIPE_API_KEY"] == "a-key-of-the-tool"
    assert seen["environment"]["STEPWELL_HOME"] == "/somewhere"
    assert seen["stdin"] == "", "its order is not left for the tool to read"
    assert (seen["memory"], seen["core"]) == (MEMORY_BYTES_MAX, 0)
    assert seen["leads"]
    assert seen["folder"] == os.getcwd()


def test_the_list_of_model_keys_is_that_of_the_providers_we_install() -> None:
    spec = find_spec("pydantic_ai.providers")
    assert spec is not None
    assert spec.origin is not None
    texts = [path.read_text() for path in Path(spec.origin).parent.glob("*.py")]
    named = set(re.findall(r"\b[A-Z][A-Z0-9_]*_(?:API_KEY|TOKEN|KEY)\b", "\n".join(texts)))
    of_tools_as_well = {"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "GH_TOKEN", "GITHUB_TOKEN"}
    assert len(named) > 10
    assert named - MODEL_KEYS == of_tools_as_well
    assert set(without_our_keys(dict.fromkeys(named, "x"))) - {"MALLOC_ARENA_MAX"} == (
        of_tools_as_well
    )


# --- what may be declared -------------------------------------------------------------------------


def test_a_tool_in_a_process_has_to_be_found_by_its_name() -> None:
    with pytest.raises(Misdeclared, match="cannot be found by a child process"):

        @tool(effect="read", process=True)
        def local() -> None:
            """Nobody finds it."""

    with pytest.raises(Misdeclared, match="cannot be found by a child process"):
        tool(effect="read", process=True, name="nameless")(lambda: None)
