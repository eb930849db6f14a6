"""The models that the local server serves, and `GET /v1/models` over them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Family = Literal["text", "thinking", "vision", "five"]
"""Which published request schema a model has."""

CREDIT = 5e-7
"""US dollars per credit: the published example charges 120,000 credits as $0.06."""

NOTICE = "Served by the local ErnieServer of langchain-aimlernie: prices and outputMax are made up."


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as the local server serves it.

    Attributes:
        id: The canonical id.
        family: Which published request schema applies. Where the provider publishes none, the
            nearest of the four that it does publish.
        context: Context window in tokens, as published.
        reasoning: Whether responses carry `reasoning_content`.
        tools: Whether the provider lists function calling for it.
        usd_in: US dollars for a million tokens of prompt; made up.
        usd_out: US dollars for a million tokens of completion; made up.
        aliases: Other names of it.
    """

    id: str
    family: Family
    context: int
    reasoning: bool = False
    tools: bool = False
    usd_in: float = 0.0
    usd_out: float = 0.0
    aliases: tuple[str, ...] = ()

    def price(self, prompt_tokens: int, completion_tokens: int) -> int:
        """Return the whole credits for a completion, at least one."""
        usd = (prompt_tokens * self.usd_in + completion_tokens * self.usd_out) / 1e6
        return max(1, round(usd / CREDIT))


def _row(
    name: str, family: Family, context: int, *able: str, usd: tuple[float, float]
) -> ServedModel:
    reasoning, tools = "reasoning" in able, "tools" in able
    return ServedModel(f"baidu/{name}", family, context, reasoning, tools, *usd, aliases=(name,))


# Ids, contexts and abilities: https://docs.aimlapi.com/api-references/text-models-llm/baidu
MODELS: tuple[ServedModel, ...] = (
    _row("ernie-4.5-21b-a3b", "text", 120_000, "tools", usd=(0.1, 0.4)),
    _row("ernie-4.5-21b-a3b-thinking", "thinking", 131_000, "reasoning", "tools", usd=(0.1, 0.4)),
    _row("ernie-4.5-0.3b", "text", 120_000, usd=(0.02, 0.08)),
    _row("ernie-4.5-300b-a47b", "text", 123_000, "tools", usd=(0.4, 1.6)),
    _row("ernie-4.5-300b-a47b-paddle", "text", 123_000, usd=(0.4, 1.6)),
    _row("ernie-4.5-vl-28b-a3b", "vision", 30_000, "tools", usd=(0.2, 0.8)),
    _row("ernie-4.5-vl-424b-a47b", "vision", 123_000, "tools", usd=(0.6, 1.8)),
    _row("ernie-4-5-turbo-128k", "text", 128_000, usd=(0.1, 0.4)),
    _row("ernie-4-5-turbo-vl-32k", "vision", 32_000, usd=(0.4, 1.2)),
    _row("ernie-4-5-8k-preview", "text", 8_000, usd=(0.5, 2.0)),
    _row("ernie-5.0", "five", 128_000, "reasoning", usd=(0.8, 3.2)),
    _row("ernie-5-0-thinking-latest", "text", 128_000, "reasoning", usd=(0.8, 3.2)),
    _row("ernie-5-0-thinking-preview", "text", 128_000, "reasoning", usd=(0.8, 3.2)),
    _row("ernie-x1-turbo-32k", "text", 32_000, "reasoning", usd=(0.1, 0.4)),
    _row("ernie-x1-1-preview", "text", 64_000, "reasoning", usd=(0.1, 0.4)),
)

BY_NAME: Mapping[str, ServedModel] = {
    name: model for model in MODELS for name in (model.id, *model.aliases)
}

_INPUTS: Mapping[Family, tuple[str, ...]] = {
    "text": ("text",),
    "thinking": ("text",),
    "vision": ("text", "image", "file"),
    "five": ("text", "image", "file"),
}


def _modalities(model: ServedModel) -> dict[str, object]:
    return {"input": list(_INPUTS[model.family]), "output": ["text"]}


def _capabilities(model: ServedModel) -> list[str]:
    names = ("reasoning", model.reasoning), ("tools", model.tools)
    vision = "image" in _INPUTS[model.family]
    more = [name for name, there in (*names, ("vision", vision)) if there]
    return sorted(["streaming", "structured_output", *more])


def _pricing(model: ServedModel) -> dict[str, object]:
    rates = ("input", model.usd_in), ("output", model.usd_out)
    units = [
        {"name": name, "measure": "token", "price": price, "per": 1_000_000}
        for name, price in rates
    ]
    return {"kind": "fixed", "currency": "USD", "units": units}


_SECTIONS: Mapping[str, Callable[[ServedModel], object]] = {
    "modalities": _modalities,
    "capabilities": _capabilities,
    "pricing": _pricing,
}


def _item(model: ServedModel, sections: set[str]) -> dict[str, object]:
    short = model.id.rpartition("/")[2]
    item: dict[str, object] = {
        "id": model.id,
        "aliases": list(model.aliases),
        "type": "openai/chat-completions",
        "info": {
            "name": short.replace("ernie", "ERNIE").replace("-", " "),
            "developer": "Baidu",
            "description": NOTICE,
            "contextLength": model.context,
            "outputMax": min(8_192, model.context),
            "url": "",
            "docsUrl": f"https://docs.aimlapi.com/api-references/text-models-llm/baidu/{short}",
        },
        "tags": ["playground:chat", "local:ErnieServer"],
    }
    return item | {name: make(model) for name, make in _SECTIONS.items() if name in sections}


_FILTERS: Mapping[str, Callable[[ServedModel], set[str]]] = {
    "id": lambda model: {model.id, *model.aliases},
    "type": lambda _: {"openai/chat-completions"},
    "tags": lambda _: {"playground:chat", "local:ErnieServer"},
    "modalities": lambda model: {*_INPUTS[model.family], "text"},
    "input_modalities": lambda model: set(_INPUTS[model.family]),
    "output_modalities": lambda _: {"text"},
    "capabilities": lambda model: set(_capabilities(model)),
}


def list_models(query: Mapping[str, Sequence[str]], models: Sequence[ServedModel]) -> bytes:
    """Return the JSON body of `GET /v1/models` for these query parameters.

    Values may be repeated or separated by commas; unknown parameters and sections are ignored.
    """
    query_values = {key: set(",".join(values).split(",")) for key, values in query.items()}
    sections = query_values.get("include", set())
    if "all" in sections or query_values.get("details", set()) & {"true", "1"}:
        sections = set(_SECTIONS)
    wanted = [(held, query_values[key]) for key, held in _FILTERS.items() if key in query_values]
    data = [
        _item(model, sections)
        for model in models
        if all(held(model) & values for held, values in wanted)
    ]
    return json.dumps({"object": "list", "data": data}).encode()


def etag_of(body: bytes) -> str:
    """Return a weak entity tag for `body`."""
    return f'W/"{hashlib.sha256(body).hexdigest()[:27]}"'


def is_fresh(etag: str, if_none_match: str | None) -> bool:
    """Whether a client that sent this `If-None-Match` has what `etag` names (RFC 9110 13.1.2)."""
    known = {tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")}
    return "*" in known or etag.removeprefix("W/") in known
