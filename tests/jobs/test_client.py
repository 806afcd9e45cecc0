"""The client: what it sends, what it makes of a no, and how it holds on to a story."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import client as client_package
from jobs.client import Client, NotFinished, Refused, Unreachable, connection
from jobs.client.stream import read_events
from store import artifacts, transitions
from store.states import JobStatus
from store.tenants import DEFAULT_TENANT
from store.transitions import Ending
from tests.conftest import Database
from tests.jobs.parking import FREE, RECONCILE, SIGNAL, bear, died, parked, submit, take
from tests.jobs.serving import TOKEN, Served, serve

CLIENT = Path(str(client_package.__file__)).parent
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def served(database: Database, redis_url: str, tmp_path: Path) -> Iterator[Served]:
    with serve(database, redis_url, tmp_path, stream_poll_ms=20) as api:
        yield api


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with served.client as opened:
        yield opened


def finish(served: Served, job_id: str) -> None:
    hand = served.hand
    held = hand.take(UUID(job_id), 1, hand.start_worker())
    hand.commit(held, output=1, ending=Ending(JobStatus.COMPLETED, output={"answer": 42}))


def tell(served: Served, job_id: str, message: str) -> None:
    with served.doors.hot() as connection:
        transitions.tell(
            connection, DEFAULT_TENANT, UUID(job_id), "job.progress", {"message": message}
        )


def test_it_imports_nothing_of_ours() -> None:
    ours = {"jobs", "store", "broker", "scheduler"}
    for path in CLIENT.glob("*.py"):
        found = list(ast.walk(ast.parse(path.read_text())))
        named = [n.module for n in found if isinstance(n, ast.ImportFrom) and n.level == 0]
        named += [a.name for n in found if isinstance(n, ast.Import) for a in n.names]
        assert not ours & {str(name).partition(".")[0] for name in named}, path.name
        assert all(n.level < 2 for n in found if isinstance(n, ast.ImportFrom)), path.name


def test_its_folder_can_be_copied_into_a_program_of_its_own(tmp_path: Path) -> None:
    shutil.copytree(CLIENT, tmp_path / "stepwell_client")
    code = "from stepwell_client import Client; print(Client.__module__)"
    said = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '.'); {code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "stepwell_client.client"


def test_a_job_from_submission_to_output(served: Served, client: Client) -> None:
    job = client.submit("echo", {"say": "hi"}, job_class="interactive")
    assert (job["status"], job["class"]) == ("queued", "interactive")
    finish(served, job["id"])
    ended = client.wait(job["id"], timeout_s=10)
    assert ended["output"] == {"answer": 42}
    assert ended == client.job(job["id"])
    assert [step["state"] for step in client.steps(job["id"])] == ["committed"]
    assert [found["id"] for found in client.jobs(agent="echo", status="completed")] == [job["id"]]


def test_the_same_key_asks_for_the_same_job(client: Client) -> None:
    first = client.submit("echo", {}, idempotency_key="k")
    assert client.submit("echo", {}, idempotency_key="k")["id"] == first["id"]


def test_lists_longer_than_a_page_are_read_whole(
    served: Served, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PAGE", 2)
    asked = [client.submit("echo", {})["id"] for _ in range(5)]
    assert [job["id"] for job in client.jobs(limit=10)] == asked[::-1]
    assert [job["id"] for job in client.jobs(limit=3)] == asked[:1:-1]


def test_a_no_carries_its_problem(client: Client) -> None:
    with pytest.raises(Refused, match="Did you mean 'echo'") as refused:
        client.submit("ecko", {})
    assert (refused.value.code, refused.value.status) == ("unknown-agent", 404)


def test_a_wrong_token_is_refused(served: Served) -> None:
    with Client(served.url, "wrong") as client, pytest.raises(Refused) as refused:
        client.jobs()
    assert refused.value.status == 401


def test_nobody_there_is_unreachable() -> None:
    with (
        Client("http://127.0.0.1:1", TOKEN) as client,
        pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:1") as gone,
    ):
        client.jobs()
    assert TOKEN not in str(gone.value)


class SomethingElse(BaseHTTPRequestHandler):
    """A web server that is not Stepwell."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>hello</html>")

    def log_message(self, *_: object) -> None:
        """It says nothing."""


def test_a_server_of_another_kind_is_told_apart() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), SomethingElse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with Client(url, TOKEN) as client, pytest.raises(Unreachable, match="right address"):
            client.jobs()
        server.shutdown()


def test_a_proxy_of_the_environment_is_not_asked_for_our_loopback(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with served.client as client:
        assert client.jobs() == []


def test_a_dry_run_creates_nothing(client: Client) -> None:
    assert client.submit("echo", {}, dry_run=True)["object"] == "trial"
    assert client.jobs() == []


def test_an_upload_tells_how_far_it_is(client: Client, tmp_path: Path) -> None:
    table = tmp_path / "numbers.csv"
    table.write_text("a,b\n" + "1,2\n" * 200_000)
    told: list[tuple[int, int]] = []
    dataset = client.upload(table, progress=lambda done, total: told.append((done, total)))
    size = table.stat().st_size
    assert (dataset["name"], dataset["rows"]) == ("numbers.csv", 200_000)
    assert told[-1] == (size, size)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert len(told) > 2


def test_an_upload_beyond_the_limit_hears_why(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    table = tmp_path / "large.csv"
    table.write_bytes(b"a,b\n" + b"1,2\n" * 2_000_000)
    limits = {"artifact_bytes_max": 2**20}
    with (
        serve(database, redis_url, tmp_path, store=limits) as served,
        served.client as client,
        pytest.raises(Refused, match="1,048,576 bytes") as refused,
    ):
        client.upload(table)
    assert refused.value.status == 413


def test_a_download_is_whole(served: Served, client: Client, tmp_path: Path) -> None:
    data = bytes(range(256)) * 8000
    with served.doors.as_tenant(DEFAULT_TENANT) as tx:
        row = artifacts.save(
            tx,
            tenant_id=DEFAULT_TENANT,
            job_id=None,
            seq=None,
            name="x.bin",
            media_type="application/octet-stream",
            chunks=[data],
            size_max_bytes=2**30,
        )
    told: list[tuple[int, int]] = []
    path = client.download(
        str(row.id), tmp_path / "x.bin", progress=lambda *seen: told.append(seen)
    )
    assert path.read_bytes() == data
    assert told[-1] == (len(data), len(data))


def test_a_download_that_fails_leaves_no_file(client: Client, tmp_path: Path) -> None:
    with pytest.raises(Refused):
        client.download(NOBODY, tmp_path / "x.bin")
    assert [path.name for path in tmp_path.glob("x.bin*")] == []


def test_a_story_is_told_in_order_and_ends_with_the_job(served: Served, client: Client) -> None:
    job = client.submit("echo", {})
    finish(served, job["id"])
    told = list(client.events(job["id"]))
    assert [event["id"] for event in told] == [1, 2, 3, 4, 5, None]
    assert told[-1]["type"] == "done"
    assert told[-1]["data"]["status"] == "completed"
    assert [event["id"] for event in client.events(job["id"], after=4)] == [5, None]


def test_a_story_goes_on_after_the_server_was_away(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    with serve(database, redis_url, tmp_path, stream_poll_ms=20) as served:
        client, port = served.client, served.port
        job = client.submit("echo", {})
        gaps: list[str] = []
        story = client.events(job["id"], on_gap=lambda error: gaps.append(str(error)))
        assert next(story)["id"] == 1
    with serve(database, redis_url, tmp_path, port=port, stream_poll_ms=20) as again:
        tell(again, job["id"], "back")
        finish(again, job["id"])
        assert [event["id"] for event in story] == [2, 3, 4, 5, 6, None]
    assert gaps == [] or "127.0.0.1" in gaps[0]


def test_a_story_nobody_tells_any_more_is_given_up(
    database: Database, redis_url: str, tmp_path: Path
) -> None:
    with serve(database, redis_url, tmp_path) as served:
        client = served.client
        job = client.submit("echo", {})
        story = client.events(job["id"], patience_s=0.5)
        next(story)
    with pytest.raises(Unreachable):
        next(story)


def test_the_story_of_no_job_is_refused_at_once(client: Client) -> None:
    with pytest.raises(Refused) as refused:
        next(client.events(NOBODY))
    assert refused.value.status == 404


def test_waiting_has_an_end_of_its_own(client: Client) -> None:
    job = client.submit("echo", {})
    begun = time.monotonic()
    with pytest.raises(NotFinished, match=job["id"]):
        client.wait(job["id"], timeout_s=0.6)
    assert time.monotonic() - begun < 5


def test_cancelling_ends_a_queued_job(client: Client) -> None:
    job = client.submit("echo", {})
    assert client.cancel(job["id"])["status"] == "cancelled"


def test_a_question_is_answered_and_a_decision_made(served: Served, client: Client) -> None:
    free, doubt = parked(served, FREE), parked(served, RECONCILE)
    assert [each["job_id"] for each in client.questions()] == [str(free), str(doubt)]
    (asked,) = client.questions(str(free))
    closed = client.answer(asked["job_id"], asked["seq"], asked["n"], {"name": None})
    assert (closed["state"], closed["result"]) == ("answered", {"name": None})
    told = client.decide(str(doubt), 1, 1, "happened", result=None)
    assert told["result"] == {"decision": "happened", "result": None}
    assert [wait["state"] for wait in client.waits(str(doubt))] == ["answered"]
    assert client.questions() == []
    with pytest.raises(Refused, match="answered before") as refused:
        client.decide(str(doubt), 1, 1, "again")
    assert refused.value.status == 409


def test_a_signal_says_whether_it_was_sent_before(served: Served, client: Client) -> None:
    job_id = str(parked(served, SIGNAL))
    assert client.signal(job_id, "paid", {"usd": 1}, key="k")["status"] == "accepted"
    assert client.signal(job_id, "paid", key="k")["status"] == "duplicate"
    assert client.waits(job_id)[0]["result"] == {"usd": 1}


def test_dead_letters_are_read_replayed_and_discarded(
    served: Served, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PAGE", 2)
    ids = [str(died(served)) for _ in range(5)]
    assert [each["job_id"] for each in client.dead_letters(limit=9)] == ids[::-1]
    assert [each["job_id"] for each in client.dead_letters(limit=3)] == ids[:1:-1]
    assert client.dead_letters(error_class="bug") == []
    made = client.replay(ids[0], job_class="batch")
    assert (made["forked_from"], made["class"]) == (ids[0], "batch")
    assert client.replay(ids[1])["class"] == "background"
    assert client.discard(ids[2])["state"] == "discarded"
    letter = client.dead_letter(ids[3])
    told = client.replay_all(fingerprint=letter["fingerprint"], per_s=10, limit=1)
    assert told["planned"] == 1
    states = [client.dead_letter(each)["state"] for each in ids]
    assert states == ["replayed", "replayed", "discarded", "replaying", "open"]
    assert len(client.dead_letters(state="open", agent="echo")) == 1


def test_a_fork_shares_the_first_steps(served: Served, client: Client) -> None:
    old = str(died(served))
    made = client.fork(old, 2, input={"say": "bye"}, job_class="interactive")
    assert (made["forked_from"], made["input"]) == (old, {"say": "bye"})
    assert [step["state"] for step in client.steps(made["id"])] == ["committed", "ready"]
    assert client.fork(old, 2)["input"] == {"say": "hi"}


def test_children_are_listed_with_their_parent(served: Served, client: Client) -> None:
    job_id, child = submit(served), uuid4()
    bear(served, take(served, job_id), child)
    assert [each["id"] for each in client.children(str(job_id))] == [str(child)]
    assert client.job(str(child))["parent_job_id"] == str(job_id)


def test_a_deadline_is_sent_along(client: Client) -> None:
    assert client.submit("echo", {}, deadline_s=60)["deadline_at"] is not None
    assert client.submit("echo", {})["deadline_at"] is None


STORY = (
    b": hello\r\nretry: 2000\r\n\r\n"
    b"id: 1\r\nevent: a\r\n"
    b'data: {"id": 1, "type": "a", "data": {"x": "\xc3\xa9"}, "at": null}\r\n\r\n'
    b": ping\r\n\r\n"
    b'event: done\ndata: {"status": "completed", "finished_at": "now"}\n\n'
)


@given(st.lists(st.integers(1, len(STORY) - 1)))
def test_a_story_reads_the_same_wherever_the_network_cuts_it(cuts: list[int]) -> None:
    edges = [0, *sorted(set(cuts)), len(STORY)]
    pieces = [STORY[a:b] for a, b in pairwise(edges)]
    told = [event for event in read_events(iter(pieces)) if event is not None]
    assert told == [
        {"id": 1, "type": "a", "data": {"x": "é"}, "at": None},
        {
            "id": None,
            "type": "done",
            "data": {"status": "completed", "finished_at": "now"},
            "at": "now",
        },
    ]
