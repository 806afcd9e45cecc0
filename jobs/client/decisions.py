"""The client's verbs of people: answer, signal, look at what died, replay it, fork a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .connection import Connection, given
from .errors import Shape

# What the API lists at once; more questions than that are answered in turns.
QUESTIONS = 200


class Decisions:
    """What a client can do about jobs that wait, or that were given up."""

    _connection: Connection

    # -- waiting ------------------------------------------------------------------------------

    def questions(self, job_id: str | None = None) -> list[Shape]:
        """What people are asked now, of this job or of all, the oldest first: at most 200."""
        params = given({"job_id": job_id, "limit": QUESTIONS})
        return list(self._connection.ask("GET", "/v1/questions", params=params)["data"])

    def answer(self, job_id: str, seq: int, n: int, answer: Any) -> Shape:
        """Answer question `n` of a step, once; returns the question as closed.

        Raises:
            Refused: it was answered, expired or asked anew meanwhile (409), or the answer is none
                of its choices (422).
        """
        return self._say(job_id, seq, {"n": n, "answer": answer})

    def decide(self, job_id: str, seq: int, n: int, decision: str, *, result: Any = None) -> Shape:
        """Decide about a step that cannot go on by itself; returns the question as closed.

        `decision` is `happened` (with the `result` the call had), `again` or `fail` for a call
        that may have happened, and `continue` or `fail` for a step whose code has changed.

        Raises:
            Refused: it was decided, or asked anew meanwhile (409), or cannot be decided so (422).
        """
        said = {"n": n, "decision": decision}
        return self._say(
            job_id, seq, {**said, "result": result} if decision == "happened" else said
        )

    def _say(self, job_id: str, seq: int, said: Shape) -> Shape:
        return self._connection.ask("POST", f"/v1/jobs/{job_id}/steps/{seq}/answer", json=said)

    # -- approvals ----------------------------------------------------------------------------

    def approvals(self, job_id: str | None = None) -> list[Shape]:
        """The calls that wait for people now, of this job or of all, the oldest first."""
        params = given({"job_id": job_id, "limit": QUESTIONS})
        return list(self._connection.ask("GET", "/v1/approvals", params=params)["data"])

    def approvals_of(self, job_id: str) -> list[Shape]:
        """Every question about a call of the job, with what people have said."""
        return list(self._connection.ask("GET", f"/v1/jobs/{job_id}/approvals")["data"])

    def decide_call(self, asked: Shape, decision: str, **said: Any) -> Shape:
        """Say `approve`, `edit` (with `args`), `reject` or `respond` (with `answer`) about a call.

        `asked` is the approval as it was shown. `reason` goes with any of them; `remember=True`
        lets the job make the same call, with the same arguments, again. Returns the approval as
        it stands then; after an edit, the one about the new arguments.

        Raises:
            Refused: it is over, or asks about other arguments meanwhile (409); somebody else has to
                decide it (403); the new arguments do not fit, or are not allowed to anybody (422).
        """
        body = {"n": asked["n"], "args_sha256": asked["args_sha256"], "decision": decision, **said}
        path = f"/v1/jobs/{asked['job_id']}/steps/{asked['seq']}/decision"
        return self._connection.ask("POST", path, json=body)

    def audit(
        self, job_id: str | None = None, *, before: int | None = None, limit: int = 100
    ) -> list[Shape]:
        """The last lines of the audit, newest first, of a job or of all: at most 200."""
        params = given({"job_id": job_id, "before": before, "limit": limit})
        return list(self._connection.ask("GET", "/v1/audit", params=params)["data"])

    def verify_audit(self) -> Shape:
        """Walk the audit from its beginning; says where the chain breaks, if it does."""
        return self._connection.ask("GET", "/v1/audit/verification")

    # -- signals ------------------------------------------------------------------------------

    def signal(self, job_id: str, name: str, data: Any = None, *, key: str | None = None) -> Shape:
        """Send a signal to a job, before, during or after its wait for it.

        The same `key` again is the same signal; its status is then `duplicate`.

        Raises:
            Refused: the job has ended (409), or too many signals wait with it unread (429).
        """
        body = {"name": name, "data": data, **given({"key": key})}
        return self._connection.ask("POST", f"/v1/jobs/{job_id}/signals", json=body)

    def waits(self, job_id: str) -> list[Shape]:
        """Every wait the job has had, in the order of its steps."""
        return list(self._connection.ask("GET", f"/v1/jobs/{job_id}/waits")["data"])

    # -- budgets ------------------------------------------------------------------------------

    def budget(self, job_id: str | None = None) -> list[Shape]:
        """How the accounts of a job stand, or those of the tenant; empty where there is no cap."""
        path = "/v1/budget" if job_id is None else f"/v1/jobs/{job_id}/budget"
        return list(self._connection.ask("GET", path)["data"])

    def raise_budget(
        self,
        job_id: str,
        *,
        usd: str | None = None,
        tokens: int | None = None,
        steps: int | None = None,
        seconds: float | None = None,
        tree: bool = False,
    ) -> list[Shape]:
        """Allow a job so much more, or with `tree` its whole line; returns how it stands.

        Raises:
            Refused: it has no such cap, or the job that asked for it has too little to lend.
        """
        more = given({"usd": usd, "tokens": tokens, "steps": steps, "seconds": seconds})
        body = {**more, "tree": tree}
        return list(
            self._connection.ask("POST", f"/v1/jobs/{job_id}/budget/raise", json=body)["data"]
        )

    # -- dead letters -------------------------------------------------------------------------

    def dead_letters(
        self,
        *,
        state: str | None = None,
        agent: str | None = None,
        error_class: str | None = None,
        fingerprint: str | None = None,
        dependency: str | None = None,
        limit: int = 50,
    ) -> list[Shape]:
        """Jobs that were given up, the newest first, at most `limit` of them."""
        asked = {
            "state": state,
            "agent": agent,
            "class": error_class,
            "fingerprint": fingerprint,
            "dependency": dependency,
        }
        return self._connection.collect("/v1/dead-letters", asked, limit=limit, last="job_id")

    def dead_letter(self, job_id: str) -> Shape:
        """The dead letter of a job."""
        return self._connection.ask("GET", f"/v1/dead-letters/{job_id}")

    def replay(self, job_id: str, *, job_class: str | None = None) -> Shape:
        """Make a job that goes on from the step at which this one failed, and return it.

        It is background work unless `job_class` says otherwise.

        Raises:
            Refused: it was replayed or discarded, or a step of it is still coming in (409).
        """
        body = given({"class": job_class})
        return self._connection.ask("POST", f"/v1/dead-letters/{job_id}/replay", json=body)

    def replay_all(
        self,
        *,
        agent: str | None = None,
        error_class: str | None = None,
        fingerprint: str | None = None,
        dependency: str | None = None,
        per_s: float = 5.0,
        limit: int = 10_000,
    ) -> Shape:
        """Line up the open dead letters that fit for replay, `per_s` of them each second.

        Returns how many that were, as `planned`; the oldest have their turn first.
        """
        asked = {
            "agent": agent,
            "class": error_class,
            "fingerprint": fingerprint,
            "dependency": dependency,
        }
        body = {"per_s": per_s, "limit": limit, **given(asked)}
        return self._connection.ask("POST", "/v1/dead-letters/replay", json=body)

    def discard(self, job_id: str) -> Shape:
        """Close a dead letter without a replay, and return it."""
        return self._connection.ask("POST", f"/v1/dead-letters/{job_id}/discard")

    # -- forks and children -------------------------------------------------------------------

    def fork(
        self,
        job_id: str,
        from_step: int,
        *,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the word the API uses
        job_class: str | None = None,
    ) -> Shape:
        """Make a job that shares the steps before `from_step` and runs again from there.

        Raises:
            Refused: there is no such step, one before it was not done, or the input does not fit.
        """
        body = {"from_step": from_step, **given({"input": input, "class": job_class})}
        return self._connection.ask("POST", f"/v1/jobs/{job_id}/fork", json=body)

    def children(self, job_id: str) -> list[Shape]:
        """The jobs that steps of this one have asked for, the oldest first."""
        return list(self._connection.ask("GET", f"/v1/jobs/{job_id}/children")["data"])
