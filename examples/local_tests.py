"""Tests of your own program without network and key: `pytest examples/local_tests.py`.

The fixture `ernie_server` comes with the package. It is a real server on this machine; what it
answers is made up unless a test says what, and every request is held against the API's schema.
"""

import subprocess
import sys

import pytest
from langchain_core.language_models import BaseChatModel

from langchain_aimlernie import ChatAimlErnie, RateLimitError, StreamInterruptedError
from langchain_aimlernie.testing import ErnieServer, Fault


def motto(llm: BaseChatModel, who: str) -> str:
    """Stand for your program."""
    return str(llm.invoke(f"A motto for {who}.").text).strip()


@pytest.fixture
def llm(ernie_server: ErnieServer) -> ChatAimlErnie:
    """Make the program's model, led to the local server."""
    return ChatAimlErnie(
        base_url=ernie_server.base_url, api_key=ernie_server.api_key, max_retries=0
    )


def test_a_motto_has_no_space_around_it(llm: ChatAimlErnie, ernie_server: ErnieServer) -> None:
    """The answer is scripted, and the request is read back."""
    ernie_server.reply("\nRise and shine. ")
    assert motto(llm, "a bakery") == "Rise and shine."  # noqa: S101
    asked = ernie_server.last_request.body["messages"]
    assert asked == [{"role": "user", "content": "A motto for a bakery."}]  # noqa: S101


def test_limits_reach_the_caller(llm: ChatAimlErnie, ernie_server: ErnieServer) -> None:
    """A failure is scripted."""
    ernie_server.fail(429, headers={"retry-after": "7"})
    with pytest.raises(RateLimitError) as caught:
        motto(llm, "a bakery")
    assert caught.value.retry_after == 7  # noqa: PLR2004, S101


def test_a_cut_stream_is_no_answer(llm: ChatAimlErnie, ernie_server: ErnieServer) -> None:
    """A broken connection is scripted."""
    ernie_server.reply("Rise and shine.", fault=Fault("drop", events=2))
    with pytest.raises(StreamInterruptedError):
        list(llm.stream("A motto for a bakery."))


if __name__ == "__main__":
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    sys.exit(subprocess.call(command))  # noqa: S603
