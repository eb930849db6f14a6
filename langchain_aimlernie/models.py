"""The live catalogue of models: ids, capabilities, limits, prices and deprecations.

`GET /v1/models` needs no key. Its responses have an ETag: for a list that has not changed since the
last call, the server returns a 304, and the list comes from a cache in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Unpack
from urllib.parse import urlencode

from langchain_aimlernie._coroutines import run
from langchain_aimlernie._deprecations import fetch_deprecations
from langchain_aimlernie._get import Connection, ETagCache, Server, takes_connection
from langchain_aimlernie._response.schema import (
    is_object,
    object_or_empty,
    parse_json,
    string_or_none,
    strings,
)
from langchain_aimlernie._settings.values import endpoint_url
from langchain_aimlernie._text import NO_SECRETS, Redactor
from langchain_aimlernie.errors import InvalidResponseError
from langchain_aimlernie.spend import prices
from langchain_aimlernie.spend.amounts import parse_amount

__all__ = ["ModelCard", "alist_models", "list_models"]

_SECTIONS = ("pricing", "capabilities", "modalities")
_CHAT = "openai/chat-completions"
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model in the catalogue; a field that its entry lacks is `None` or empty.

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
        status: Its status in the deprecations feed: `deprecated` (it still responds), `superseded`
            (requests go to another model) or `withdrawn` (404); `None` if it is not listed.
        deprecated_at: When it was deprecated.
        shutdown_at: When it is, or was, withdrawn.
        replaced_by: Id of the model to use instead.
        reason: Why, in the provider's words.
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
    status: str | None = None
    deprecated_at: datetime | None = None
    shutdown_at: datetime | None = None
    replaced_by: str | None = None
    reason: str | None = None
    raw: Mapping[str, object] = field(default_factory=dict, compare=False, repr=False)


_etag_cache: ETagCache = {}


@takes_connection
def list_models(
    *,
    developer: str | None = "Baidu",
    endpoint: str | None = _CHAT,
    include: Sequence[str] = _SECTIONS,
    **connection: Unpack[Connection],
) -> list[ModelCard]:
    """Return the models that the API serves now, by default Baidu's chat models.

    Models in the API's deprecations feed have a `status`. The feed takes one more request, without
    the key and at most every 5 minutes, and only to the AI/ML API or a server that sends its header
    `x-inference-id`. If it fails, no model has a status.

    Args:
        developer: Only models of this developer; `None` for all. A model without a developer, as
            on self-hosted servers, is always included.
        endpoint: Only models of this endpoint type; `None` for all, for example image models.
        include: Optional sections to request, of `pricing`, `capabilities` and `modalities`; the
            fields of the others stay empty.
        base_url: Address of the API. `None` reads `AIMLAPI_API_BASE`, else uses the AI/ML API.
        api_key: Sent as a bearer token; the AI/ML API does not require it here.
        timeout: Seconds per attempt, or a `Timeout` of httpx or httpx2; `None` for no limit.
        max_retries: Maximum number of retries after the first attempt.
        http_client: A `Client` of httpx or httpx2 to use instead of the shared connection pool.

    Returns:
        The models in the order of the catalogue.

    Raises:
        AimlErnieError: The request failed; the subclass names the reason.
        ValueError: `base_url`, `api_key`, `timeout`, `max_retries` or `http_client` is invalid.
    """
    server = Server(connection, is_async=False)
    return run(_list(server, developer, endpoint, include))


@takes_connection
async def alist_models(
    *,
    developer: str | None = "Baidu",
    endpoint: str | None = _CHAT,
    include: Sequence[str] = _SECTIONS,
    **connection: Unpack[Connection],
) -> list[ModelCard]:
    """Return the models that the API serves now; see `list_models`.

    The arguments and errors are those of `list_models`; `http_client` is an `AsyncClient`.
    """
    server = Server(connection, is_async=True)
    return await _list(server, developer, endpoint, include)


async def _list(
    server: Server, developer: str | None, endpoint: str | None, include: Sequence[str]
) -> list[ModelCard]:
    sections = include if isinstance(include, str) else ",".join(include)
    fields = {"include": sections, "type": endpoint}
    query = urlencode({name: value for name, value in fields.items() if value}, safe=",/")
    url = f"{endpoint_url(server.base_url, '/models')}?{query}".rstrip("?")

    def decode(headers: Mapping[str, str], body: bytes) -> tuple[Any, list[ModelCard]]:
        return headers, decode_catalogue(body, server.redactor)

    def fold(name: str) -> str:
        # The catalogue has "Open AI" where ids have `openai/`.
        return name.replace(" ", "").casefold()

    headers, cards = await server.get(url, decode, _etag_cache)
    found: dict[str, prices.Rates | None] = {}
    for card in reversed(cards):
        names = (card.id, *card.aliases)
        if card.input_price is not None and card.output_price is not None:
            rates = prices.Rates(card.input_price / _MILLION, card.output_price / _MILLION)
            found |= dict.fromkeys(names, rates)
        elif "pricing" in sections:  # another model may have an alias of this one, and a price
            for name in names:
                found.setdefault(name, None)
    prices.listed.update(found)
    feed = await fetch_deprecations(server.transport, server.base_url, headers)
    return [
        # Aliases are not looked up: the API gives a successor the id of the superseded model.
        replace(card, **asdict(entry))
        if (entry := feed.get(card.id)) and entry.replaced_by != card.id
        else card
        for card in cards
        if (developer is None or card.developer is None or fold(card.developer) == fold(developer))
        and (endpoint is None or card.endpoint in (None, endpoint))
    ]


def decode_catalogue(body: bytes, redactor: Redactor = NO_SECRETS) -> list[ModelCard]:
    """Return the cards in a response to `GET /v1/models`; an error has its body redacted.

    A value of an unexpected type leaves its field empty; it is still in `raw`.
    """
    catalogue = parse_json(body, redactor)
    items = object_or_empty(catalogue).get("data")
    if not isinstance(items, list):
        raise InvalidResponseError(
            'The response is not a list of models: expected {"data": [...]}. Check base_url.',
            body=redactor.json(catalogue),
        )
    return [
        _parse_card(item) for item in items if is_object(item) and string_or_none(item.get("id"))
    ]


def _parse_card(item: Mapping[str, object]) -> ModelCard:
    sections = (object_or_empty(item.get(name)) for name in ("info", "modalities", "pricing"))
    info, modalities, pricing = sections
    model = str(item["id"])
    return ModelCard(
        id=model,
        aliases=strings(item.get("aliases")),
        name=string_or_none(info.get("name")) or model,
        developer=string_or_none(info.get("developer")),
        description=string_or_none(info.get("description")) or "",
        endpoint=string_or_none(item.get("type")),
        context_tokens=_count(info.get("contextLength")),
        max_output_tokens=_count(info.get("outputMax")),
        input_modalities=strings(modalities.get("input")),
        output_modalities=strings(modalities.get("output")),
        capabilities=strings(item.get("capabilities")),
        pricing_kind=string_or_none(pricing.get("kind")),
        currency=string_or_none(pricing.get("currency")),
        input_price=_price(pricing, {"input", "prompt"}),
        output_price=_price(pricing, {"output", "completion"}),
        released=string_or_none(info.get("releasedAt")),
        docs_url=string_or_none(info.get("docsUrl")),
        tags=strings(item.get("tags")),
        raw=item,
    )


def _price(pricing: Mapping[str, object], directions: set[str]) -> Decimal | None:
    """Return the price per million tokens from the first unit with one of `directions`.

    `price` is for `per` units. The API reference has the direction in `measure` in one place, in
    `name` in another.
    """
    units = pricing.get("units")
    for unit in units if isinstance(units, list) else ():
        labels = {str(object_or_empty(unit).get(key)).lower() for key in ("name", "measure")}
        if labels & directions and labels & {"token", "tokens"}:
            price, per = (parse_amount(unit.get(key)) for key in ("price", "per"))
            if price is not None and per:
                return price * _MILLION / per
    return None


def _count(value: object) -> int | None:
    number = parse_amount(value)
    return int(number) if number else None
