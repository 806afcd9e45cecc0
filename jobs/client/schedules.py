"""What a client can do about schedules: make, look at, pause, resume, run and delete them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .connection import PAGE, Connection, given
from .errors import Shape


class Schedules:
    """What a client can do about what is asked for again and again."""

    _connection: Connection

    def create_schedule(
        self,
        name: str,
        agent: str,
        input: Mapping[str, Any],  # noqa: A002 - the word the API uses
        *,
        cron: str | None = None,
        every_s: int | None = None,
        at: datetime | str | None = None,
        zone: str = "UTC",
        **more: Any,
    ) -> Shape:
        """Make a schedule and return it, with its next five runs.

        Exactly one of `cron` (five fields), `every_s` and `at` is given. `more` is any other field
        that the API takes: `job_class`, `model`, `deadline_s`, `jitter_s`, `catch_up` (`skip`,
        `one`, `all`), `catch_up_max`, `overlap` (`skip`, `queue`, `cancel_previous`, `allow`),
        `paused`.

        Raises:
            Refused: no such agent or zone, a bad expression, an input that does not fit, or a name
                that is taken; `.problem["errors"]` says which field is at fault.
        """
        if "job_class" in more:
            more["class"] = more.pop("job_class")
        moment = at.isoformat() if isinstance(at, datetime) else at
        rhythm = {"cron": cron, "every_s": every_s, "at": moment, "zone": zone}
        body = {"name": name, "agent": agent, "input": dict(input), **given({**rhythm, **more})}
        return self._connection.ask("POST", "/v1/schedules", json=body)

    def schedules(self, *, name: str | None = None, limit: int = 1_000) -> list[Shape]:
        """Schedules by name, at most `limit` of them; with `name`, the one of that name."""
        found: list[Shape] = []
        while len(found) < limit:
            after = found[-1]["name"] if found else None
            asked = {"name": name, "after": after, "limit": min(PAGE, limit - len(found))}
            page = self._connection.ask("GET", "/v1/schedules", params=given(asked))
            found += page["data"]
            if not page["has_more"]:
                break
        return found

    def schedule(self, schedule_id: str) -> Shape:
        """A schedule as it stands."""
        return self._connection.ask("GET", f"/v1/schedules/{schedule_id}")

    def ticks(self, schedule_id: str, *, limit: int = 50) -> list[Shape]:
        """What became of its ticks, the latest first, at most `limit` of them."""
        path = f"/v1/schedules/{schedule_id}/ticks"
        return self._connection.collect(path, {}, limit=limit, last="tick_at")

    def pause_schedule(self, schedule_id: str) -> Shape:
        """Fire nothing more until it is resumed; returns the schedule."""
        return self._connection.ask("POST", f"/v1/schedules/{schedule_id}/pause")

    def resume_schedule(self, schedule_id: str) -> Shape:
        """Go on with the first tick that is still to come; returns the schedule."""
        return self._connection.ask("POST", f"/v1/schedules/{schedule_id}/resume")

    def run_schedule(self, schedule_id: str) -> Shape:
        """A run now, outside of the rhythm; returns the tick, whose `state` tells the rest."""
        return self._connection.ask("POST", f"/v1/schedules/{schedule_id}/run")

    def delete_schedule(self, schedule_id: str) -> Shape:
        """Forget a schedule and its ticks; its jobs stay. Returns what it was."""
        return self._connection.ask("DELETE", f"/v1/schedules/{schedule_id}")
