"""A few seconds of the harness, end to end with real processes: ours, and a plainer way."""

from __future__ import annotations

import json
from pathlib import Path

from tests.overload.claims import judge
from tests.overload.drawing import draw
from tests.overload.history import History
from tests.overload.platform import Ground
from tests.overload.policies import DEPTH, OURS
from tests.overload.report import Played, Report
from tests.overload.run import run
from tests.overload.scenes import overload

SCENE = overload(scale=0.06)
SEED = 5


def check_fates(history: History) -> None:
    """Whoever was let in has a job, and a completed one has made its calls; nobody else has any."""
    for fate in history.fates:
        calls = {wired.call for wired in history.wired if wired.token == fate.ask.token}
        if fate.is_refused:
            assert (calls, fate.job_status) == (set(), None)
            assert fate.answers[-1].retry_after_s is not None
        elif fate.job_status == "completed":
            assert calls == set(range(1, fate.ask.kind.calls + 1))
        else:
            assert fate.job_status is not None
            assert not fate.is_in_deadline


def test_a_depth_limit_refuses_what_is_too_much_and_works_off_the_rest(ground: Ground) -> None:
    history = run(ground, DEPTH, SCENE.plan, SEED)
    check_fates(history)
    counts = SCENE.read(SCENE, history)["counts_of_the_run"]
    assert counts["refused"] > 0
    assert counts["failed"] == 0
    assert counts["met"] > 20


def test_ours_is_played_read_judged_kept_and_drawn(ground: Ground, tmp_path: Path) -> None:
    history = run(ground, OURS, SCENE.plan, SEED)
    check_fates(history)
    figures = {"ours": SCENE.read(SCENE, history)}
    report = Report(SEED, 1.0, [Played(SCENE, {"ours": history}, figures)])
    report.show()
    report.keep(tmp_path / "kept" / "overload.json")
    draw(report.played, tmp_path / "overload.png")

    kept = json.loads((tmp_path / "kept" / "overload.json").read_text())
    ours = kept["policies"]["ours"]
    assert {"in_deadline", "goodput", "wasted", "recovery_s", "classes", "tenants"} <= set(ours)
    assert 1.0 <= ours["amplification"] <= 1.1
    assert len(kept["claims"]) == len(judge({"overload": figures}))
    assert (tmp_path / "overload.png").read_bytes().startswith(b"\x89PNG")
