"""The models that the local server serves, and its response to `GET /v1/models`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_aimlernie.profiles import ModelSpec, find_model

CREDIT = 5e-7
"""US dollars per credit: the published example charges 120,000 credits as $0.06."""

NOTICE = "Served by the local ErnieServer of langchain-aimlernie: prices and outputMax are made up."


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model, with fake prices in US dollars per million tokens of prompt and completion."""

    id: str
    spec: ModelSpec
    usd_in: float
    usd_out: float
    aliases: tuple[str, ...] = ()

    @property
    def context(self) -> int:
        """Context window in tokens."""
        return self.spec.context or 0

    def price(self, prompt_tokens: int, completion_tokens: int) -> int:
        """Return the price of a completion in whole credits, at least one."""
        usd = (prompt_tokens * self.usd_in + completion_tokens * self.usd_out) / 1e6
        return max(1, round(usd / CREDIT))


_PRICES = {
    "ernie-4.5-21b-a3b": (0.1, 0.4),
    "ernie-4.5-21b-a3b-thinking": (0.1, 0.4),
    "ernie-4.5-0.3b": (0.02, 0.08),
    "ernie-4.5-300b-a47b": (0.4, 1.6),
    "ernie-4.5-300b-a47b-paddle": (0.4, 1.6),
    "ernie-4.5-vl-28b-a3b": (0.2, 0.8),
    "ernie-4.5-vl-424b-a47b": (0.6, 1.8),
    "ernie-4-5-turbo-128k": (0.1, 0.4),
    "ernie-4-5-turbo-vl-32k": (0.4, 1.2),
    "ernie-4-5-8k-preview": (0.5, 2.0),
    "ernie-5.0": (0.8, 3.2),
    "ernie-5-0-thinking-latest": (0.8, 3.2),
    "ernie-5-0-thinking-preview": (0.8, 3.2),
    "ernie-x1-turbo-32k": (0.1, 0.4),
    "ernie-x1-1-preview": (0.1, 0.4),
}

MODELS: tuple[ServedModel, ...] = tuple(
    ServedModel(f"baidu/{name}", find_model(name), *usd, aliases=(name,))
    for name, usd in _PRICES.items()
)

BY_NAME: Mapping[str, ServedModel] = {
    name: model for model in MODELS for name in (model.id, *model.aliases)
}

_SECTIONS = {"modalities", "capabilities", "pricing"}


def _item(model: ServedModel) -> dict[str, Any]:
    """Return the entry of a model with all optional sections."""
    short, spec = model.id.rpartition("/")[2], model.spec
    media = "image_url" in spec.parts
    features = {"reasoning": spec.reasoning, "tools": spec.tools, "vision": media}
    prices = {"input": model.usd_in, "output": model.usd_out}
    return {
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
        "modalities": {
            "input": ["text", "image", "file"] if media else ["text"],
            "output": ["text"],
        },
        "capabilities": sorted(
            ["streaming", "structured_output", *(name for name in features if features[name])]
        ),
        "pricing": {
            "kind": "fixed",
            "currency": "USD",
            "units": [
                {"name": name, "measure": "token", "price": price, "per": 1_000_000}
                for name, price in prices.items()
            ],
        },
    }


def list_models(
    query: Mapping[str, Sequence[str]], models: Iterable[ServedModel]
) -> dict[str, Any]:
    """Return the body of `GET /v1/models` for the query parameters `id`, `type` and `include`.

    Values may be repeated or separated by commas; other parameters and sections are ignored.
    """
    requested = {key: set(",".join(values).split(",")) for key, values in query.items()}
    hidden = _SECTIONS - requested.get("include", set())
    data = [
        {key: value for key, value in item.items() if key not in hidden}
        for item in map(_item, models)
        if requested.get("id", {item["id"]}) & {item["id"], *item["aliases"]}
        and item["type"] in requested.get("type", {item["type"]})
    ]
    return {"object": "list", "data": data}
