"""The tool that mails a report: one message with its charts inside and its numbers attached.

The message is nested so that every mail program finds what it can show:

    multipart/mixed
      multipart/related
        multipart/alternative
          text/plain                    the whole report, readable without pictures
          text/html                     the report; pictures by Content-ID
        image/png ...                   the charts
      text/csv ...                      the numbers, one file per query

Only the address the job was asked to mail to may be written to: whatever a model asks for, the
job's own request is the list of allowed recipients.

What an error means follows from how far the talk with the server got. Up to DATA nothing was sent:
a lost connection is raised as `SMTPConnectError`, which is safe to try again. From DATA on the
outcome is unknown until the server answers, so those errors travel as they are. Once the server has
accepted the message, nothing can fail any more.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID

from pydantic import EmailStr, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from jobs.agent.tool import ToolContext, ToolFailed, tool
from jobs.examples.analyst.report import Contents, load_contents, render_html, render_text
from jobs.examples.analyst.shapes import Receipt
from jobs.examples.analyst.wording import plain
from jobs.policy.rules import ALLOW

if TYPE_CHECKING:
    from aiosmtplib import SMTP

ATTACHED_BYTES_MAX = 8 * 1024 * 1024
SUBJECT_CHARS_MAX = 200
SMTP_TIMEOUT_S = 30.0


class MailSettings(BaseSettings):
    """Where mail is handed over, and whom it comes from."""

    model_config = SettingsConfigDict(env_prefix="STEPWELL_", extra="ignore")

    smtp_url: SecretStr = Field(
        default=SecretStr(""),
        description="smtp://[user:password@]host[:port][?starttls=true], or smtps:// for TLS "
        "from the first byte",
    )
    mail_from: str = Field(default="stepwell@localhost", description="the sender's address")


@dataclass(frozen=True)
class Server:
    """A mail server as its URL tells of it; the password never shows in a representation."""

    host: str
    port: int
    tls: bool
    starttls: bool
    user: str | None
    password: SecretStr | None


# An SMTP server has no key by which it would recognise a second delivery. The Message-ID is the
# same at every try, so a receiver may drop the double, but nothing obliges it to: a send whose
# outcome is unknown has to be put to a person, never repeated by itself. Hence `none`.
# Whoever asks for the report says in the same breath where it goes.
@tool(effect="external", idempotency="none", timeout_s=120, dependency="mail", policy=ALLOW)
async def send_email(
    ctx: ToolContext, subject: str, report: UUID, to: list[EmailStr] | None = None
) -> Receipt:
    """Mail a report to the address in the request, with its charts and the numbers as CSV.

    Args:
        subject: The subject line.
        report: The report's id, as write_report returned it.
        to: Leave out: the report goes to the address in the request, and to no other.
    """
    settings = MailSettings()
    server = parse_server(settings.smtp_url)
    recipient = allowed_recipient(ctx, to)
    # Artifacts are read with blocking calls, which must not hold up the loop that models share.
    message = await asyncio.to_thread(
        write_mail, ctx, recipient, subject, report, settings.mail_from
    )
    sent = message.as_bytes()
    await deliver(server, settings.mail_from, recipient, sent)
    return Receipt(
        message_id=str(message["Message-ID"]),
        to=[recipient],
        bytes=len(sent),
        accepted_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def allowed_recipient(ctx: ToolContext, asked: list[EmailStr] | None) -> str:
    """The one address this job may write to; raises `ToolFailed` for any other."""
    own = getattr(ctx.input, "email", None)
    if not own:
        raise ToolFailed("The request names no address, so nothing is mailed. Give the answer now.")
    others = [address for address in asked or [] if address.lower() != str(own).lower()]
    if others:
        raise ToolFailed(
            f"{plain(others[0])} may not be written to: a report goes only to the address in the "
            "request. Call send_email again without `to`."
        )
    return _wire_address(str(own))


def _wire_address(address: str) -> str:
    """The address as any server takes it: an international domain in its ASCII form."""
    local, _, domain = address.rpartition("@")
    if not local.isascii():
        raise ToolFailed(
            f"{plain(address)} has signs before the @ that not every mail server takes; "
            "the report cannot be mailed there."
        )
    return f"{local}@{domain.encode('idna').decode() if not domain.isascii() else domain}"


def parse_server(url: SecretStr) -> Server:
    """Read the server's URL; raises `ToolFailed` that says what is wrong without repeating it."""
    text = url.get_secret_value().strip()
    if not text:
        raise ToolFailed(
            "No mail server is set, so the report cannot be mailed. "
            "An operator has to set STEPWELL_SMTP_URL, such as smtp://mail.example.com:25."
        )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise ToolFailed(
            "STEPWELL_SMTP_URL is not a mail server's address. "
            "Write smtp://[user:password@]host:port, or smtps:// for TLS."
        )
    tls = parts.scheme == "smtps"
    starttls = parse_qs(parts.query).get("starttls", ["false"])[-1].lower() in ("true", "1", "yes")
    return Server(
        host=parts.hostname,
        port=port or (465 if tls else 587 if starttls else 25),
        tls=tls,
        starttls=starttls and not tls,
        user=unquote(parts.username) if parts.username else None,
        password=SecretStr(unquote(parts.password)) if parts.password else None,
    )


def message_id(ctx: ToolContext, sender: str) -> str:
    """The same for every try of the same step, and for no other."""
    domain = parseaddr(sender)[1].rpartition("@")[2] or "localhost"
    return f"<{ctx.job_id}.{ctx.seq}@stepwell.{domain}>"


def write_mail(
    ctx: ToolContext, recipient: str, subject: str, report: UUID, sender: str
) -> EmailMessage:
    """The whole message, the same at every try but for its Date."""
    contents = load_contents(ctx, report)
    identity = message_id(ctx, sender)
    seed = hashlib.sha256(identity.encode()).hexdigest()[:20]
    message = EmailMessage(policy=policy.SMTP)
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = plain(subject, SUBJECT_CHARS_MAX) or contents.title
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = identity
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message["MIME-Version"] = "1.0"
    _open(message, "mixed", seed)
    message.attach(_body(ctx, contents, seed))
    for name, numbers in _numbers(ctx, contents):
        message.attach(_file(numbers, name))
    return message


def _body(ctx: ToolContext, contents: Contents, seed: str) -> EmailMessage:
    """The text, the page, and the pictures the page shows."""
    text, page = _part(), _part()
    text.set_content(render_text(contents), cte="quoted-printable")
    html = render_html(contents, lambda chart: f"cid:{chart.chart}.{seed}@stepwell", in_mail=True)
    page.set_content(html, subtype="html", cte="quoted-printable")
    alternative = _part()
    _open(alternative, "alternative", seed)
    alternative.attach(text)
    alternative.attach(page)
    related = _part()
    _open(related, "related", seed)
    related.set_param("type", "multipart/alternative")
    related.attach(alternative)
    for section in contents.sections:
        if section.chart is None:
            continue
        picture = _part()
        picture.set_content(
            ctx.artifacts.load(section.chart.artifact),
            maintype="image",
            subtype="png",
            disposition="inline",
            filename=f"{section.chart.chart}.png",
            cid=f"<{section.chart.chart}.{seed}@stepwell>",
        )
        related.attach(picture)
    return related


def _numbers(ctx: ToolContext, contents: Contents) -> list[tuple[str, bytes]]:
    """The results as CSV, as many as fit in a mail, in the report's order."""
    kept, left = [], ATTACHED_BYTES_MAX
    for query in contents.queries:
        found = ctx.artifacts.find(f"{query.query}.csv")
        if found is not None and found.size_bytes <= left:
            kept.append((found.name, ctx.artifacts.load(found.id)))
            left -= found.size_bytes
    return kept


def _file(numbers: bytes, name: str) -> EmailMessage:
    part = _part()
    part.set_content(
        numbers, maintype="text", subtype="csv", disposition="attachment", filename=name
    )
    part.set_param("charset", "utf-8")
    return part


def _part() -> EmailMessage:
    return EmailMessage(policy=policy.SMTP)


def _open(part: EmailMessage, subtype: str, seed: str) -> None:
    part["Content-Type"] = f"multipart/{subtype}"
    part.set_boundary(f"=_{seed}_{subtype}")


async def deliver(server: Server, sender: str, recipient: str, sent: bytes) -> None:
    """Hand the message over; returns once the server has taken it on.

    Raises `SMTPConnectError` where nothing was sent, `ToolFailed` where the server said no for
    good, and aiosmtplib's other errors where the outcome is open or may be better later.
    """
    from aiosmtplib import SMTP, SMTPException, SMTPResponseException

    smtp = SMTP(
        hostname=server.host,
        port=server.port,
        use_tls=server.tls,
        start_tls=server.starttls,
        timeout=SMTP_TIMEOUT_S,
    )
    try:
        await _announce(smtp, server, sender, recipient)
        try:
            await smtp.data(sent)
        except SMTPResponseException as error:
            _raise_for_good(error.code, "did not take the message", error.message)
            raise
        # The message was accepted; how the talk ends changes nothing.
        with suppress(SMTPException, OSError):
            await smtp.quit()
    finally:
        smtp.close()


async def _announce(smtp: SMTP, server: Server, sender: str, recipient: str) -> None:
    """Connect, log in, name sender and recipient: everything before the message itself."""
    from aiosmtplib import (
        SMTPAuthenticationError,
        SMTPConnectError,
        SMTPReadTimeoutError,
        SMTPRecipientRefused,
        SMTPResponseException,
        SMTPServerDisconnected,
    )

    try:
        await smtp.connect()
        if server.user is not None:
            password = server.password.get_secret_value() if server.password else ""
            await smtp.login(server.user, password)
        await smtp.mail(parseaddr(sender)[1])
        await smtp.rcpt(recipient)
    except SMTPConnectError:
        raise
    except SMTPAuthenticationError as error:
        _raise_for_good(error.code, "refused the login", "")
        raise
    except SMTPRecipientRefused as error:
        _raise_for_good(error.code, f"does not take mail for {recipient}", error.message)
        raise
    except SMTPResponseException as error:
        _raise_for_good(error.code, "refused the message", error.message)
        raise
    except (SMTPServerDisconnected, SMTPReadTimeoutError) as error:
        lost = (
            f"The mail server at {server.host}:{server.port} went away before the message was sent."
        )
        raise SMTPConnectError(lost) from error


def _raise_for_good(code: int, what: str, said: str) -> None:
    """A 5xx answer will be the same next time; it is told, not retried."""
    if 500 <= code < 600:
        detail = f" ({code} {plain(said, 200)})" if said else f" ({code})"
        raise ToolFailed(f"The mail server {what}{detail}. The report was not mailed.")
