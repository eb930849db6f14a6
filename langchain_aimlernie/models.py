"""The live catalogue of models: ids, capabilities, limits and prices.

`GET /v1/models` needs no key. Its responses carry an ETag; a list that has not changed since the
last call is answered with 304 and taken from a cache in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from pydantic import SecretStr

from langchain_aimlernie._client import load_transport
from langchain_aimlernie._response.schema import is_object, parse_json
from langchain_aimlernie._text import Redactor
from langchain_aimlernie._validation import (
    base_url_of_environment,
    check_client,
    check_timeout,
    endpoint_url,
    parse_base_url,
    parse_key,
)
from langchain_aimlernie._version import __version__
from langchain_aimlernie.errors import AimlErnieError, InvalidResponseError
from langchain_aimlernie.spend import parse_amount

if TYPE_CHECKING:
    from langchain_aimlernie._http import APIRequest

__all__ = ["ModelCard", "alist_models", "list_models"]

_EMPTY: Mapping[str, object] = {}
_SECTIONS = ("pricing", "capabilities", "modalities")
_CHAT = "openai/chat-completions"
_MILLION = 1_000_000
_NOT_MODIFIED = 304
_MAX_CACHED = 16


@dataclass(frozen=True, slots=True)
class ModelCard:
    """An entry of the catalogue; a field that the entry lacks is `None` or empty.

    Attributes:
        id: Canonical id, for `ChatAimlErnie(model=...)`.
        aliases: Other names that the API accepts.
        name: Display name.
        developer: Developer, for example `Baidu`.
        description: A sentence or two.
        endpoint: Type of endpoint, `openai/chat-completions` for chat models.
        context_tokens: Context window in tokens: prompt and completion together.
        max_output_tokens: Maximum tokens of a completion.
        input_modalities: Accepted input, for example `("image", "text")`.
        output_modalities: Possible output, for example `("text",)`.
        capabilities: Features, for example `("streaming", "tools")`.
        pricing_kind: `fixed`, or `variants` or `variable`, whose prices are only in `raw`.
        currency: The currency of the prices, `USD`.
        input_price: Price per million input tokens.
        output_price: Price per million output tokens.
        released: Release date, `YYYY-MM-DD`.
        docs_url: Page in the provider's documentation.
        tags: Tags, for example `playground:chat`.
        raw: The whole entry as parsed JSON.
    """

    id: str
    aliases: tuple[str, ...] = ()
    name: str = ""
    developer: str | None = None
    description: str = ""
    endpoint: str | None = None
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    input_modalities: tuple[str, ...] = ()
    output_modalities: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    pricing_kind: str | None = None
    currency: str | None = None
    input_price: Decimal | None = None
    output_price: Decimal | None = None
    released: str | None = None
    docs_url: str | None = None
    tags: tuple[str, ...] = ()
    raw: Mapping[str, object] = field(default_factory=dict, compare=False, repr=False)


class _CachedResponse(NamedTuple):
    """A response to reuse; kept as bytes, so that callers cannot change it."""

    etag: str
    body: bytes


_etag_cache: dict[tuple[str, str], _CachedResponse] = {}  # by URL and Authorization header


def list_models(  # noqa: PLR0913  all of them optional, by name
    *,
    developer: str | None = "Baidu",
    endpoint: str | None = _CHAT,
    include: Sequence[str] = _SECTIONS,
    base_url: str | None = None,
    api_key: SecretStr | str | None = None,
    timeout: Any = 30.0,
    max_retries: int = 2,
    http_client: Any = None,
) -> list[ModelCard]:
    """Return the models that the API serves now, by default Baidu's chat models.

    Args:
        developer: Only models of this developer; `None` for all. A model without a developer, as
            on self-hosted servers, is always included.
        endpoint: Only models of this endpoint type; `None` for all, for example image models.
        include: Optional sections to request; the fields of other sections stay empty.
        base_url: Address of the API. `None` reads `AIMLAPI_API_BASE`, else uses the AI/ML API.
        api_key: Sent as a bearer token; the AI/ML API does not require one here.
        timeout: Seconds per attempt, or a `Timeout` of httpx or httpx2; `None` for no limit.
        max_retries: Maximum number of retries after the first attempt.
        http_client: A `Client` of httpx or httpx2 to use instead of the shared connection pool.

    Returns:
        The models in the order of the catalogue.

    Raises:
        AimlErnieError: The request failed; the subclass names the reason.
        ValueError: `base_url`, `api_key`, `timeout` or `http_client` is invalid.
    """
    from langchain_aimlernie._http import ConnectionConfig, Transport

    if http_client is not None:
        check_client(http_client, "http_client", is_async=False)
    base, key = _resolve_base_url(base_url), _parse_secret_key(api_key)
    del api_key  # tools that report errors show local variables
    request = _build_request(base, _query(include, endpoint), key, timeout, max_retries)
    try:
        cards = Transport(ConnectionConfig(base), http_client).send(
            request, partial(_decode, request)
        )
    except AimlErnieError as error:
        cards = _cached_cards(request, error)
    return _filter(cards, developer, endpoint)


async def alist_models(  # noqa: PLR0913  as `list_models`
    *,
    developer: str | None = "Baidu",
    endpoint: str | None = _CHAT,
    include: Sequence[str] = _SECTIONS,
    base_url: str | None = None,
    api_key: SecretStr | str | None = None,
    timeout: Any = 30.0,
    max_retries: int = 2,
    http_client: Any = None,
) -> list[ModelCard]:
    """Return the models that the API serves now, without blocking the event loop.

    The arguments are those of `list_models`; `http_client` is an `AsyncClient`.

    Returns:
        The models in the order of the catalogue.

    Raises:
        AimlErnieError: The request failed; the subclass names the reason.
        ValueError: `base_url`, `api_key`, `timeout` or `http_client` is invalid.
    """
    await load_transport()
    from langchain_aimlernie._http import AsyncTransport, ConnectionConfig

    if http_client is not None:
        check_client(http_client, "http_client", is_async=True)
    base, key = _resolve_base_url(base_url), _parse_secret_key(api_key)
    del api_key  # tools that report errors show local variables
    request = _build_request(base, _query(include, endpoint), key, timeout, max_retries)
    try:
        cards = await AsyncTransport(ConnectionConfig(base), http_client).send(
            request, partial(_decode, request)
        )
    except AimlErnieError as error:
        cards = _cached_cards(request, error)
    return _filter(cards, developer, endpoint)


def _resolve_base_url(base_url: str | None) -> str:
    return parse_base_url(base_url or base_url_of_environment())


def _query(include: Sequence[str], endpoint: str | None) -> str:
    fields = {"include": ",".join(include), "type": endpoint}
    return urlencode({name: value for name, value in fields.items() if value}, safe=",/")


def _build_request(
    base: str,
    query: str,
    secret_key: SecretStr | ValueError | None,
    timeout: Any,
    max_retries: int,
) -> APIRequest:
    from langchain_aimlernie._http import APIRequest, Timeouts, parse_timeout

    if isinstance(secret_key, ValueError):
        raise secret_key
    url = f"{endpoint_url(base, '/models')}?{query}".rstrip("?")
    headers = {"accept": "application/json", "user-agent": f"langchain-aimlernie/{__version__}"}
    key = "" if secret_key is None else secret_key.get_secret_value()
    if key:
        headers["authorization"] = f"Bearer {key}"
    cached = _etag_cache.get(_cache_key(url, headers))
    if cached is not None:
        headers["if-none-match"] = cached.etag
    return APIRequest(
        method="GET",
        url=url,
        headers=headers,
        body=b"",
        timeouts=Timeouts(read=None)
        if timeout is None
        else parse_timeout(check_timeout(timeout), None),
        max_retries=max_retries,
        redactor=Redactor(key),
    )


def _parse_secret_key(api_key: SecretStr | str | None) -> SecretStr | ValueError | None:
    """Return the key as a secret, or the error of an invalid key.

    The error is returned, not raised here: a traceback would show the key as a local variable.
    """
    key = api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key
    try:
        return SecretStr(parse_key(key)) if key else None
    except ValueError as error:
        return error.with_traceback(None)


def _cache_key(url: str, headers: Mapping[str, str]) -> tuple[str, str]:
    return url, headers.get("authorization", "")


def _decode(request: APIRequest, headers: Mapping[str, str], body: bytes) -> list[ModelCard]:
    cards = decode_catalogue(body)
    etag = headers.get("etag")
    if etag:
        if len(_etag_cache) >= _MAX_CACHED:
            _etag_cache.clear()
        _etag_cache[_cache_key(request.url, request.headers)] = _CachedResponse(etag, body)
    return cards


def _cached_cards(request: APIRequest, error: AimlErnieError) -> list[ModelCard]:
    """Return the cached list after 304 Not Modified; otherwise raise `error`."""
    cached = _etag_cache.get(_cache_key(request.url, request.headers))
    if error.status_code != _NOT_MODIFIED or cached is None:
        raise error
    return decode_catalogue(cached.body)


def _filter(
    cards: Iterable[ModelCard], developer: str | None, endpoint: str | None
) -> list[ModelCard]:
    def matches(card: ModelCard) -> bool:
        return (
            developer is None
            or card.developer is None
            or _is_same_developer(card.developer, developer)
        ) and (endpoint is None or card.endpoint in (None, endpoint))

    return [card for card in cards if matches(card)]


def _is_same_developer(one: str, other: str) -> bool:
    """Return whether two names are equal but for spaces and case.

    The catalogue writes "Open AI" where ids have `openai/`.
    """
    return one.replace(" ", "").casefold() == other.replace(" ", "").casefold()


def decode_catalogue(body: bytes) -> list[ModelCard]:
    """Return the cards of a response to `GET /v1/models`.

    A value of an unexpected type leaves its field empty; it is still in `raw`.

    Raises:
        InvalidResponseError: The body is not a list of models.
    """
    catalogue = parse_json(body)
    items = catalogue.get("data") if is_object(catalogue) else None
    if not isinstance(items, list):
        raise InvalidResponseError(
            'The response is not a list of models: expected {"data": [...]}. Check base_url.',
            body=catalogue,
        )
    return [_parse_card(item) for item in items if is_object(item) and _string(item.get("id"))]


def _parse_card(item: Mapping[str, object]) -> ModelCard:
    info = _object(item.get("info"))
    modalities = _object(item.get("modalities"))
    pricing = _object(item.get("pricing"))
    model = str(item["id"])
    return ModelCard(
        id=model,
        aliases=_strings(item.get("aliases")),
        name=_string(info.get("name")) or model,
        developer=_string(info.get("developer")),
        description=_string(info.get("description")) or "",
        endpoint=_string(item.get("type")),
        context_tokens=_count(info.get("contextLength")),
        max_output_tokens=_count(info.get("outputMax")),
        input_modalities=_strings(modalities.get("input")),
        output_modalities=_strings(modalities.get("output")),
        capabilities=_strings(item.get("capabilities")),
        pricing_kind=_string(pricing.get("kind")),
        currency=_string(pricing.get("currency")),
        input_price=_price(pricing, {"input", "prompt"}),
        output_price=_price(pricing, {"output", "completion"}),
        released=_string(info.get("releasedAt")),
        docs_url=_string(info.get("docsUrl")),
        tags=_strings(item.get("tags")),
        raw=item,
    )


def _price(pricing: Mapping[str, object], directions: set[str]) -> Decimal | None:
    """Return the price per million tokens of the first unit in one of `directions`.

    `price` is for `per` units. The API reference puts the direction into `measure` in one place
    and into `name` in another.
    """
    units = pricing.get("units")
    for unit in units if isinstance(units, list) else ():
        labels = {str(_object(unit).get(key)).lower() for key in ("name", "measure")}
        if labels & directions and labels & {"token", "tokens"}:
            price, per = (parse_amount(unit.get(key)) for key in ("price", "per"))
            if price is not None and per:
                return price * _MILLION / per
    return None


def _object(value: object) -> Mapping[str, object]:
    return value if is_object(value) else _EMPTY


def _string(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _strings(value: object) -> tuple[str, ...]:
    return tuple(filter(None, map(_string, value))) if isinstance(value, list) else ()


def _count(value: object) -> int | None:
    number = parse_amount(value)
    return int(number) if number else None


def listed_prices(model: str) -> tuple[Decimal, Decimal] | None:
    """Return the input and output price per million tokens from cached `list_models()` responses.

    Sends no request. `None` if no cached response has both prices of `model`.
    """
    found = (_prices_in(cached.body).get(model) for cached in reversed(_etag_cache.values()))
    return next(filter(None, found), None)


@lru_cache(maxsize=_MAX_CACHED)
def _prices_in(body: bytes) -> Mapping[str, tuple[Decimal, Decimal]]:
    """Return the prices in a response by the ids and aliases of its models."""
    return {
        name: (card.input_price, card.output_price)
        for card in reversed(decode_catalogue(body))
        if card.input_price is not None and card.output_price is not None
        for name in (card.id, *card.aliases)
    }
