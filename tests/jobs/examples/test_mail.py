from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from aiosmtplib import SMTPConnectError, SMTPDataError, SMTPRecipientRefused
from pydantic import SecretStr, ValidationError

from jobs.agent.tool import ToolContext, ToolFailed
from jobs.examples.analyst.charts import draw_chart
from jobs.examples.analyst.mail import parse_server, send_email
from jobs.examples.analyst.report import Section, write_report
from jobs.examples.analyst.request import Request

RECIPIENT = "manager@example.com"


@dataclass
class Postbox:
    """What a server was given, and how it should answer."""

    received: list[bytes] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    to_recipient: str = "250 OK"
    to_message: str = "250 accepted"

    async def handle_RCPT(  # noqa: N802 - the name aiosmtpd calls
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.recipients.append(address)
        if self.to_recipient.startswith("2"):
            envelope.rcpt_tos.append(address)
        return self.to_recipient

    async def handle_DATA(  # noqa: N802 - the name aiosmtpd calls
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        assert isinstance(envelope.content, bytes)
        self.received.append(envelope.content)
        return self.to_message

    def message(self) -> EmailMessage:
        (content,) = self.received
        message = message_from_bytes(content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        return message


@pytest.fixture
def postbox() -> Postbox:
    return Postbox()


@pytest.fixture
def server(postbox: Postbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Controller]:
    controller = Controller(postbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    monkeypatch.setenv("STEPWELL_SMTP_URL", f"smtp://127.0.0.1:{controller.port}")
    monkeypatch.setenv("STEPWELL_MAIL_FROM", "reports@stepwell.example.com")
    yield controller
    controller.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ready(desk: Any, email: str | None = RECIPIENT, seq: int = 9) -> tuple[ToolContext, UUID]:
    """A written report, and the context of the step that mails it."""
    query = desk.keep_result(3, ["Träger", "Flüge"], [["F9", 682], ["US", 19_873]])
    chart = draw_chart(desk.context(seq=4), query, "bar", "Träger", "Flüge", "US fliegt öfter")
    section = Section(heading="Nach Träger", text="US führt.", query=query, chart=chart.chart)
    report = write_report(
        desk.context(seq=6), "Flüge je Träger", "US fliegt am öftesten.", [], [section]
    )
    request = Request(ask="Who flies most?", dataset=uuid4(), email=email)
    return desk.context(seq=seq, request=request), report.artifact


def send(ctx: ToolContext, report: UUID, subject: str = "Flüge je Träger", **more: Any) -> Any:
    return asyncio.run(send_email(ctx, subject, report, **more))


def kinds(part: EmailMessage) -> Any:
    """The nesting of a message as nested lists of types."""
    if not part.is_multipart():
        return part.get_content_type()
    inner = [kinds(child) for child in part.iter_parts() if isinstance(child, EmailMessage)]
    return [part.get_content_type(), *inner]


def test_one_mail_carries_text_page_pictures_and_numbers(
    desk: Any, server: Controller, postbox: Postbox
) -> None:
    ctx, report = ready(desk)
    receipt = send(ctx, report)
    message = postbox.message()
    assert kinds(message) == [
        "multipart/mixed",
        [
            "multipart/related",
            ["multipart/alternative", "text/plain", "text/html"],
            "image/png",
        ],
        "text/csv",
    ]
    assert message["To"] == RECIPIENT
    assert message["From"] == "reports@stepwell.example.com"
    assert message["Subject"] == "Flüge je Träger"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"] is not None
    assert receipt.to == [RECIPIENT] == postbox.recipients
    assert receipt.bytes == pytest.approx(len(postbox.received[0]), rel=0.01)


def test_pictures_in_the_page_are_the_pictures_attached(
    desk: Any, server: Controller, postbox: Postbox
) -> None:
    send(*ready(desk))
    parts = list(postbox.message().walk())
    (page,) = [part for part in parts if part.get_content_type() == "text/html"]
    (png,) = [part for part in parts if part.get_content_type() == "image/png"]
    assert isinstance(page, EmailMessage)
    sources = re.findall(r'src="cid:([^"]+)"', page.get_content())
    assert [f"<{source}>" for source in sources] == [png["Content-ID"]]
    assert png.get_content_disposition() == "inline"
    assert png.get_payload(decode=True) == desk.shelf.load(desk.shelf.find("c4.png").id)
    assert "US fliegt am öftesten." in page.get_content()


def test_the_numbers_and_the_text_arrive_as_they_were(
    desk: Any, server: Controller, postbox: Postbox
) -> None:
    send(*ready(desk))
    (numbers,) = list(postbox.message().iter_attachments())[-1:]
    assert numbers.get_filename() == "q3.csv"
    assert numbers.get_payload(decode=True).decode() == desk.shelf.read("q3.csv").replace(
        "\n", "\r\n"
    ) or numbers.get_payload(decode=True).decode() == desk.shelf.read("q3.csv")
    body = postbox.message().get_body(("plain",))
    assert body is not None
    text = body.get_content()
    assert "US fliegt am öftesten." in text
    assert "Träger: US; Flüge: 19,873" in text
    assert "<" not in text


def test_the_message_id_is_the_same_at_every_try_and_another_for_another_step(
    desk: Any, server: Controller, postbox: Postbox
) -> None:
    ctx, report = ready(desk)
    first, second = send(ctx, report), send(ctx, report)
    assert first.message_id == second.message_id
    assert first.message_id == f"<{ctx.job_id}.9@stepwell.stepwell.example.com>"
    without_date = [
        re.sub(rb"Date: [^\r]+\r\n|^X-[^\r]+\r\n", b"", each) for each in postbox.received
    ]
    assert without_date[0] == without_date[1]
    other, report = ready(desk, seq=11)
    assert send(other, report).message_id != first.message_id


def test_only_the_address_of_the_request_may_be_written_to(
    desk: Any, server: Controller, postbox: Postbox
) -> None:
    ctx, report = ready(desk)
    with pytest.raises(ToolFailed, match=r"thief@example\.net may not be written to"):
        send(ctx, report, to=["thief@example.net"])
    with pytest.raises(ToolFailed, match="may not be written to"):
        send(ctx, report, to=[RECIPIENT, "thief@example.net"])
    assert postbox.recipients == []
    assert send(ctx, report, to=["Manager@Example.com"]).to == [RECIPIENT]


def test_a_request_without_an_address_mails_nothing(desk: Any, server: Controller) -> None:
    with pytest.raises(ToolFailed, match="names no address"):
        send(*ready(desk, email=None))


@pytest.mark.parametrize(
    "address",
    [
        "a@example.com\nBcc: b@example.com",
        "a@example.com\r\n\r\nbody",
        "a@example.com\x00",
        "a\t@example.com",
        "not an address",
        "a@b@example.com",
        "a@example.com, b@example.com",
        "",
    ],
)
def test_an_address_that_could_inject_a_header_is_refused_at_the_door(address: str) -> None:
    with pytest.raises(ValidationError):
        Request(ask="?", dataset=uuid4(), email=address)


def test_a_subject_cannot_inject_a_header(desk: Any, server: Controller, postbox: Postbox) -> None:
    send(*ready(desk), subject="Hello\r\nBcc: thief@example.net\r\n\r\nbody")
    assert postbox.message()["Bcc"] is None
    assert postbox.message()["Subject"] == "Hello Bcc: thief@example.net body"
    assert postbox.recipients == [RECIPIENT]


def test_no_server_at_the_address_means_not_sent(desk: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("STEPWELL_SMTP_URL", f"smtp://u:secret@127.0.0.1:{free_port()}")
    with pytest.raises(SMTPConnectError) as caught:
        send(*ready(desk))
    assert "secret" not in str(caught.value)


def test_a_server_that_hangs_up_before_the_message_means_not_sent(
    desk: Any, monkeypatch: Any
) -> None:
    async def scenario() -> None:
        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 hello\r\n")
            await reader.readline()
            writer.close()

        listening = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        monkeypatch.setenv("STEPWELL_SMTP_URL", f"smtp://127.0.0.1:{port}")
        ctx, report = ready(desk)
        async with listening:
            with pytest.raises(SMTPConnectError):
                await send_email(ctx, "Hello", report)

    asyncio.run(scenario())


def test_a_server_that_refuses_for_good_is_told_and_one_that_is_busy_is_retried(
    desk: Any, server: Controller, postbox: Postbox
) -> None:
    ctx, report = ready(desk)
    postbox.to_recipient = "550 no such mailbox"
    with pytest.raises(ToolFailed, match=r"does not take mail for manager@.*550 no such mailbox"):
        send(ctx, report)
    postbox.to_recipient = "450 try later"
    with pytest.raises(SMTPRecipientRefused):
        send(ctx, report)
    postbox.to_recipient, postbox.to_message = "250 OK", "554 looks like spam"
    with pytest.raises(ToolFailed, match="554 looks like spam"):
        send(ctx, report)
    postbox.to_message = "451 try later"
    with pytest.raises(SMTPDataError):
        send(ctx, report)


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
def test_a_refused_login_is_told_without_the_password(
    desk: Any, postbox: Postbox, monkeypatch: Any
) -> None:
    def check(
        server: SMTP, session: Session, envelope: Envelope, mechanism: str, login: Any
    ) -> AuthResult:
        assert isinstance(login, LoginPassword)
        return AuthResult(success=login.password == b"right pass", handled=False)

    controller = Controller(
        postbox,
        hostname="127.0.0.1",
        port=free_port(),
        authenticator=check,
        auth_require_tls=False,
        auth_required=True,
    )
    controller.start()
    try:
        address = f"127.0.0.1:{controller.port}"
        monkeypatch.setenv("STEPWELL_SMTP_URL", f"smtp://me:wrong%20pass@{address}")
        with pytest.raises(ToolFailed) as caught:
            send(*ready(desk))
        assert "refused the login" in str(caught.value)
        assert "pass" not in str(caught.value).replace("password", "")
        monkeypatch.setenv("STEPWELL_SMTP_URL", f"smtp://me:right%20pass@{address}")
        assert send(*ready(desk)).to == [RECIPIENT]
    finally:
        controller.stop()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example.com", ("mail.example.com", 25, False, False)),
        ("smtp://mail.example.com:2525?starttls=true", ("mail.example.com", 2525, False, True)),
        ("smtp://u:p@mail.example.com?starttls=true", ("mail.example.com", 587, False, True)),
        ("smtps://mail.example.com", ("mail.example.com", 465, True, False)),
        ("smtp://[::1]:8025", ("::1", 8025, False, False)),
    ],
)
def test_the_servers_url_is_read(url: str, expected: tuple[str, int, bool, bool]) -> None:
    server = parse_server(SecretStr(url))
    assert (server.host, server.port, server.tls, server.starttls) == expected


@pytest.mark.parametrize("url", ["", "http://u:secret@x", "smtp://", "smtp://u:secret@x:port"])
def test_a_wrong_url_is_told_without_repeating_it(url: str) -> None:
    with pytest.raises(ToolFailed, match="STEPWELL_SMTP_URL") as caught:
        parse_server(SecretStr(url))
    assert "secret" not in str(caught.value)


def test_the_whole_job_ends_with_the_report_in_the_postbox(
    desk: Any, server: Controller, postbox: Postbox, tables: Any
) -> None:
    done = desk.run(tables("penguins"), "compare the species", email=RECIPIENT)
    assert done.failed == []
    assert done.analysis.mailed_to == [RECIPIENT]
    message = postbox.message()
    pictures = [part for part in message.walk() if part.get_content_type() == "image/png"]
    assert len(pictures) == len(done.calls("draw_chart"))
    names = [part.get_filename() for part in message.iter_attachments()]
    assert set(names) >= {f"{query['query']}.csv" for query in done.calls("draw_chart")}
    page = message.get_body(("html",))
    assert page is not None
    assert len(page.get_content()) < 100_000
