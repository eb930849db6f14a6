"""The API itself, without sockets: computes responses from scripts or with the fake model."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from http.client import responses
from typing import Any, NamedTuple, NoReturn

from langchain_aimlernie.testing import account, contract, encoding
from langchain_aimlernie.testing.fake_model import complete
from langchain_aimlernie.testing.models import ServedModel, list_models
from langchain_aimlernie.testing.replies import KEPT_REQUESTS, Reply, Request, as_reply

_LOCAL = "ErnieServer of langchain-aimlernie, not the AI/ML API"
_JSON = "application/json; charset=utf-8"
_PROBLEM_JSON = "application/problem+json; charset=utf-8"
_SSE = "text/event-stream; charset=utf-8"
_CLIENT_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_logger = logging.getLogger(__name__)
_SHOWN_VIOLATIONS = 5


class Totals(NamedTuple):
    """Sums of the usage and cost in the responses that were sent completely.

    Attributes:
        answers: Number of responses.
        prompt_tokens: Tokens of the prompts.
        completion_tokens: Tokens of the completions, reasoning included.
        reasoning_tokens: Tokens of reasoning.
        credits_used: Cost in credits.
        usd_spent: Cost in US dollars.
    """

    answers: int = 0
    prompt_tokens: float = 0
    completion_tokens: float = 0
    reasoning_tokens: float = 0
    credits_used: float = 0
    usd_spent: Decimal = Decimal(0)

    def plus(self, usage: object, meta: object) -> Totals:
        """Return the sums with one more response; values that are not numbers count as 0."""
        tokens, cost = account.numbers(usage), account.numbers(meta, "usage")
        details = account.numbers(usage, "completion_tokens_details")
        return Totals(
            self.answers + 1,
            self.prompt_tokens + tokens.get("prompt_tokens", 0),
            self.completion_tokens + tokens.get("completion_tokens", 0),
            self.reasoning_tokens + details.get("reasoning_tokens", 0),
            self.credits_used + cost.get("credits_used", 0),
            self.usd_spent + Decimal(str(cost.get("usd_spent", 0))),
        )


class _RequestError(Exception):
    """A request that gets an error response."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """The API without a socket; `_lock` protects the state that threads share."""

    api_key: str | None
    """The key that clients must send; None or "" accepts all. May be assigned."""

    on_request: Callable[[Request], Reply | str | None] | None
    """A function that returns the reply to a valid chat request, or None to use the queue.

    It runs in the server's thread and must not block. May be assigned.
    """

    deprecations: Sequence[Mapping[str, Any]]
    """The entries of the deprecations feed; a `withdrawn` model gets a 404. May be assigned."""

    totals: Totals
    """Tokens, credits and dollars of the responses that were sent completely."""

    connections_total: int
    """The number of connections since the start or the last `reset`."""

    def __init__(
        self, api_key: str | None, models: Mapping[str, ServedModel], delay: float, interval: float
    ) -> None:
        self.api_key = api_key
        self._models = models
        self._delay = delay
        self._interval = interval
        self._lock = threading.Lock()
        self._requests: deque[Request] = deque(maxlen=KEPT_REQUESTS)
        self._queue: deque[Reply] = deque()
        self._served = 0
        self._name = secrets.token_hex(8)
        self.reset()

    def reset(self) -> None:
        """Clear requests, queued replies, `on_request`, sums and log; connections stay open.

        `balance_usd` and `deprecations` get their defaults. The numbering of requests continues.
        """
        with self._lock:
            self._requests.clear()
            self._queue.clear()
            self.totals = Totals()
            self.connections_total = 0
            self._account = account.Account()
            self.deprecations = account.DEPRECATIONS
            self.on_request = None

    def _respond(self, request: Request) -> Reply:
        """Record a request; return its response with the body as bytes and all headers."""
        with self._lock:
            self._served += 1
            request.number = self._served
            request.id = f"{self._name}-{self._served:06}"
            self._requests.append(request)
        try:
            reply = self._route(request)
        except _RequestError as error:
            reply = failure(error.status, str(error))
        except Exception as error:
            _logger.exception("a script of ErnieServer failed")
            reply = failure(500, f"A script of ErnieServer failed: {error!r}")
        body = reply.body(request) if callable(reply.body) else reply.body
        ids = {f"x-{name.replace('_', '-')}": value for name, value in _ids(request).items()}
        scripted = {name.lower(): value for name, value in reply.headers.items()}
        request.status = reply.status
        return replace(
            reply,
            body=None if reply.events is not None else encoding.to_bytes(body),
            headers={"x-aimlernie-local": _LOCAL, **ids, "content-type": _JSON, **scripted},
            delay=self._delay if reply.delay is None else reply.delay,
            interval=self._interval if reply.interval is None else reply.interval,
        )

    def _complete(self, request: Request) -> None:
        """Record that the response to `request` was sent completely."""
        request.complete = True
        with self._lock:
            if request.usage is not None or request.meta is not None:
                self.totals = self.totals.plus(request.usage, request.meta)

    def _route(self, request: Request) -> Reply:
        path = request.path
        if not path.startswith(("/v1/", "/v2/")):
            path = f"/v1{path}"
        match request.method, path:
            case "POST", "/v1/chat/completions":
                return self._chat(request)
            case "GET", "/v1/models":
                served = {model.id: model for model in self._models.values()}
                return _cacheable(request, list_models(request.query, served.values()), 60)
            case "GET", "/v1/models/deprecations":
                feed = {"generated_at": account.CREATED, "data": self.deprecations}
                return _cacheable(request, feed, 300)
            case "GET", "/v1/key" | "/v2/billing" | "/v2/usage" | "/v2/logs":
                self._check_key(request)
                try:
                    return Reply(body=self._account.read(path, request.query, self.api_key))
                except ValueError as error:
                    raise _RequestError(400, str(error)) from None
        raise _RequestError(404, f"Cannot {request.method} {request.path}")

    def _check_key(self, request: Request) -> None:
        if not self.api_key:
            return
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise _RequestError(401, "Unauthorized: no API key was given")
        if key != self.api_key:
            raise _RequestError(401, "Unauthorized: the API key is not valid")

    def _chat(self, request: Request) -> Reply:
        request.body = _parse(request.raw)
        self._check_key(request)
        model = self._validate(request)
        tokens = encoding.prompt_tokens(request.body)
        if tokens > model.context:
            raise _RequestError(
                400,
                f"This model's maximum context length is {model.context} tokens. However, your "
                f"messages resulted in {tokens} tokens.",
            )
        reply = _encode(request, model, self._scripted(request) or complete(request.body, model))
        self._account.charge(_ids(request), model, reply, tokens)
        return reply

    def _validate(self, request: Request) -> ServedModel:
        """Return the model of a valid body; raise for an invalid one."""
        body = request.body
        if not isinstance(body, dict):
            _invalid(request, ["body: expected object"])
        name = body.get("model")
        if not isinstance(name, str):
            _invalid(request, ["model: required, and a string"])
        model = self._models.get(name)
        if model is None or name in account.withdrawn(self.deprecations):
            raise _RequestError(404, f"Model {name!r:.80} is not found or no longer served")
        violations, request.ignored = contract.check(body, model.spec)
        unknown = [key for key in request.ignored if key in body]
        request.violations = [f"{key}: not known here, and ignored" for key in unknown]
        if violations:
            _invalid(request, violations)
        return model

    def _scripted(self, request: Request) -> Reply | None:
        if self.on_request is not None and (reply := self.on_request(request)) is not None:
            return as_reply(reply)
        with self._lock:
            return self._queue.popleft() if self._queue else None


def _encode(request: Request, model: ServedModel, reply: Reply) -> Reply:
    """Return a reply with its bytes or events, and its usage and meta, even if not sent."""
    headers = dict(reply.headers)
    if reply.events is not None:
        headers = {"content-type": _SSE, **headers}
        return replace(reply, body=None, usage=None, meta=None, headers=headers)
    body: Any = reply.body
    if body is None:
        body = encoding.complete(reply, request, model)
    elif callable(body):
        body = body(request)
    usage, meta = (body.get("usage"), body.get("meta")) if isinstance(body, dict) else (None, None)
    request.usage, request.meta = usage, meta
    if reply.body is not None:
        return replace(reply, body=encoding.to_bytes(body), usage=usage, meta=meta)
    if request.body.get("stream", False) if reply.stream is None else reply.stream:
        include_usage = request.body.get("stream_options", {}).get("include_usage", False)
        request.usage = usage if include_usage else None
        events = encoding.stream_events(body, include_usage=include_usage)
        headers = {"content-type": _SSE, **headers}
        return replace(reply, events=events, usage=usage, meta=meta, headers=headers)
    spent = account.numbers(meta, "usage")
    for key in ("credits_used", "usd_spent"):
        if key in spent:
            # Without an exponent, as the API's prices.
            price = f"{Decimal(str(spent[key])):f}"
            headers = {f"x-aimlapi-{key.replace('_', '-')}": price, **headers}
    body = encoding.to_bytes(body)
    return replace(reply, body=body, usage=usage, meta=meta, headers=headers)


def _cacheable(request: Request, value: object, max_age: int) -> Reply:
    body = encoding.to_bytes(value)
    tag = f'"{hashlib.sha256(body).hexdigest()[:27]}"'
    headers = {"etag": f"W/{tag}", "cache-control": f"public, max-age={max_age}"}
    sent = request.headers.get("if-none-match", "").split(",")
    if {"*", tag} & {each.strip().removeprefix("W/") for each in sent}:  # RFC 9110 13.1.2
        return Reply(status=304, headers={**headers, "content-type": None}, body=b"")
    return Reply(headers=headers, body=body)


def failure(status: int, message: str, **more: object) -> Reply:
    """Return an error in the API's format, problem+json; `more` has further keys."""
    title = responses.get(status, f"HTTP {status}")
    name = "".join(re.findall(r"[A-Za-z]+", title)) + "Exception"

    def body(request: Request) -> dict[str, object]:
        return {
            "title": title,
            "status": status,
            "message": message,
            "instance": request.path,
            "requestId": _ids(request)["request_id"],
            "timestamp": account.CREATED,
            "error": {"name": name, "message": message},
            **more,
        }

    return Reply(status=status, headers={"content-type": _PROBLEM_JSON}, body=body)


def _invalid(request: Request, violations: Sequence[str]) -> NoReturn:
    request.violations = [*violations, *request.violations]
    raise _RequestError(400, "Body validation error! " + "; ".join(violations[:_SHOWN_VIOLATIONS]))


def _ids(request: Request) -> dict[str, str | None]:
    """Return the ids of a request by their names in the log; headers have the same names.

    An invalid id of the client is None.
    """
    client_id = request.headers.get("x-client-request-id", "")
    return {
        "request_id": f"local-request-{request.id}",
        "inference_id": f"local-{request.id}",
        "client_request_id": client_id if _CLIENT_ID.fullmatch(client_id) else None,
    }


def _parse(raw: bytes) -> object:
    """Return the parsed JSON of a body; reject what JavaScript would, such as NaN."""
    try:
        return json.loads(raw.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise _RequestError(400, f"Body validation error! The body is not JSON: {error}") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
