"""What guards have said, on the command line: what they stopped, and how often they looked."""

from __future__ import annotations

import json

from tests.jobs.cli.conftest import Run
from tests.jobs.cli.test_commands import NASTY
from tests.jobs.serving import Served
from tests.stepping import MODEL, child, delegate
from tests.store.test_guard_verdicts import COUNTED, MASKED, event


def test_what_guards_said_is_shown_and_the_rest_counted(run: Run, served: Served) -> None:
    hand = served.hand
    job_id = hand.put_down()
    said = MASKED | {"guard": NASTY, "reason": f"It holds {NASTY}."}
    hand.commit(hand.take(job_id), event=event(1, COUNTED, said))
    shown = run("guards", str(job_id))
    assert shown.code == 0
    for expected in ("1", "tool.result", "replace", "It holds a", "[bold]b[/bold]"):
        assert expected in shown.out, expected
    assert "\x1b" not in shown.out
    assert "4 times a guard looked and had nothing to say." in shown.err
    told = json.loads(run("guards", str(job_id), "--json").out)
    assert [(each["guard"], each["count"]) for each in told] == [("*", 4), (NASTY, 1)]


def test_a_job_that_no_guard_has_looked_at_says_so(run: Run, served: Served) -> None:
    shown = run("guards", str(served.hand.put_down()))
    assert (shown.code, shown.out) == (0, "")
    assert "0 times" in shown.err


def test_a_job_that_an_outside_text_may_have_asked_for_says_so(run: Run, served: Served) -> None:
    hand = served.hand
    job_id = hand.put_down()
    hand.commit(hand.take(job_id), event=event(1, taint=["inbox"]), plan=(MODEL,))
    born = child()
    hand.park(hand.take(job_id, 2), delegate(born))
    said = run("show", str(born.id)).out
    assert "texts from outside: inbox" in said
    assert "seen by nobody" in said
    assert "seen by nobody" not in run("show", str(job_id)).out
    assert json.loads(run("show", str(born.id), "--json").out)["input_tainted"] is True
