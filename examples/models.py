"""Models: capabilities from the package's table, current prices and deprecations from the API."""

from _local import run

from langchain_aimlernie import ChatAimlErnie, list_models

FACTS = ("max_input_tokens", "image_inputs", "tool_calling", "structured_output")


def main() -> None:
    """Print both."""
    for name in ("baidu/ernie-4.5-21b-a3b", "ERNIE-5.0", "my-own-model"):
        profile = ChatAimlErnie(model=name).profile or {}
        print(name, {fact: profile.get(fact, "not known") for fact in FACTS})

    print(f"\n{'model':<42}{'context':>9}  $ per million tokens in and out")
    for card in list_models():
        print(
            f"{card.id:<42}{card.context_tokens or 0:>9,}  {card.input_price} {card.output_price}"
        )
        if card.status:
            print(f"  {card.status}: use {card.replaced_by}")


if __name__ == "__main__":
    run(main)
