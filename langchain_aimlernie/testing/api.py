"""The API itself, without sockets: computes responses, from scripts or the fake model."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from http.client import responses
from typing import ClassVar, NamedTuple, NoReturn

from langchain_aimlernie.testing import account, contract, encoding, models
from langchain_aimlernie.testing.fake_model import complete
from langchain_aimlernie.testing.models import ServedModel
from langchain_aimlernie.testing.replies import Fault, Reply, Request

LOCAL = "ErnieServer of langchain-aimlernie, not the AI/ML API"
"""The value of the header `x-aimlernie-local`, which every response has."""

KEPT_REQUESTS = 20_000
"""How many requests are kept for tests to read; older ones are dropped."""

_JSON = "application/json; charset=utf-8"
PROBLEM_JSON = "application/problem+json; charset=utf-8"
"""The content type of an error."""

_SSE = "text/event-stream; charset=utf-8"
_CLIENT_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_logger = logging.getLogger(__name__)
_SHOWN_VIOLATIONS = 5
_TIMESTAMP = "2025-12-01T00:00:00.000Z"


@dataclass(slots=True)
class Response:
    """A response as the connection sends it.

    Attributes:
        status: The HTTP status.
        headers: The headers, without `content-length` and `transfer-encoding`; None omits one of
            the server's own.
        body: The chunks of the body; bytes are a body of known length.
        delay: Seconds before the response headers.
        interval: Seconds between the chunks.
        chunk_size: Send the body in chunks of so many bytes instead.
        fault: How the connection breaks.
    """

    status: int
    headers: Mapping[str, str | None]
    body: bytes | Iterable[bytes]
    delay: float = 0.0
    interval: float = 0.0
    chunk_size: int | None = None
    fault: Fault | None = None


class Totals(NamedTuple):
    """Sums over the complete responses, of the usage and cost that they reported."""

    answers: int = 0
    prompt_tokens: float = 0
    completion_tokens: float = 0
    reasoning_tokens: float = 0
    credits_used: float = 0
    usd_spent: Decimal = Decimal(0)

    def plus(self, usage: object, meta: object) -> Totals:
        """Return the sums with one more response; what is no number counts nothing."""
        tokens, cost = account.as_object(usage), account.stated_cost(meta)
        details = account.as_object(tokens.get("completion_tokens_details"))
        return Totals(
            self.answers + 1,
            self.prompt_tokens + account.count_of(tokens, "prompt_tokens"),
            self.completion_tokens + account.count_of(tokens, "completion_tokens"),
            self.reasoning_tokens + account.count_of(details, "reasoning_tokens"),
            self.credits_used + account.count_of(cost, "credits_used"),
            self.usd_spent + Decimal(str(account.count_of(cost, "usd_spent"))),
        )


class _RequestError(Exception):
    """A request that gets an error response."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """The API without a socket; state that threads share is changed under `_lock`.

    Args:
        api_key: The key that chat requests must bring; None takes all.
        models: The models by all of their names.
        delay: Seconds before each response.
        interval: Seconds between the events of a stream.
    """

    api_key: str | None
    """The key that clients must send; None accepts all. May be set."""

    on_request: Callable[[Request], Reply | None] | None
    """Called for each valid chat request before the queue; None from it: use the queue.

    It runs in the server's thread and must not block. May be set.
    """

    totals: Totals
    """Tokens, credits and dollars of the responses that were sent completely."""

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
        self._log: deque[account.Row] = deque(maxlen=KEPT_REQUESTS)
        self._served = 0
        self._name = secrets.token_hex(8)
        self.reset()

    def reset(self) -> None:
        """Clear requests, queued replies, `on_request`, sums and log; connections stay open.

        `balance_usd` and `deprecations` get their default values. Ids continue.
        """
        with self._lock:
            self._requests.clear()
            self._queue.clear()
            self.totals = Totals()
            self._accepted = 0  # connections
            self._log.clear()
            self._balance = account.BALANCE
            self._deprecations = account.DEPRECATIONS
            self.on_request = None

    def _respond(self, request: Request) -> Response:
        """Return the response to a request, and record the request."""
        with self._lock:
            self._served += 1
            request.number = self._served
            request.id = f"{self._name}-{self._served:06}"
            self._requests.append(request)
        try:
            response = self._route(request)
        except _RequestError as error:
            response = _error_response(request, error.status, str(error))
            self._log_failure(request, error.status)
        except Exception as error:
            _logger.exception("a script of ErnieServer failed")
            response = _error_response(request, 500, f"A script of ErnieServer failed: {error!r}")
        ids = _ids(request)
        response.headers = {
            "x-aimlernie-local": LOCAL,
            **{f"x-{name.replace('_', '-')}": value for name, value in ids.items()},
            **response.headers,
        }
        request.status = response.status
        return response

    def _complete(self, request: Request) -> None:
        """Record that the response to `request` was sent completely."""
        request.complete = True
        with self._lock:
            if request.usage is not None or request.meta is not None:
                self.totals = self.totals.plus(request.usage, request.meta)

    def _route(self, request: Request) -> Response:
        path = request.path
        if not path.startswith(("/v1/", "/v2/")):
            path = f"/v1{path}"
        handler = self._routes.get((request.method, path))
        if handler is None:
            raise _RequestError(404, f"Cannot {request.method} {request.path}")
        return handler(self, request)

    def _get_models(self, request: Request) -> Response:
        served = {model.id: model for model in self._models.values()}
        body = models.list_models(request.query, served.values())
        return self._cacheable(request, body, max_age=60)

    def _get_deprecations(self, request: Request) -> Response:
        body = encoding.to_json(account.deprecations(request.query, self._deprecations))
        return self._cacheable(request, body, max_age=300)

    def _cacheable(self, request: Request, body: bytes, max_age: int) -> Response:
        tag = f'"{hashlib.sha256(body).hexdigest()[:27]}"'
        headers = {"etag": f"W/{tag}", "cache-control": f"public, max-age={max_age}"}
        sent = request.headers.get("if-none-match", "").split(",")
        if {"*", tag} & {each.strip().removeprefix("W/") for each in sent}:  # RFC 9110 13.1.2
            return Response(304, headers, b"")
        return Response(200, {"content-type": _JSON, **headers}, body, delay=self._delay)

    def _account(self, request: Request) -> Response:
        self._check_key(request)
        with self._lock:
            rows, balance = list(self._log), self._balance
        try:
            if request.path == "/v2/usage":
                body = account.usage(request.query, rows)
            elif request.path == "/v2/logs":
                body = account.logs(request.query, rows)
            elif request.path == "/v2/billing":
                body = account.balance(balance)
            else:
                body = account.key_info(self.api_key, account.usd_of(rows))
        except account.QueryError as error:
            raise _RequestError(400, str(error)) from None
        return Response(200, {"content-type": _JSON}, encoding.to_json(body), delay=self._delay)

    def _log_failure(self, request: Request, status: int) -> None:
        """Add a rejected chat request to the log, if its key and model are known."""
        name = request.body.get("model") if isinstance(request.body, dict) else None
        if isinstance(name, str) and status != HTTPStatus.UNAUTHORIZED:
            self._add_row(request, name, status, account.bill())

    def _add_row(self, request: Request, name: str, status: int, bill: account.Row) -> None:
        model = self._models.get(name)
        row = account.log_row(_ids(request), model.id if model else name, status, bill)
        with self._lock:
            self._log.append(row)
            self._balance -= account.usd_of([row])

    def _chat(self, request: Request) -> Response:
        request.body = _parse(request.raw)
        self._check_key(request)
        model = self._validate(request)
        reply = self._scripted(request) or complete(request.body, model)
        return self._response(request, model, reply)

    def _check_key(self, request: Request) -> None:
        if self.api_key is None:
            return
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise _RequestError(401, "Unauthorized: no API key was given")
        if key != self.api_key:
            raise _RequestError(401, "Unauthorized: the API key is not valid")

    def _validate(self, request: Request) -> ServedModel:
        """Return the model of a valid body; raise for an invalid one."""
        body = request.body
        if not isinstance(body, dict):
            _invalid(request, ["body: expected object"])
        name = body.get("model")
        if not isinstance(name, str):
            _invalid(request, ["model: required, and a string"])
        model = self._models.get(name)
        if model is None or name in account.withdrawn(self._deprecations):
            raise _RequestError(404, f"Model {name!r:.80} is not found or no longer served")
        found = contract.errors(body, model.spec)
        if found:
            request.ignored = [each.location for each in found if each.ignored]
            request.violations = [
                str(each) for each in found if each.ignored and each.location in body
            ]
            violations = [str(each) for each in found if not each.ignored]
            if violations:
                _invalid(request, violations)
        tokens = encoding.prompt_tokens(request.body)
        if tokens > model.context:
            raise _RequestError(
                400,
                f"This model's maximum context length is {model.context} tokens. However, your "
                f"messages resulted in {tokens} tokens.",
            )
        return model

    def _scripted(self, request: Request) -> Reply | None:
        if self.on_request is not None and (reply := self.on_request(request)) is not None:
            return reply
        with self._lock:
            return self._queue.popleft() if self._queue else None

    def _response(self, request: Request, model: ServedModel, reply: Reply) -> Response:
        headers, body, usage, meta = _encoded(request, model, reply)
        if reply.status >= HTTPStatus.BAD_REQUEST:
            bill = account.bill()
        else:
            bill = account.bill_of(model, usage, meta, encoding.prompt_tokens(request.body))
        self._add_row(request, model.id, reply.status, bill)
        return Response(
            reply.status,
            {**headers, **{name.lower(): value for name, value in reply.headers.items()}},
            body,
            delay=self._delay if reply.delay is None else reply.delay,
            interval=self._interval if reply.interval is None else reply.interval,
            chunk_size=reply.chunk_size,
            fault=reply.fault,
        )

    _routes: ClassVar[Mapping[tuple[str, str], Callable[[Api, Request], Response]]] = {
        ("GET", "/v1/models"): _get_models,
        ("GET", "/v1/models/deprecations"): _get_deprecations,
        ("GET", "/v1/key"): _account,
        ("GET", "/v2/billing"): _account,
        ("GET", "/v2/usage"): _account,
        ("GET", "/v2/logs"): _account,
        ("POST", "/v1/chat/completions"): _chat,
    }


def _encoded(
    request: Request, model: ServedModel, reply: Reply
) -> tuple[dict[str, str], bytes | Iterable[bytes], object, object]:
    """Return the headers and the body of a reply, and its usage and meta, sent or not."""
    if reply.events is not None:
        return {"content-type": _SSE}, encoding.scripted_events(reply.events), None, None
    if reply.body is not None:
        body = _raw(request, reply.body)
        return {"content-type": _JSON}, body, request.usage, request.meta
    completion = encoding.complete(reply, request, model)
    usage, request.meta = completion.usage, completion.meta
    if request.body.get("stream") is True if reply.stream is None else reply.stream:
        options = request.body.get("stream_options") or {}
        include_usage = options.get("include_usage") is True
        request.usage = usage if include_usage else None
        events = encoding.encode_events(completion, include_usage=include_usage)
        return {"content-type": _SSE}, events, usage, request.meta
    request.usage = usage
    headers = {"content-type": _JSON}
    spent = account.stated_cost(request.meta)
    for key in ("credits_used", "usd_spent"):
        if key in spent:
            # Without an exponent, as prices are written.
            headers[f"x-aimlapi-{key.replace('_', '-')}"] = f"{Decimal(str(spent[key])):f}"
    return headers, encoding.encode_json(completion), usage, request.meta


def _raw(request: Request, body: object) -> bytes:
    if callable(body):
        return _raw(request, body(request))
    if isinstance(body, dict):
        request.usage, request.meta = body.get("usage"), body.get("meta")
    if isinstance(body, str):
        return body.encode("utf-8", "surrogatepass")
    return body if isinstance(body, bytes) else encoding.to_json(body)


def error_body(request: Request, status: int, message: str, **more: object) -> dict[str, object]:
    """Return an error in the API's format, problem+json; `more` are further keys of it."""
    title = responses.get(status, f"HTTP {status}")
    name = "".join(re.findall(r"[A-Za-z]+", title)) + "Exception"
    return {
        "title": title,
        "status": status,
        "message": message,
        "instance": request.path,
        "requestId": _ids(request)["request_id"],
        "timestamp": _TIMESTAMP,
        "error": {"name": name, "message": message},
        **more,
    }


def _ids(request: Request) -> dict[str, str | None]:
    """Return the ids of a request by their names in the log, which are those of the headers.

    A client's id that is not one is None.
    """
    client_id = request.headers.get("x-client-request-id", "")
    return {
        "request_id": f"local-request-{request.id}",
        "inference_id": f"local-{request.id}",
        "client_request_id": client_id if _CLIENT_ID.fullmatch(client_id) else None,
    }


def _error_response(request: Request, status: int, message: str) -> Response:
    body = error_body(request, status, message)
    return Response(status, {"content-type": PROBLEM_JSON}, encoding.to_json(body))


def _invalid(request: Request, violations: Sequence[str]) -> NoReturn:
    request.violations = [*violations, *request.violations]
    raise _RequestError(400, "Body validation error! " + "; ".join(violations[:_SHOWN_VIOLATIONS]))


def _parse(raw: bytes) -> object:
    """Return the parsed JSON of a body; reject what JSON.parse would reject, such as NaN."""
    try:
        return json.loads(raw.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise _RequestError(400, f"Body validation error! The body is not JSON: {error}") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
