"""The API itself, without sockets: computes responses, from scripts or the fake model."""

from __future__ import annotations

import json
import logging
import re
import secrets
import threading
from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn

from langchain_aimlernie.testing import account, contract, encoding, models
from langchain_aimlernie.testing.fake_model import complete

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from langchain_aimlernie.testing.conversation import Violation
    from langchain_aimlernie.testing.models import ServedModel
    from langchain_aimlernie.testing.replies import Fault, Reply
    from langchain_aimlernie.testing.requests import Request

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
        headers: The headers, without `content-length` and `transfer-encoding`.
        body: The chunks of the body; bytes are a body of known length.
        delay: Seconds before the response headers.
        interval: Seconds between the chunks.
        omitted: The names of headers that are not sent.
        chunk_size: Send the body in chunks of so many bytes instead.
        fault: How the connection breaks.
    """

    status: int
    headers: dict[str, str]
    body: bytes | Iterable[bytes]
    delay: float = 0.0
    interval: float = 0.0
    chunk_size: int | None = None
    fault: Fault | None = None
    omitted: frozenset[str] = frozenset()


class Totals(NamedTuple):
    """Sums over the complete responses, of the usage and cost that they reported."""

    answers: int = 0
    prompt_tokens: float = 0
    completion_tokens: float = 0
    reasoning_tokens: float = 0
    credits_used: float = 0
    usd_spent: Decimal = Decimal(0)

    def plus(self, usage: Mapping[str, Any], cost: Mapping[str, Any]) -> Totals:
        """Return the sums with one more response."""
        details = usage.get("completion_tokens_details") or {}
        return Totals(
            self.answers + 1,
            self.prompt_tokens + (usage.get("prompt_tokens") or 0),
            self.completion_tokens + (usage.get("completion_tokens") or 0),
            self.reasoning_tokens + (details.get("reasoning_tokens") or 0),
            self.credits_used + (cost.get("credits_used") or 0),
            self.usd_spent + Decimal(str(cost.get("usd_spent") or 0)),
        )


class _RequestError(Exception):
    """A request that gets an error response."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """The API as `ErnieServer` serves it; state that threads share is changed under `lock`.

    Args:
        api_key: The key that chat requests must bring; None takes all.
        models: The models by all of their names.
        delay: Seconds before each response.
        interval: Seconds between the events of a stream.
    """

    def __init__(
        self, api_key: str | None, models: Mapping[str, ServedModel], delay: float, interval: float
    ) -> None:
        self.api_key = api_key
        self.models = models
        self.delay = delay
        self.interval = interval
        self.on_request: Callable[[Request], Reply | None] | None = None
        self.lock = threading.Lock()
        self.requests: deque[Request] = deque(maxlen=KEPT_REQUESTS)
        self.queue: deque[Reply] = deque()
        self.totals = Totals()
        self.log: deque[account.Row] = deque(maxlen=KEPT_REQUESTS)
        self.balance = account.BALANCE
        self.deprecations = account.DEPRECATIONS
        self._served = 0
        self._name = secrets.token_hex(8)

    def reset(self) -> None:
        """Clear requests, queued replies, sums and the account; ids continue."""
        with self.lock:
            self.requests.clear()
            self.queue.clear()
            self.totals = Totals()
            self.log.clear()
            self.balance = account.BALANCE
            self.deprecations = account.DEPRECATIONS
            self.on_request = None

    def respond(self, request: Request) -> Response:
        """Return the response to a request, and record the request."""
        with self.lock:
            self._served += 1
            request.number = self._served
            request.id = f"{self._name}-{self._served:06}"
            self.requests.append(request)
        try:
            response = self._route(request)
        except _RequestError as error:
            response = _error_response(request, error.status, str(error))
            self._log_failure(request, error.status)
        except Exception as error:
            _logger.exception("a script of ErnieServer failed")
            response = _error_response(request, 500, f"A script of ErnieServer failed: {error!r}")
        headers = self._own_headers(request) | response.headers
        response.headers = {k: v for k, v in headers.items() if k not in response.omitted}
        request.status = response.status
        return response

    def complete(self, request: Request) -> None:
        """Record that the response to `request` was sent completely."""
        request.complete = True
        cost = (request.meta or {}).get("usage") or {}
        with self.lock:
            if request.usage is not None or request.meta is not None:
                self.totals = self.totals.plus(request.usage or {}, cost)

    def _route(self, request: Request) -> Response:
        path = request.path
        if not path.startswith(("/v1/", "/v2/")):
            path = f"/v1{path}"
        handler = self._routes.get((request.method, path))
        if handler is None:
            raise _RequestError(404, f"Cannot {request.method} {request.path}")
        return handler(self, request)

    def _own_headers(self, request: Request) -> dict[str, str]:
        own = {
            "x-aimlernie-local": LOCAL,
            "x-inference-id": inference_id(request),
            "x-request-id": request_id(request),
        }
        client_id = request.headers.get("x-client-request-id", "")
        if _CLIENT_ID.fullmatch(client_id):
            own["x-client-request-id"] = client_id
        return own

    def _models(self, request: Request) -> Response:
        body = models.list_models(request.query, list(dict.fromkeys(self.models.values())))
        return self._cacheable(request, body, max_age=60)

    def _deprecations(self, request: Request) -> Response:
        body = encoding.to_json(account.deprecations(request.query, self.deprecations))
        return self._cacheable(request, body, max_age=300)

    def _cacheable(self, request: Request, body: bytes, max_age: int) -> Response:
        etag = models.etag_of(body)
        headers = {"etag": etag, "cache-control": f"public, max-age={max_age}"}
        if models.is_fresh(etag, request.headers.get("if-none-match")):
            return Response(304, headers, b"")
        return Response(200, {"content-type": _JSON, **headers}, body, delay=self.delay)

    def _account(self, request: Request) -> Response:
        self._check_key(request)
        with self.lock:
            rows, balance = list(self.log), self.balance
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
        return Response(200, {"content-type": _JSON}, encoding.to_json(body), delay=self.delay)

    def _log_failure(self, request: Request, status: int) -> None:
        """Add a rejected chat request to the log, if its key and model are known."""
        name = request.body.get("model") if isinstance(request.body, dict) else None
        if isinstance(name, str) and status != HTTPStatus.UNAUTHORIZED:
            self._log(request, name, status, account.no_bill())

    def _log(self, request: Request, name: str, status: int, bill: account.Row) -> None:
        model = self.models.get(name)
        client_id = request.headers.get("x-client-request-id", "")
        ids = {
            "request_id": request_id(request),
            "inference_id": inference_id(request),
            "client_request_id": client_id if _CLIENT_ID.fullmatch(client_id) else None,
        }
        row = account.log_row(ids, model.id if model else name, status, bill)
        with self.lock:
            self.log.append(row)
            self.balance -= account.usd_of([row])

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
        model = self.models.get(name)
        if model is None or name in account.withdrawn(self.deprecations):
            raise _RequestError(404, f"Model {name!r:.80} is not found or no longer served")
        found = contract.errors(body, model.family)
        if found:
            request.ignored = [each.location for each in found if each.ignored]
            request.violations = [
                str(each) for each in found if each.ignored and _is_top_level(each)
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
        with self.lock:
            return self.queue.popleft() if self.queue else None

    def _response(self, request: Request, model: ServedModel, reply: Reply) -> Response:
        headers, body, cost = _encoded(request, model, reply)
        failed = reply.status >= HTTPStatus.BAD_REQUEST
        tokens = encoding.prompt_tokens(request.body)
        bill = account.no_bill() if failed else account.bill_of(model, cost, tokens)
        self._log(request, model.id, reply.status, bill)
        changed = {name.lower(): value for name, value in reply.headers.items()}
        headers = {name: value for name, value in headers.items() if name not in changed}
        return Response(
            reply.status,
            headers | {name: value for name, value in changed.items() if value is not None},
            body,
            delay=self.delay if reply.delay is None else reply.delay,
            interval=self.interval if reply.interval is None else reply.interval,
            chunk_size=reply.chunk_size,
            fault=reply.fault,
            omitted=frozenset(name for name, value in changed.items() if value is None),
        )

    _routes: ClassVar[Mapping[tuple[str, str], Callable[[Api, Request], Response]]] = {
        ("GET", "/v1/models"): _models,
        ("GET", "/v1/models/deprecations"): _deprecations,
        ("GET", "/v1/key"): _account,
        ("GET", "/v2/billing"): _account,
        ("GET", "/v2/usage"): _account,
        ("GET", "/v2/logs"): _account,
        ("POST", "/v1/chat/completions"): _chat,
    }


def _encoded(
    request: Request, model: ServedModel, reply: Reply
) -> tuple[dict[str, str], bytes | Iterable[bytes], encoding.Cost]:
    """Return the headers and the body of a reply, and its usage and cost."""
    if reply.events is not None:
        unknown = encoding.Cost(None, None)
        return {"content-type": _SSE}, encoding.scripted_events(reply.events), unknown
    if reply.body is not None:
        body = _raw(request, reply.body)
        return {"content-type": _JSON}, body, encoding.Cost(request.usage, request.meta)
    streamed = reply.stream
    if streamed is None:
        streamed = request.body.get("stream") is True
    options = request.body.get("stream_options") or {}
    info = encoding.RequestInfo(
        id=request.id,
        name=request.body["model"],
        model=model,
        prompt_tokens=encoding.prompt_tokens(request.body),
        include_usage=options.get("include_usage") is True,
    )
    cost = encoding.compute_cost(reply, info)
    request.meta = cost.meta
    if streamed:
        request.usage = cost.usage if info.include_usage else None
        return {"content-type": _SSE}, encoding.encode_events(reply, info, cost), cost
    request.usage = cost.usage
    return _cost_headers(cost), encoding.encode_json(reply, info, cost), cost


def _cost_headers(cost: encoding.Cost) -> dict[str, str]:
    """Return the headers of a JSON response, which include the cost."""
    spent = (cost.meta or {}).get("usage") or {}
    names = {"credits_used": "x-aimlapi-credits-used", "usd_spent": "x-aimlapi-usd-spent"}
    priced = {name: _plain(spent[key]) for key, name in names.items() if key in spent}
    return {"content-type": _JSON, **priced}


def _plain(number: object) -> str:
    """Return a number without an exponent, as prices are written."""
    return f"{Decimal(str(number)):f}"


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
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = f"HTTP {status}"
    name = "".join(re.findall(r"[A-Za-z]+", title)) + "Exception"
    return {
        "title": title,
        "status": status,
        "message": message,
        "instance": request.path,
        "requestId": request_id(request),
        "timestamp": _TIMESTAMP,
        "error": {"name": name, "message": message},
        **more,
    }


def request_id(request: Request) -> str:
    """Return the id that errors and the header `x-request-id` carry."""
    return f"local-request-{request.id}"


def inference_id(request: Request) -> str:
    """Return the id under which the API would bill and log the request."""
    return f"local-{request.id}"


def _error_response(request: Request, status: int, message: str) -> Response:
    body = error_body(request, status, message)
    return Response(status, {"content-type": PROBLEM_JSON}, encoding.to_json(body))


def _is_top_level(finding: Violation) -> bool:
    """Whether a violation is about a top-level field of the body."""
    return len(finding.path) == 1


def _invalid(request: Request, violations: Sequence[str]) -> NoReturn:
    request.violations = [*violations, *request.violations]
    raise _RequestError(400, "Body validation error! " + "; ".join(violations[:_SHOWN_VIOLATIONS]))


def _parse(raw: bytes) -> object:
    """Return the parsed JSON of a body; reject what JSON.parse would reject, such as NaN."""
    try:
        return _DECODER.decode(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _RequestError(400, f"Body validation error! The body is not JSON: {error}") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_number)
