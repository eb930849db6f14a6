"""Cost of other models: one budget for ERNIE and for models that state no price."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from _local import run
from genai_prices import Usage, calc_price
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from langchain_aimlernie import ChatAimlErnie, SpendTracker


def price(model: str, usage: Mapping[str, Any]) -> Decimal | None:
    """Return what a call cost by Pydantic's list of prices, `None` if the model is not in it."""
    tokens = Usage(input_tokens=usage["input_tokens"], output_tokens=usage["output_tokens"])
    try:
        return calc_price(tokens, model_ref=model).total_price
    except LookupError:
        return None


def main() -> None:
    """Call ERNIE, which states its prices, and another model, which does not."""
    spend = SpendTracker(limit_usd="0.50", price=price)
    config = {"callbacks": [spend]}
    ChatAimlErnie().invoke("What is a token?", config=config)

    # It stands for any other chat model, such as ChatOpenAI("gpt-4o-mini").
    usage = {"input_tokens": 1_000, "output_tokens": 100, "total_tokens": 1_100}
    reply = AIMessage(
        "A part of a word.", usage_metadata=usage, response_metadata={"model_name": "gpt-4o-mini"}
    )
    GenericFakeChatModel(messages=iter([reply])).invoke("What is a token?", config=config)
    for model, part in spend.by_model.items():
        print(f"{model}: {part}")
    print(f"${spend.remaining_usd} left")


if __name__ == "__main__":
    run(main)
