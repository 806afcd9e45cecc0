"""The threshold of every request: the right host and token, a bounded body, safe headers.

It stands outside of FastAPI, so a stranger is turned away before a byte of the body is parsed.
"""

from __future__ import annotations

import hmac
import uuid
from uuid import UUID

from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobs.web import problems
from jobs.web.callers import Caller, Callers, operator
from jobs.web.refusals import TooManyBytes, UnknownHost, WebRefusal, WrongToken
from jobs.web.settings import WebSettings

GUARDED = "/v1/"
# Uploads are counted and limited where they are taken in.
UNCOUNTED = "/v1/datasets"
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Door:
    """ASGI middleware; notes `caller` and `request_id` in the request's state."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: SecretStr,
        tenant_id: UUID,
        settings: WebSettings,
        callers: Callers,
    ) -> None:
        self._app = app
        self._token = token.get_secret_value().encode()
        self._operator = operator(tenant_id)
        self._callers = callers
        self._hosts = settings.host_names
        self._bytes_max = settings.request_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["request_id"] = uuid.uuid4().hex[:16]
        send = _with_safe_headers(send, state["request_id"])
        headers = Headers(scope=scope)
        try:
            self._check_host(headers)
            if scope["path"].startswith(GUARDED):
                state["caller"] = self._recognise(headers)
            if scope["path"] != UNCOUNTED:
                receive = self._counted(headers, receive)
        except WebRefusal as error:
            await problems.answer(Request(scope), error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        name = host_name(headers.get("host", ""))
        if "*" not in self._hosts and name not in self._hosts:
            raise UnknownHost(
                f"This API does not answer to the name {name[:100]!r}. If it should, add the name "
                "to STEPWELL_ALLOWED_HOSTS."
            )

    def _recognise(self, headers: Headers) -> Caller:
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        token = shown.strip()
        if scheme.lower() == "bearer":
            # Compared in constant time, so that the answer's delay says nothing about the token.
            if hmac.compare_digest(token.encode(), self._token):
                return self._operator
            known = self._callers.find(token)
            if known is not None:
                return known
        raise WrongToken(
            "Send the header `Authorization: Bearer <token>` with the token this platform "
            "was started with (STEPWELL_API_TOKEN), or one of a caller it knows."
        )

    def _counted(self, headers: Headers, receive: Receive) -> Receive:
        declared = headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._bytes_max:
            raise self._too_many()
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._bytes_max:
                raise self._too_many()
            return message

        return counted

    def _too_many(self) -> TooManyBytes:
        return TooManyBytes(
            f"The body of this request may have {self._bytes_max:,} bytes at most "
            "(STEPWELL_REQUEST_BYTES_MAX). Large data belongs into an upload: POST /v1/datasets."
        )


def host_name(header: str) -> str:
    """The name in a Host header, without its port: `[::1]:8700` is `[::1]`."""
    name = header.strip().lower()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0]


def _with_safe_headers(send: Send, request_id: str) -> Send:
    async def safe(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = request_id
            for name, value in SAFE_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return safe
