"""Reasoning: what a thinking model thinks, as it thinks it; and how to switch that off."""

from _local import run

from langchain_aimlernie import ChatAimlErnie

QUESTION = "A bat and a ball cost 1.10 together; the bat costs 1 more. What does the ball cost?"


def stream_thoughts() -> None:
    """Print the reasoning, then the answer; blocks have a type, so neither needs guessing."""
    llm = ChatAimlErnie(model="baidu/ernie-4.5-21b-a3b-thinking")
    before = None
    for chunk in llm.stream(QUESTION):
        for block in chunk.content_blocks:
            kind = block["type"]
            if kind not in ("reasoning", "text"):
                continue
            print("" if kind == before else f"\n--- {kind} ---\n", end="")
            print(block[kind], end="", flush=True)
            before = kind
    print()


def main() -> None:
    """Stream reasoning, read it from a complete message, and turn it off."""
    stream_thoughts()

    # Only ernie-5.0 has the switch and the budget; other models refuse them before sending.
    llm = ChatAimlErnie(model="baidu/ernie-5.0", thinking_budget=500)
    answer = llm.invoke(QUESTION)
    print("\nthought:", answer.additional_kwargs["reasoning_content"])
    print("counted:", (answer.usage_metadata or {}).get("output_token_details"))

    quick = llm.invoke(QUESTION, enable_thinking=False, thinking_budget=None)
    print("without:", "reasoning_content" in quick.additional_kwargs)


if __name__ == "__main__":
    run(main)
