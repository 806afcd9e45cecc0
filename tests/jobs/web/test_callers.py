"""Callers: who the door recognises, what is stamped on their jobs, and what they cannot widen."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from pydantic import SecretStr

from jobs.policy.judgement import check_role
from jobs.settings import Settings
from jobs.web.app import create_app
from jobs.web.callers import Callers, read_callers
from jobs.web.callers_file import add_caller
from jobs.web.settings import WebSettings
from store import jobs as stored
from store import tenants
from store.errors import NotReady
from store.states import JobStatus, Origin
from store.tenants import DEFAULT_TENANT
from tests.asking import Asker
from tests.conftest import Database
from tests.jobs.serving import TOKEN, Served, serve

ECHO = {"agent": "echo", "input": {}}
NIGHTLY = ECHO | {"name": "nightly", "cron": "30 3 * * *"}
HASH = "a" * 64


class Town:
    """A served API, and people who have tokens for it."""

    def __init__(self, served: Served, tokens: dict[str, str], elsewhere: UUID) -> None:
        self.served, self.tokens, self.elsewhere = served, tokens, elsewhere

    def ask(self, who: str, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask as one of them; a path that begins with a slash."""
        headers = {"Authorization": f"Bearer {self.tokens[who]}"}
        with httpx.Client(base_url=self.served.url, trust_env=False, headers=headers) as http:
            return http.request(method, f"/v1{path}", **more)

    def submit(self, who: str) -> dict[str, Any]:
        answer = self.ask(who, "POST", "/jobs", json=ECHO)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())


PEOPLE: dict[str, tuple[str, list[str], str]] = {
    "ann": ("ann", ["finance", "support"], "chat"),
    "ann's hook": ("ann", ["finance", "support"], "webhook"),
    "ann, lately": ("ann", ["support"], "chat"),
    "bob": ("bob", ["finance", "support", "admin"], "chat"),
    "olga": ("olga", ["operator"], "mcp"),
    "eve": ("eve", [], "api"),
    "nora": ("nora", [], "api"),
}


@pytest.fixture
def town(database: Database, redis_url: str, tmp_path: Path) -> Iterator[Town]:
    file, elsewhere = tmp_path / "callers.toml", uuid4()
    tokens = {"operator": TOKEN}
    for who, (name, roles, origin) in PEOPLE.items():
        tenant_id = {"eve": elsewhere, "nora": uuid4()}.get(who)
        tokens[who] = add_caller(file, name, roles=roles, origin=origin, tenant_id=tenant_id)
    with serve(database, redis_url, tmp_path / "home", callers_file=file) as served:
        with served.doors.as_operator("test") as tx:
            tenants.ensure(tx, elsewhere, "elsewhere")
        yield Town(served, tokens, elsewhere)


# --- who is recognised ----------------------------------------------------------------------------


def test_a_job_is_stamped_with_what_the_token_says(town: Town) -> None:
    job = town.submit("ann")
    told = {name: job[name] for name in ("origin", "origins_above", "requester", "roles")}
    assert told == {
        "origin": "chat",
        "origins_above": [],
        "requester": "ann",
        "roles": ["finance", "support"],
    }
    with town.served.doors.as_tenant(DEFAULT_TENANT) as tx:
        row = stored.read(tx, UUID(job["id"]))
    assert (row.origin, row.requester, row.roles) == (Origin.CHAT, "ann", ["finance", "support"])


def test_the_platforms_own_token_is_the_operators(town: Town) -> None:
    job = town.submit("operator")
    assert (job["origin"], job["requester"], job["roles"]) == ("api", "operator", ["operator"])


def test_one_person_may_come_through_several_doors(town: Town) -> None:
    jobs = [town.submit(who) for who in ("ann", "ann's hook")]
    assert [job["requester"] for job in jobs] == ["ann", "ann"]
    assert [job["origin"] for job in jobs] == ["chat", "webhook"]


def test_a_caller_is_behind_the_wall_of_their_tenant(town: Town) -> None:
    theirs, ours = town.submit("eve"), town.submit("ann")
    assert town.ask("eve", "GET", f"/jobs/{ours['id']}").status_code == 404
    assert town.ask("ann", "GET", f"/jobs/{theirs['id']}").status_code == 404
    assert [job["id"] for job in town.ask("eve", "GET", "/jobs").json()["data"]] == [theirs["id"]]


def test_a_caller_of_no_tenant_that_there_is_is_told_so(town: Town) -> None:
    daily = {"name": "daily", "agent": "echo", "input": {}, "every_s": 3600}
    before = town.served.row_counts()
    for path, sent in (
        ("/jobs", {"json": ECHO}),
        ("/schedules", {"json": daily}),
        ("/datasets?name=a.csv", {"content": b"a,b\n1,2\n"}),
    ):
        told = town.ask("nora", "POST", path, **sent)
        assert (told.status_code, told.json()["code"]) == (403, "unknown-tenant"), told.text
    assert town.served.row_counts() == before


@pytest.mark.parametrize("shown", ["wrong", HASH, "stepwell_"])
def test_nobody_else_is_let_in(town: Town, shown: str) -> None:
    town.tokens["stranger"] = shown
    answer = town.ask("stranger", "POST", "/jobs", json=ECHO)
    assert (answer.status_code, answer.json()["code"]) == (401, "wrong-token")
    assert town.served.row_counts()["jobs"] == 0


def test_the_hash_of_a_token_opens_nothing(town: Town) -> None:
    (ann, *_) = read_callers(Path(town.served.home).parent / "callers.toml")
    town.tokens["thief"] = ann.token_sha256
    assert town.ask("thief", "GET", "/jobs").status_code == 401


# --- what nobody can say of themselves ------------------------------------------------------------


@pytest.mark.parametrize(
    "claimed",
    [
        {"origin": "api"},
        {"origins_above": []},
        {"requester": "operator"},
        {"roles": ["operator"]},
        {"depth": 0},
        {"root_id": str(uuid4())},
        {"parent_job_id": None},
        {"tenant_id": str(uuid4())},
    ],
    ids=str,
)
def test_a_body_that_says_how_it_came_to_be_is_refused(town: Town, claimed: dict[str, Any]) -> None:
    job_id = town.submit("ann")["id"]
    for path, body in (("/jobs", ECHO), (f"/jobs/{job_id}/fork", {"from_step": 1})):
        answer = town.ask("ann", "POST", path, json=body | claimed)
        assert answer.status_code == 422, answer.text
        assert [each["loc"][-1] for each in answer.json()["errors"]] == list(claimed)
    assert town.served.row_counts()["jobs"] == 1


@pytest.mark.parametrize(("who", "status"), [("operator", 200), ("olga", 200), ("ann", 403)])
def test_rules_are_changed_by_operators_in_their_own_name(
    town: Town, who: str, status: int
) -> None:
    rule = {"tool": "refund", "expression": "args.amount > 100", "verdict": "confirm"}
    answer = town.ask(who, "PUT", "/policy/rules/large", json=rule)
    assert answer.status_code == status, answer.text
    rules = town.ask("ann", "GET", "/policy/rules").json()["data"]
    assert [each["decided_by"] for each in rules] == ([who] if status == 200 else [])


# --- schedules ------------------------------------------------------------------------------------


def make_schedule(town: Town, who: str) -> str:
    """Let one of them make a schedule; returns its path."""
    answer = town.ask(who, "POST", "/schedules", json=NIGHTLY)
    assert answer.status_code == 201, answer.text
    return f"/schedules/{answer.json()['id']}"


@pytest.mark.parametrize(("who", "door"), [("ann", "chat"), ("ann's hook", "webhook")])
def test_the_door_that_a_schedule_came_through_stands_above_its_jobs(
    town: Town, who: str, door: str
) -> None:
    ran = town.ask(who, "POST", f"{make_schedule(town, who)}/run").json()
    job = town.ask(who, "GET", f"/jobs/{ran['job_id']}").json()
    assert (job["origin"], job["origins_above"]) == ("schedule", [door])
    held = town.served.hand.take(UUID(job["id"]))
    assert held.invocation.origins == {Origin.SCHEDULE, Origin(door)}, "which tools may forbid"


@pytest.mark.parametrize(
    ("who", "status"),
    [
        ("ann", 200),
        ("ann's hook", 200),
        ("operator", 200),
        ("olga", 200),
        ("bob", 403),
        ("ann, lately", 403),
        ("eve", 404),
    ],
)
def test_a_schedule_is_steered_by_whoever_made_it_and_by_operators(
    town: Town, who: str, status: int
) -> None:
    here = make_schedule(town, "ann")
    before = town.ask("ann", "GET", here).json()
    for verb in ("pause", "resume", "run"):
        answer = town.ask(who, "POST", f"{here}/{verb}")
        expected = 202 if (verb, status) == ("run", 200) else status
        assert answer.status_code == expected, answer.text
        if status == 403:
            assert answer.json()["code"] == "not-yours"
    if status != 200:
        assert town.ask("ann", "GET", here).json() == before
        assert town.served.row_counts()["jobs"] == 0
    assert town.ask(who, "DELETE", here).status_code == status
    assert town.ask("ann", "GET", here).status_code == (404 if status == 200 else 200)


# --- copies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "status"),
    [
        ("ann", 202),
        ("operator", 202),
        ("olga", 202),
        ("bob", 403),
        ("ann's hook", 403),
        ("ann, lately", 403),
        ("eve", 404),
    ],
)
def test_a_copy_is_only_for_who_could_have_asked_for_it(town: Town, who: str, status: int) -> None:
    old = town.submit("ann")["id"]
    fail(town, old)
    before = town.served.row_counts()
    for path, body in (
        (f"/jobs/{old}/fork", {"from_step": 1}),
        (f"/dead-letters/{old}/replay", {}),
    ):
        answer = town.ask(who, "POST", path, json=body)
        assert answer.status_code == status, answer.text
        if status != 202:
            assert town.served.row_counts() == before
            continue
        made = answer.json()
        told = (made["origin"], made["requester"], made["roles"])
        assert told == ("chat", "ann", ["finance", "support"]), "it is still a job of Ann's"


@pytest.mark.parametrize(("who", "status"), [("ann", 202), ("operator", 403), ("olga", 403)])
def test_nobody_gives_a_copy_words_that_its_requester_did_not_say(
    town: Town, who: str, status: int
) -> None:
    old = town.submit("ann")["id"]
    fail(town, old)
    said = {"from_step": 1, "input": {"of": who}}
    answer = town.ask(who, "POST", f"/jobs/{old}/fork", json=said)
    assert answer.status_code == status, answer.text
    assert answer.json().get("code") == (None if status == 202 else "not-yours")
    assert town.served.row_counts()["jobs"] == (2 if status == 202 else 1)


@pytest.mark.parametrize(("who", "status"), [("operator", 202), ("olga", 202), ("ann", 403)])
def test_many_at_once_are_replayed_by_operators(town: Town, who: str, status: int) -> None:
    fail(town, town.submit("ann")["id"])
    answer = town.ask(who, "POST", "/dead-letters/replay", json={})
    assert answer.status_code == status
    assert answer.json().get("planned") == (1 if status == 202 else None)
    letter = town.ask("operator", "GET", "/dead-letters").json()["data"][0]
    assert letter["state"] == ("replaying" if status == 202 else "open")


def fail(town: Town, job_id: str) -> None:
    hand = town.served.hand
    assert hand.fail(hand.take(UUID(job_id))) is not None
    assert hand.job(UUID(job_id)).status is JobStatus.FAILED


# --- the file -------------------------------------------------------------------------------------


def start(file: Path, home: Path) -> Any:
    settings = Settings(api_token=SecretStr(TOKEN), home=home)
    return create_app(settings, WebSettings(callers_file=file))


def entry(**fields: Any) -> str:
    told = {"name": "ann", "token_sha256": HASH, "origin": "chat"} | fields
    lines = "".join(f"{key} = {value!r}\n" for key, value in told.items() if value is not None)
    return f"[[callers]]\n{lines}"


BROKEN: dict[str, tuple[str, str]] = {
    "no toml": ("callers = [", "it is no TOML"),
    "another table": (f"[[people]]\nname = 'x'\n{entry()}", "people: Extra inputs"),
    "no name": (entry(name=None), "callers.0.name: Field required"),
    "an odd name": (entry(name="a b"), "callers.0.name"),
    "a name with an end of line": (entry(name="ann") + 'tenant_id = "x"\n', "tenant_id"),
    "no hash": (entry(token_sha256=None), "token_sha256: Field required"),
    "a token for a hash": (entry(token_sha256="stepwell_abc"), "token_sha256"),
    "an unknown origin": (entry(origin="phone"), "origin: Input should be 'chat'"),
    "an origin of ours": (entry(origin="schedule"), "origin: Input should be 'chat'"),
    "from an agent": (entry(origin="agent"), "origin: Input should be 'chat'"),
    "roles as a text": (entry(roles="finance"), "roles: Input should be a valid list"),
    "a role with a plus": (entry(roles=["a+b"]), "roles.0"),
    "a role that is two": (entry(roles=["a & b"]), "roles.0"),
    "a role with an end of line": (entry() + 'roles = ["a\\n"]\n', "roles.0"),
    "a long role": (entry(roles=["a" * 65]), "roles.0"),
    "a word too many": (entry(admin=True).replace("True", "true"), "admin: Extra inputs"),
    "the operator's name": (entry(name="operator"), "'operator' is who holds"),
    "a token twice": (entry() + entry(name="bob"), r"twice \(of ann, bob\)"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_file_that_says_something_odd_keeps_the_api_from_starting(
    tmp_path: Path, broken: str
) -> None:
    text, says = BROKEN[broken]
    file = tmp_path / "callers.toml"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(NotReady, match=says) as refused:
        start(file, tmp_path)
    assert str(file) in str(refused.value)
    assert "stepwell_abc" not in str(refused.value), "a token put there by mistake is not repeated"


@pytest.mark.parametrize(
    ("mode", "is_fine"),
    [(0o600, True), (0o400, True), (0o640, True), (0o644, False), (0o620, False), (0o602, False)],
)
def test_a_file_that_others_may_read_or_change_is_refused(
    tmp_path: Path, mode: int, is_fine: bool
) -> None:
    file = tmp_path / "callers.toml"
    file.write_text(entry())
    file.chmod(mode)
    if is_fine:
        start(file, tmp_path)
        return
    with pytest.raises(NotReady, match=re.escape(f"(mode {mode:04o}). Say: chmod 600 {file}")):
        start(file, tmp_path)


def test_a_file_that_is_named_and_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="cannot be read"):
        start(tmp_path / "nowhere.toml", tmp_path)


def test_the_one_in_the_home_is_read_where_none_is_named(tmp_path: Path) -> None:
    settings, web = Settings(api_token=SecretStr(TOKEN), home=tmp_path), WebSettings()
    create_app(settings, web)
    (tmp_path / "callers.toml").write_text("callers = [")
    (tmp_path / "callers.toml").chmod(0o600)
    with pytest.raises(NotReady, match="it is no TOML"):
        create_app(settings, web)


@pytest.mark.parametrize("role", ["finance", "eu/finance", "team:pay", "a" * 64, "F_1.x@y-z"])
def test_whatever_role_a_policy_may_ask_for_a_caller_may_have(tmp_path: Path, role: str) -> None:
    check_role(role)
    token = add_caller(tmp_path / "callers.toml", "bob", roles=[role], origin="api")
    found = Callers.load(tmp_path / "callers.toml", DEFAULT_TENANT).find(token)
    assert found is not None
    assert found.roles == {role}


def test_somebody_is_added_and_all_that_was_there_stays(tmp_path: Path) -> None:
    file = tmp_path / "callers.toml"
    file.write_text(f"# Ours.\n{entry(roles=None)}")
    file.chmod(0o600)
    token = add_caller(file, "bob@example.org", roles=["finance"], origin="webhook")
    text = file.read_text()
    assert text.startswith(f"# Ours.\n{entry(roles=None)}")
    assert token not in text
    assert os.stat(file).st_mode & 0o777 == 0o600
    found = Callers.load(file, DEFAULT_TENANT).find(token)
    assert found is not None
    assert (found.requester, found.origin) == ("bob@example.org", Origin.WEBHOOK)
    assert found.roles == {"finance"}
    assert found.tenant_id == DEFAULT_TENANT
    with pytest.raises(NotReady, match=r"callers\.2\.name"):
        add_caller(file, "a\nb", roles=[], origin="api")
    assert file.read_text() == text, "who cannot be added changes nothing"


# --- budgets --------------------------------------------------------------------------------------


def test_whoever_asks_for_a_job_does_not_raise_its_budget(town: Town) -> None:
    bounded = ECHO | {"budget_usd": "1"}
    job = town.ask("ann", "POST", "/jobs", json=bounded).json()
    path = f"/jobs/{job['id']}/budget/raise"
    for who in ("ann", "bob"):
        refused = town.ask(who, "POST", path, json={"usd": "5"})
        assert (refused.status_code, refused.json()["code"]) == (403, "not-yours")
    asker = Asker(town.served.doors, DEFAULT_TENANT)
    assert asker.audit() == []
    raised = town.ask("olga", "POST", path, json={"usd": "0.5"})
    assert [each["cap"] for each in raised.json()["data"]] == ["1.5"]
    (line,) = asker.audit()
    told = {name: line[name] for name in ("kind", "job_id", "scope", "amounts", "by")}
    assert told == {
        "kind": "budget.raised",
        "job_id": job["id"],
        "scope": "job",
        "amounts": {"usd": "0.5"},
        "by": "olga",
    }
    assert asker.verify().is_whole
    missing = town.ask("olga", "POST", path, json={"usd": "1", "tokens": 5})
    assert missing.status_code == 422
    assert len(asker.audit()) == 1, "what was not raised leaves no line"
