"""The live catalogue of models, with capabilities and prices.

`GET /v1/models` needs no key. Responses have an ETag, and one that has not changed since the last
call is not sent again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast
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

_NOTHING: Mapping[str, object] = {}
_SECTIONS = ("pricing", "capabilities", "modalities")
_CHAT = "openai/chat-completions"
_MILLION = 1_000_000
_NOT_MODIFIED = 304
_MAX_CACHED = 16


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model in the catalogue; fields are `None` or empty if the catalogue lacks them.

    Attributes:
        id: Canonical id, to be given to `ChatAimlErnie(model=...)`.
        aliases: Other names that the API takes for it.
        name: Its name for people.
        developer: Who made it.
        description: What it is, in a sentence or two.
        endpoint: The kind of endpoint that serves it, `openai/chat-completions` for chat models.
        context_tokens: Tokens that prompt and answer may have together.
        max_output_tokens: Tokens that an answer may have.
        input_modalities: What it takes, for example `("image", "text")`.
        output_modalities: What it gives.
        capabilities: What it can, for example `("streaming", "tools")`.
        pricing_kind: `fixed`; or `variants` or `variable`, whose prices only `raw` has.
        currency: The currency of the prices, `USD`.
        input_price: Price of a million tokens of prompt.
        output_price: Price of a million tokens of answer.
        released: The day of its release, as `YYYY-MM-DD`.
        docs_url: Its page in the provider's documentation.
        tags: Tags, for example `playground:chat`.
        raw: All that the catalogue says of it, as parsed JSON.
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
    """A response to be used again."""

    etag: str
    body: bytes


_etag_cache: dict[tuple[str, str], _CachedResponse] = {}  # by address and Authorization


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
    """Return the models that the API serves now: Baidu's chat models, if nothing else is asked for.

    Args:
        developer: Only models by this developer; `None` for all. A model that does not say who
            made it, as on servers of one's own, is always in the list.
        endpoint: Only models served by this kind of endpoint; `None` for all, also of images.
        include: Sections to ask for; the fields of others stay empty.
        base_url: The API's address; `None` for that of `AIMLAPI_API_BASE` or else AI/ML API's.
        api_key: Sent if given; AI/ML API needs none for this.
        timeout: Seconds that an attempt may take, or a `Timeout` of httpx or httpx2; `None` for no
            limit.
        max_retries: Attempts after the first one.
        http_client: A `Client` of httpx or httpx2 in place of the shared connections.

    Raises:
        AimlErnieError: The list could not be had; the class says why.
        ValueError: `base_url`, `api_key`, `timeout` or `http_client` is malformed.
    """
    from langchain_aimlernie._http import ConnectionConfig, Transport

    if http_client is not None:
        check_client(http_client, "http_client", is_async=False)
    base, key = _base(base_url), _read_key(api_key)
    del api_key  # tools that report errors show local variables
    call = _new_call(base, _query(include, endpoint), key, timeout, max_retries)
    try:
        cards = Transport(ConnectionConfig(base), http_client).send(call, partial(_decode, call))
    except AimlErnieError as error:
        cards = _cached_cards(call, error)
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
    """Return the same as `list_models`, without blocking the event loop.

    Raises:
        AimlErnieError: The list could not be had; the class says why.
        ValueError: `base_url`, `api_key`, `timeout` or `http_client` is malformed.
    """
    await load_transport()
    from langchain_aimlernie._http import AsyncTransport, ConnectionConfig

    if http_client is not None:
        check_client(http_client, "http_client", is_async=True)
    base, key = _base(base_url), _read_key(api_key)
    del api_key  # tools that report errors show local variables
    call = _new_call(base, _query(include, endpoint), key, timeout, max_retries)
    try:
        cards = await AsyncTransport(ConnectionConfig(base), http_client).send(
            call, partial(_decode, call)
        )
    except AimlErnieError as error:
        cards = _cached_cards(call, error)
    return _filter(cards, developer, endpoint)


def _base(base_url: str | None) -> str:
    return parse_base_url(base_url or base_url_of_environment())


def _query(include: Sequence[str], endpoint: str | None) -> str:
    fields = {"include": ",".join(include), "type": endpoint}
    return urlencode({name: value for name, value in fields.items() if value}, safe=",/")


def _new_call(
    base: str,
    query: str,
    hidden_key: SecretStr | ValueError | None,
    timeout: Any,
    max_retries: int,
) -> APIRequest:
    from langchain_aimlernie._http import APIRequest, Timeouts, parse_timeout

    if isinstance(hidden_key, ValueError):
        raise hidden_key
    url = f"{endpoint_url(base, '/models')}?{query}".rstrip("?")
    headers = {"accept": "application/json", "user-agent": f"langchain-aimlernie/{__version__}"}
    key = "" if hidden_key is None else hidden_key.get_secret_value()
    if key:
        headers["authorization"] = f"Bearer {key}"
    cached = _etag_cache.get((url, headers.get("authorization", "")))
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
        redactor=Redactor(key or ""),
    )


def _read_key(given: SecretStr | str | None) -> SecretStr | ValueError | None:
    """Return a key as an object that does not show it, or the error that it is none."""
    key = given.get_secret_value() if isinstance(given, SecretStr) else given
    try:
        return SecretStr(parse_key(key)) if key else None
    except ValueError as error:
        return error.with_traceback(None)


def _cache_key(call: APIRequest) -> tuple[str, str]:
    return call.url, call.headers.get("authorization", "")


def _decode(call: APIRequest, headers: Mapping[str, str], body: bytes) -> list[ModelCard]:
    cards = decode_catalogue(body)
    etag = headers.get("etag")
    if etag:
        if len(_etag_cache) >= _MAX_CACHED:
            _etag_cache.clear()
        _etag_cache[_cache_key(call)] = _CachedResponse(etag, body)
    return cards


def _cached_cards(call: APIRequest, error: AimlErnieError) -> list[ModelCard]:
    """Return the cached list if `error` is a 304."""
    cached = _etag_cache.get(_cache_key(call))
    if error.status_code != _NOT_MODIFIED or cached is None:
        raise error
    return decode_catalogue(cached.body)


def _filter(
    cards: Iterable[ModelCard], developer: str | None, endpoint: str | None
) -> list[ModelCard]:
    def is_wanted(card: ModelCard) -> bool:
        by = card.developer is None or developer is None or _same(card.developer, developer)
        return by and (endpoint is None or card.endpoint in (None, endpoint))

    return [card for card in cards if is_wanted(card)]


def _same(one: str, other: str) -> bool:
    """Whether two names are the same; the catalogue writes "Open AI" for `openai/...`."""
    return one.replace(" ", "").casefold() == other.replace(" ", "").casefold()


def decode_catalogue(body: bytes) -> list[ModelCard]:
    """Return the cards of a response of `GET /v1/models`; invalid values stay in `raw` only.

    Raises:
        InvalidResponseError: It is no list of models.
    """
    answer = parse_json(body)
    items = answer.get("data") if is_object(answer) else None
    if not isinstance(items, list):
        raise InvalidResponseError(
            'The answer is no list of models: {"data": [...]} was expected. Check base_url.',
            body=answer,
        )
    return [_card(item) for item in items if is_object(item) and _text(item.get("id"))]


def _card(item: Mapping[str, object]) -> ModelCard:
    info = _object(item.get("info"))
    modalities = _object(item.get("modalities"))
    pricing = _object(item.get("pricing"))
    model = str(item["id"])
    return ModelCard(
        id=model,
        aliases=_texts(item.get("aliases")),
        name=_text(info.get("name")) or model,
        developer=_text(info.get("developer")),
        description=_text(info.get("description")) or "",
        endpoint=_text(item.get("type")),
        context_tokens=_count(info.get("contextLength")),
        max_output_tokens=_count(info.get("outputMax")),
        input_modalities=_texts(modalities.get("input")),
        output_modalities=_texts(modalities.get("output")),
        capabilities=_texts(item.get("capabilities")),
        pricing_kind=_text(pricing.get("kind")),
        currency=_text(pricing.get("currency")),
        input_price=_price(pricing, {"input", "prompt"}),
        output_price=_price(pricing, {"output", "completion"}),
        released=_text(info.get("releasedAt")),
        docs_url=_text(info.get("docsUrl")),
        tags=_texts(item.get("tags")),
        raw=item,
    )


def _price(pricing: Mapping[str, object], directions: set[str]) -> Decimal | None:
    """Return the price of a million tokens that go in one of `directions`.

    `price` is for `per` units. The reference has the direction in a unit's `measure` in one place
    and in its `name` in another.
    """
    units = pricing.get("units")
    for unit in units if isinstance(units, list) else ():
        words = {str(_object(unit).get(key)).lower() for key in ("name", "measure")}
        if words & directions and words & {"token", "tokens"}:
            price, per = (parse_amount(unit.get(key)) for key in ("price", "per"))
            if price is not None and per:
                return price * _MILLION / per
    return None


def _object(value: object) -> Mapping[str, object]:
    return value if is_object(value) else _NOTHING


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(filter(None, map(_text, value))) if isinstance(value, list) else ()


def _count(value: object) -> int | None:
    number = parse_amount(value)
    return int(number) if number else None


def listed_prices(model: str) -> tuple[Decimal, Decimal] | None:
    """Return the prices of a million tokens of input and of output in the last `list_models()`.

    Sends nothing; `None` if the catalogue has not been fetched, or has no such prices.
    """
    for cached in reversed(_etag_cache.values()):
        for card in decode_catalogue(cached.body):
            prices = card.input_price, card.output_price
            if model in {card.id, *card.aliases} and None not in prices:
                return cast("tuple[Decimal, Decimal]", prices)
    return None
