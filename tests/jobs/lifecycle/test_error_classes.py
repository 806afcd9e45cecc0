"""The table of errors, held against the errors that the real libraries raise at real servers."""

from __future__ import annotations

import asyncio
import json
import smtplib
import socket
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import aiosmtplib
import anthropic
import httpx
import httpx2
import openai
import psycopg
import pytest
import sqlalchemy
from aiosmtpd.controller import Controller
from pydantic import SecretStr
from pydantic_ai.messages import ModelMessage, ModelRequest, UserPromptPart

from jobs import Agent
from jobs.agent.model import Models, ask
from jobs.lifecycle.errand import _named_as
from jobs.lifecycle.error_classes import CLASS_BY_NAME, classify, is_timeout, retry_after_of
from jobs.lifecycle.loop import Loop
from jobs.settings import Settings
from tests.conftest import Database
from tests.provider.refusals import refusing

HELLO: list[ModelMessage] = [ModelRequest(parts=[UserPromptPart("Hello.")])]
AGENT = Agent("a", "openai:test-model", "")
OVERFLOW = {"message": "Too long.", "code": "context_length_exceeded", "type": "invalid"}
NO_CREDIT = {"message": "Pay first.", "code": "insufficient_quota", "type": "insufficient_quota"}


def body_of(error: Mapping[str, Any] | None = None) -> bytes:
    return json.dumps({"error": error or {"message": "No."}, "message": "No."}).encode()


def raised(call: Callable[[], Any]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        call()
    return caught.value


def raised_by(coroutine: Callable[[], Any]) -> BaseException:
    return raised(lambda: asyncio.run(coroutine()))


@pytest.fixture
def loop() -> Iterator[Loop]:
    opened = Loop()
    yield opened
    opened.close()


# --- the ways to ask an HTTP server ---------------------------------------------------------------


def by_httpx(url: str) -> None:
    httpx.get(url).raise_for_status()


def by_httpx2(url: str) -> None:
    httpx2.get(url).raise_for_status()


def by_urllib(url: str) -> None:
    urllib.request.urlopen(url, timeout=5).close()


def by_openai(url: str) -> None:
    client = openai.OpenAI(base_url=url, api_key="k", max_retries=0)
    client.chat.completions.create(model="m", messages=[])


def by_anthropic(url: str) -> None:
    client = anthropic.Anthropic(base_url=url, api_key="k", max_retries=0)
    client.messages.create(model="m", max_tokens=1, messages=[])


def ask_model(name: str, url: str, monkeypatch: pytest.MonkeyPatch, loop: Loop) -> None:
    """One call as a worker makes it: through the client, settings and limits of the product."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
    settings = Settings(model_base_url=url, model_api_key=SecretStr("k"))
    with Models(settings).borrow(AGENT, name) as model:
        loop.run(ask(model, AGENT, HELLO, settings), 20.0)


HTTP_CLIENTS = [by_httpx, by_httpx2, by_urllib, by_openai, by_anthropic]
MODELS = ["openai:test-model", "anthropic:test-model"]
STATUSES = [
    (400, {}, None, "rejected"),
    (401, {}, None, "rejected"),
    (404, {}, None, "rejected"),
    (409, {}, None, "rejected"),
    (402, {}, None, "quota"),
    (408, {}, None, "transient"),
    (429, {}, None, "rate_limited"),
    (500, {}, None, "server_error"),
    (502, {}, None, "server_error"),
    (503, {}, None, "server_error"),
    (503, {"Retry-After": "7"}, None, "rate_limited"),
    (529, {}, None, "rate_limited"),
]


@pytest.mark.parametrize("ask_by", HTTP_CLIENTS)
@pytest.mark.parametrize(("status", "headers", "error", "expected"), STATUSES)
def test_an_answer_is_classed_by_its_status(
    ask_by: Callable[[str], None], status: int, headers: Any, error: Any, expected: str
) -> None:
    with refusing(status, headers, body_of(error)) as server:
        assert classify(raised(lambda: ask_by(server.url))) == expected


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("status", "headers", "error", "expected"),
    [
        *STATUSES,
        (400, {}, OVERFLOW, "context_overflow"),
        (429, {}, NO_CREDIT, "quota"),
    ],
)
def test_a_models_answer_is_classed_and_is_one_request_on_the_wire(
    name: str,
    status: int,
    headers: Any,
    error: Any,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    loop: Loop,
) -> None:
    if error is not None and name.startswith("anthropic"):
        pytest.skip("these codes are OpenAI's")
    with refusing(status, headers, body_of(error)) as server:
        found = raised(lambda: ask_model(name, server.url, monkeypatch, loop))
        assert classify(found) == expected
        assert len(server.asked) == 1, "the client has pressed on by itself"


def test_a_429_that_asks_for_money_is_no_matter_of_patience() -> None:
    with refusing(429, body=body_of(NO_CREDIT)) as server:
        assert classify(raised(lambda: by_openai(server.url))) == "quota"


def test_anthropics_overflow_is_told_by_its_words(
    monkeypatch: pytest.MonkeyPatch, loop: Loop
) -> None:
    said = {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8 maximum"}
    with refusing(400, body=json.dumps({"type": "error", "error": said}).encode()) as server:
        found = raised(lambda: ask_model(MODELS[1], server.url, monkeypatch, loop))
    assert classify(found) == "context_overflow"


@pytest.mark.parametrize("ask_by", HTTP_CLIENTS)
def test_a_server_that_nobody_listens_for_was_sent_nothing(ask_by: Callable[[str], None]) -> None:
    assert classify(raised(lambda: ask_by(f"http://127.0.0.1:{free_port()}"))) == "not_sent"


@pytest.mark.parametrize("ask_by", HTTP_CLIENTS)
def test_a_server_that_hangs_up_may_have_acted(ask_by: Callable[[str], None]) -> None:
    with refusing(0) as server:
        assert classify(raised(lambda: ask_by(server.url))) == "transient"


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_is_not_there_or_hangs_up_is_told_apart(
    name: str, monkeypatch: pytest.MonkeyPatch, loop: Loop
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    assert classify(raised(lambda: ask_model(name, nowhere, monkeypatch, loop))) == "not_sent"
    with refusing(0) as server:
        found = raised(lambda: ask_model(name, server.url, monkeypatch, loop))
        assert classify(found) == "transient"
        assert len(server.asked) == 1


@pytest.mark.parametrize("client", [httpx, httpx2])
def test_what_httpx_raises_is_classed(client: Any) -> None:
    with silent_server() as url:
        slow = raised(lambda: client.get(url, timeout=0.2))
        assert (classify(slow), is_timeout(slow)) == ("transient", True)
    assert classify(raised(lambda: client.get("ftp://127.0.0.1/"))) == "rejected"
    assert classify(raised(lambda: client.get("http://127.0.0.1:port/"))) == "rejected"
    assert classify(raised(lambda: client.get("http://no-such-host.invalid/"))) == "not_sent"
    with refusing(302, {"Location": "/again"}) as server:
        found = raised(lambda: client.get(server.url, follow_redirects=True))
        assert classify(found) == "rejected"
    with refusing(200, {"Content-Encoding": "gzip"}, b"not gzip") as server:
        assert classify(raised(lambda: client.get(server.url))) == "server_error"


def test_a_certificate_that_nobody_vouches_for_is_a_refusal() -> None:
    import ssl

    assert classify(ssl.SSLCertVerificationError("self-signed")) == "rejected"
    with refusing(200) as server:
        not_tls = raised(lambda: by_urllib(server.url.replace("http", "https")))
    assert classify(not_tls) == "transient"


def test_a_model_call_that_takes_too_long_is_a_timeout(loop: Loop) -> None:
    with silent_server() as url:
        settings = Settings(
            model_base_url=url, model_api_key=SecretStr("k"), model_first_token_timeout_s=0.2
        )
        with Models(settings).borrow(AGENT, None) as model:
            found = raised(lambda: loop.run(ask(model, AGENT, HELLO, settings), 20.0))
    assert (classify(found), is_timeout(found)) == ("timeout", True)


# --- when to come back ----------------------------------------------------------------------------


@pytest.mark.parametrize("ask_by", HTTP_CLIENTS)
@pytest.mark.parametrize(
    ("headers", "least_s", "most_s"),
    [
        ({"Retry-After": "17"}, 17, 17),
        ({"Retry-After": "1.5"}, 1.5, 1.5),
        ({"retry-after-ms": "250", "Retry-After": "9"}, 0.25, 0.25),
        ({"Retry-After": "date"}, 25, 30),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0, 0),
    ],
)
def test_when_to_come_back_is_read_from_the_answer(
    ask_by: Callable[[str], None], headers: dict[str, str], least_s: float, most_s: float
) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    sent = {name: soon if value == "date" else value for name, value in headers.items()}
    with refusing(429, sent) as server:
        said_s = retry_after_of(raised(lambda: ask_by(server.url)))
    assert said_s is not None
    assert least_s <= said_s <= most_s


@pytest.mark.parametrize("said", ["", "soon", "-3", "inf", "nan", "99 bottles"])
def test_a_header_that_says_nothing_is_no_time(said: str) -> None:
    with refusing(429, {"Retry-After": said}) as server:
        assert retry_after_of(raised(lambda: by_httpx(server.url))) is None


@pytest.mark.parametrize("name", MODELS)
def test_when_a_model_wants_to_be_asked_again_is_known(
    name: str, monkeypatch: pytest.MonkeyPatch, loop: Loop
) -> None:
    with refusing(429, {"Retry-After": "21"}, body_of()) as server:
        found = raised(lambda: ask_model(name, server.url, monkeypatch, loop))
        assert (classify(found), retry_after_of(found)) == ("rate_limited", 21.0)
        assert len(server.asked) == 1


# --- mail -----------------------------------------------------------------------------------------


class Grumpy:
    """A mail server's manners: the answer to each command, where it is not a friendly one."""

    def __init__(self, **says: str) -> None:
        self.says = says

    async def handle_MAIL(self, *args: Any) -> str:  # noqa: N802
        if "mail" not in self.says:
            args[2].mail_from = args[3]
        return self.says.get("mail", "250 OK")

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, *_: Any
    ) -> str:
        if "rcpt" not in self.says:
            envelope.rcpt_tos.append(address)
        return self.says.get("rcpt", "250 OK")

    async def handle_DATA(self, *_: Any) -> str:  # noqa: N802
        return self.says.get("data", "250 OK")


@contextmanager
def mail_server(**says: str) -> Iterator[int]:
    controller = Controller(Grumpy(**says), hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def mail_by_smtplib(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=5) as client:
        client.sendmail("a@example.com", ["b@example.com"], "Subject: x\n\nx")


def mail_by_aiosmtplib(port: int) -> None:
    asyncio.run(
        aiosmtplib.send(
            "Subject: x\n\nx",
            hostname="127.0.0.1",
            port=port,
            sender="a@example.com",
            recipients=["b@example.com"],
            start_tls=False,
            timeout=5,
        )
    )


MAILERS = [mail_by_smtplib, mail_by_aiosmtplib]


@pytest.mark.parametrize("send", MAILERS)
@pytest.mark.parametrize("where", ["mail", "rcpt", "data"])
@pytest.mark.parametrize(("says", "expected"), [("450 Later", "not_sent"), ("550 No", "rejected")])
def test_a_mail_server_says_for_now_or_for_good(
    send: Callable[[int], None], where: str, says: str, expected: str
) -> None:
    with mail_server(**{where: says}) as port:
        assert classify(raised(lambda: send(port))) == expected


@pytest.mark.parametrize("send", MAILERS)
def test_a_mail_server_that_is_not_there_was_sent_nothing(send: Callable[[int], None]) -> None:
    assert classify(raised(lambda: send(free_port()))) == "not_sent"


@pytest.mark.parametrize("send", MAILERS)
@pytest.mark.parametrize(("says", "expected"), [("421 Full", "not_sent"), ("554 No", "rejected")])
def test_a_mail_server_may_refuse_at_the_door(
    send: Callable[[int], None], says: str, expected: str
) -> None:
    with talking_server([f"{says}\r\n"]) as port:
        assert classify(raised(lambda: send(port))) == expected


def test_a_mail_server_that_goes_away_may_have_acted() -> None:
    with talking_server(["220 hi\r\n", "250 hi\r\n"]) as port:
        assert classify(raised(lambda: mail_by_smtplib(port))) == "transient"

    async def send() -> None:
        async with aiosmtplib.SMTP(
            hostname="127.0.0.1", port=port, start_tls=False, timeout=5
        ) as client:
            await client.ehlo()
            await client.mail("a@example.com")

    with talking_server(["220 hi\r\n", "250 hi\r\n"]) as port:
        assert classify(raised_by(send)) == "transient"


def test_a_mail_server_that_falls_silent_may_have_acted() -> None:
    async def send() -> None:
        async with aiosmtplib.SMTP(
            hostname="127.0.0.1", port=port, start_tls=False, timeout=0.3
        ) as client:
            await client.ehlo()

    with talking_server(["220 hi\r\n", None]) as port:
        found = raised_by(send)
        assert (classify(found), is_timeout(found)) == ("transient", True)


def test_what_a_mail_server_cannot_do_is_a_refusal() -> None:
    with mail_server() as port, smtplib.SMTP("127.0.0.1", port, timeout=5) as client:
        assert classify(raised(lambda: client.login("u", "p"))) == "rejected"
    assert classify(aiosmtplib.SMTPNotSupported("no SMTPUTF8 here")) == "rejected"


# --- a database of the tool's own -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("select 1 / 0", "rejected"),
        ("select * from nowhere", "rejected"),
        ("insert into once values (1)", "rejected"),
        ("set statement_timeout = 20; select pg_sleep(5)", "transient"),
        ("select pg_terminate_backend(pg_backend_pid())", "transient"),
        ("do $$ begin raise sqlstate '53300'; end $$", "not_sent"),
        ("do $$ begin raise sqlstate '0A000'; end $$", "rejected"),
        ("do $$ begin raise sqlstate 'XX000'; end $$", "server_error"),
    ],
)
def test_what_a_database_says_is_classed(database: Database, statement: str, expected: str) -> None:
    prepare = "create temp table once (n int primary key); insert into once values (1)"
    with psycopg.connect(database.admin_url, autocommit=True) as connection:
        connection.execute(prepare)
        assert classify(raised(lambda: connection.execute(statement))) == expected  # type: ignore[arg-type]
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(database.admin_url)
    )
    with engine.connect() as through:
        through.exec_driver_sql(prepare)
        assert classify(raised(lambda: through.exec_driver_sql(statement))) == expected
        through.invalidate()
    engine.dispose()


def test_a_database_that_does_not_answer_was_sent_nothing() -> None:
    with silent_server() as url:
        port = url.rsplit(":", 1)[1]
        found = raised(
            lambda: psycopg.connect(f"host=127.0.0.1 port={port} connect_timeout=2 user=u dbname=d")
        )
    assert (classify(found), is_timeout(found)) == ("not_sent", True)


# --- tool servers, and plain errors ---------------------------------------------------------------


class Told:
    def __init__(self, code: int) -> None:
        self.code = code


@pytest.mark.parametrize("name", ["MCPError", "McpError"])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (-32602, "rejected"),
        (-32601, "rejected"),
        (-32603, "server_error"),
        (-32001, "timeout"),
        (408, "timeout"),
        (-32000, "transient"),
        (None, "transient"),
    ],
)
def test_a_tool_servers_answer_is_classed_by_its_code(
    name: str, code: int | None, expected: str
) -> None:
    # The way an error of a library that is not installed here comes out of a child process.
    error: Any = _named_as((("mcp.shared.exceptions", name), ("builtins", "Exception")))("no")
    if code is not None:
        error.error = Told(code)
    assert classify(error) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NotFoundError", "rejected"),
        ("AuthorizationError", "rejected"),
        ("ClientError", "transient"),
        ("ToolError", "bug"),
    ],
)
def test_what_a_client_of_tool_servers_raises_is_classed(name: str, expected: str) -> None:
    ancestry = (("fastmcp.exceptions", name), ("builtins", "Exception"))
    assert classify(_named_as(ancestry)("no")) == expected


@pytest.mark.parametrize(
    "name", ["httpx.HTTPStatusError", "smtplib.SMTPDataError", "aiosmtplib.errors.SMTPDataError"]
)
def test_an_answer_that_was_lost_on_the_way_claims_the_least(name: str) -> None:
    module, _, kind = name.rpartition(".")
    parents = [(module, "SMTPResponseException")] if "SMTP" in kind else []
    assert classify(_named_as(((module, kind), *parents))("lost")) == "transient"


def test_plain_errors_are_classed() -> None:
    assert classify(raised(lambda: socket.create_connection(("127.0.0.1", free_port())))) == (
        "not_sent"
    )
    assert classify(raised(lambda: socket.getaddrinfo("no-such-host.invalid", 80))) == "not_sent"
    assert classify(BrokenPipeError()) == "transient"
    assert classify(TimeoutError()) == "timeout"
    assert classify(ValueError("oops")) == "bug"
    assert classify(SystemExit(3)) == "bug"


def test_every_name_of_an_installed_library_is_one_that_it_has() -> None:
    from importlib import import_module

    for name in CLASS_BY_NAME:
        module, _, kind = name.rpartition(".")
        if not module.startswith(("mcp.", "fastmcp.")):
            assert issubclass(getattr(import_module(module), kind), BaseException), name


# --- servers that say little ----------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def silent_server() -> Iterator[str]:
    """Takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def talking_server(says: list[str | None]) -> Iterator[int]:
    """Says the first line, each further one after a line of the client, and hangs up.

    None is to be silent until the client hangs up.
    """
    from threading import Thread

    def talk() -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as heard:
            for n, line in enumerate(says):
                if n:
                    heard.readline()
                if line is None:
                    heard.read()
                else:
                    connection.sendall(line.encode())
            if None not in says:
                heard.readline()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=talk, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(5.0)
