"""Errors and retries: error classes, what is retried, and fallbacks."""

from collections.abc import Iterator

from _local import run

from langchain_aimlernie import (
    AimlErnieError,
    APITimeoutError,
    AuthenticationError,
    ChatAimlErnie,
    NotFoundError,
    RateLimitError,
    StreamInterruptedError,
)


def ask(llm: ChatAimlErnie, question: str) -> str:
    """Tell every outcome apart; all errors of a call are of one family."""
    try:
        return str(llm.invoke(question).text)
    except AuthenticationError as error:
        return f"the key is wrong: {error}"
    except NotFoundError as error:
        return f"no such model: {error}"
    except RateLimitError as error:
        return f"rate limited; retry after {error.retry_after} s"
    except APITimeoutError as error:
        return f"too slow: {error}"
    except AimlErnieError as error:
        return f"{type(error).__name__}, worth a retry: {error.is_retryable}: {error}"


def stream_safely(llm: ChatAimlErnie, question: str) -> Iterator[str]:
    """A cut stream is an error, never half an answer taken for a whole one."""
    try:
        for chunk in llm.stream(question):
            yield str(chunk.text)
    except StreamInterruptedError as error:
        yield f" [cut after {len(error.partial.text) if error.partial else 0} characters]"


def main() -> None:
    """Fail in several ways, then fall back."""
    # Seconds for each attempt and for a silence within a stream; retries after the first attempt.
    llm = ChatAimlErnie(timeout=60, stream_idle_timeout=30, max_retries=3)
    print(ask(llm, "Are you there?"))
    print(ask(llm.model_copy(update={"api_key": "no-such-key"}), "Are you there?"))
    print(ask(llm.model_copy(update={"model": "baidu/ernie-0"}), "Are you there?"))
    print("".join(stream_safely(llm, "Are you still there?")))
    try:
        ChatAimlErnie(temperature=3)
    except ValueError as error:
        print("refused when it was set:", error)

    careful = ChatAimlErnie(model="baidu/ernie-0").with_fallbacks([llm])
    print(careful.invoke("Who answers?").response_metadata["model_name"])


if __name__ == "__main__":
    run(main)
