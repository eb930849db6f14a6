"""The main paths against a real server: llama.cpp with a tiny ERNIE whose responses are known.

Only with `python -m pytest -m real_server`, and with the extra `real-server`.
"""

import asyncio

import httpx2
import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field, SecretStr

from langchain_aimlernie import ChatAimlErnie, errors
from langchain_aimlernie.models import list_models
from tests.support.byte_server import wait_until
from tests.support.llama_server import llama_server
from tests.support.modes import ask, chunks_of, joined
from tests.support.structured import City
from tests.support.tiny_ernie import CONTEXT, KEY, RESPONSES, prompt_tokens, response_tokens

pytestmark = pytest.mark.real_server

MODEL = "ERNIE-4.5-21B-A3B-Thinking-PT"  # llama.cpp ignores it, the package knows it
QUESTION = "Why is the sky blue?"
STORY = RESPONSES["story"]


@pytest.fixture(scope="session")
def address(tmp_path_factory):
    pytest.importorskip("xllamacpp", reason="needs the extra real-server")
    with llama_server(tmp_path_factory.mktemp("llama")) as address:
        yield address


@pytest.fixture
def llm(address):
    return ChatAimlErnie(model=MODEL, base_url=f"{address}/v1", api_key=KEY)


@pytest.fixture
def becomes(address):
    """Return a function that waits until the server generates something, or nothing."""
    headers = {"authorization": f"Bearer {KEY}"}

    def is_busy():
        slots = httpx2.get(f"{address}/slots", headers=headers).json()
        return any(slot["is_processing"] for slot in slots)

    def becomes(*, busy):
        return wait_until(lambda: is_busy() is busy, 30)

    return becomes


@tool
def get_weather(city: str) -> str:
    """Return the weather of a city."""
    return f"{city}: sun"


class Point(BaseModel):
    """A point, of which the model knows nothing: the server's grammar makes it."""

    x: int
    label: str = Field(max_length=5)
    colours: list[str]


async def test_text_and_usage(llm, mode):
    chunks = await chunks_of(llm, QUESTION, mode)
    assert len([chunk for chunk in chunks if chunk.text]) > (3 if "stream" in mode else 0)
    message = joined(chunks)
    assert message.text == RESPONSES[""]
    usage = message.usage_metadata
    assert usage["input_tokens"] == prompt_tokens(QUESTION)
    assert usage["output_tokens"] == response_tokens("")
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert message.response_metadata["finish_reason"] == "stop"
    assert message.response_metadata["model_name"]
    assert message.response_metadata["id"].startswith("chatcmpl-")


def test_a_prompt_that_the_server_has_read_before(llm):
    prompt = "Why? " * 50
    first, second = (llm.invoke(prompt).usage_metadata for _ in range(2))
    assert first["input_tokens"] == second["input_tokens"] == prompt_tokens(prompt)
    assert second["input_token_details"]["cache_read"] > first["input_tokens"] / 2


@pytest.mark.parametrize("reasoning_format", ["auto", "none"])
async def test_reasoning_that_the_server_parses_and_that_it_leaves_in_the_text(
    llm, mode, reasoning_format
):
    extra = {"reasoning_format": reasoning_format}
    message = await ask(llm, "A riddle, please.", mode, extra_body=extra)
    assert message.additional_kwargs["reasoning_content"].strip() == "A ladder has 横档."
    assert message.text == "It is a 梯子!"
    assert message.usage_metadata["output_tokens"] == response_tokens("riddle")


async def test_tool_calls(llm, mode):
    message = await ask(llm.bind_tools([get_weather]), "weather?", mode)
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [
        ("get_weather", {"city": "Paris"}),
        ("get_weather", {"city": "London"}),
    ]
    assert message.invalid_tool_calls == []
    assert len({call["id"] for call in message.tool_calls}) == 2
    assert message.response_metadata["finish_reason"] == "tool_calls"


async def test_a_forced_tool_call(llm, mode):
    """The model would not call a tool: the server's grammar makes it do so."""
    message = await ask(llm.bind_tools([Point], tool_choice="any"), "hello", mode)
    assert message.text == RESPONSES[""]
    assert [call["name"] for call in message.tool_calls] == ["Point"]
    assert Point(**message.tool_calls[0]["args"])


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_an_agent(llm, streaming, asynchronous):
    agent = create_agent(llm.model_copy(update={"streaming": streaming}), [get_weather])
    asked = {"messages": [HumanMessage("weather?")]}
    state = await agent.ainvoke(asked) if asynchronous else agent.invoke(asked)
    kinds = [message.type for message in state["messages"]]
    assert kinds == ["human", "ai", "tool", "tool", "ai"]
    assert state["messages"][-1].text == RESPONSES["<tool_output>"]


@pytest.mark.parametrize("method", ["json_schema", "json_mode", "auto"])
async def test_structured_output(llm, method, mode):
    structured = llm.with_structured_output(City, method=method)
    cities = await chunks_of(structured, "Paris as JSON", mode)
    assert cities[-1] == City(name="Paris", people=2_100_000)


@pytest.mark.parametrize("method", ["json_schema", "auto"])
async def test_structured_output_that_only_the_grammar_makes(llm, method):
    structured = llm.with_structured_output(Point, method=method)
    assert isinstance(structured.invoke("a point"), Point)
    assert isinstance(await structured.ainvoke("a point"), Point)


def test_structured_output_by_a_tool_call(llm):
    schema = {"title": "get_weather", "type": "object", "properties": {"city": {"type": "string"}}}
    structured = llm.with_structured_output(schema, method="function_calling")
    assert structured.invoke("weather?") == {"city": "Paris"}


def test_a_tool_that_the_model_does_not_call(llm):
    """llama.cpp ignores a `tool_choice` that names a tool."""
    structured = llm.with_structured_output(Point, method="function_calling")
    with pytest.raises(errors.StructuredOutputError, match="method='json_schema'"):
        structured.invoke("a point")


async def test_max_tokens_and_stop(llm, mode):
    cut = await ask(llm, "story", mode, max_tokens=5)
    assert cut.text == STORY
    assert cut.response_metadata["finish_reason"] == "length"
    assert cut.usage_metadata["output_tokens"] == 5
    stopped = await ask(llm, QUESTION, mode, stop=["blue"])
    assert stopped.text == "The sky is "
    assert stopped.response_metadata["finish_reason"] == "stop"


@pytest.mark.parametrize("leave", ["close", "forget"])
def test_a_stream_that_is_left_ends_on_the_server(llm, becomes, leave):
    stream = llm.stream("story")
    received = "".join(next(stream).text for _ in range(20))
    assert received
    assert (STORY * 20).startswith(received)
    if leave == "close":
        stream.close()
    del stream
    assert becomes(busy=False)


async def test_a_cancelled_stream_ends_on_the_server(llm, becomes):
    started = asyncio.Event()

    async def read():
        async for chunk in llm.astream("story"):
            if chunk.text:
                started.set()

    task = asyncio.create_task(read())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(becomes, busy=False)


async def test_a_call_after_a_cancelled_one(llm, becomes):
    """Without a stream llama.cpp does not notice that nobody waits for the response."""
    task = asyncio.create_task(llm.ainvoke("story", max_tokens=4000))
    assert await asyncio.to_thread(becomes, busy=True)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await llm.ainvoke(QUESTION)).text == RESPONSES[""]


async def test_a_prompt_that_is_too_long(llm, mode):
    with pytest.raises(errors.ContextWindowExceededError, match=str(CONTEXT)) as caught:
        await ask(llm, "x" * CONTEXT, mode)
    assert caught.value.status_code == 400


async def test_an_image_for_a_text_model(address, mode):
    llm = ChatAimlErnie(model="unknown", base_url=f"{address}/v1", api_key=KEY, max_retries=0)
    image = {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}
    with pytest.raises(errors.AimlErnieError, match="image input is not supported"):
        await ask(llm, [HumanMessage([image])], mode)


async def test_a_wrong_key(llm, mode):
    with pytest.raises(errors.AuthenticationError):
        await ask(llm.model_copy(update={"api_key": SecretStr("other")}), QUESTION, mode)


async def test_a_conversation_with_reasoning_and_tool_results(llm, mode):
    """The server's template reads what the package sends back."""
    replaying = llm.model_copy(update={"replay_reasoning": True})
    history = [SystemMessage("Be brief."), HumanMessage("weather?")]
    history.append(await ask(replaying.bind_tools([get_weather]), history, mode))
    history += [get_weather.invoke(call) for call in history[-1].tool_calls]
    message = await ask(replaying.bind_tools([get_weather]), history, mode)
    assert message.text == RESPONSES["<tool_output>"]

    riddle = await ask(llm, "A riddle, please.", mode)
    turns = [HumanMessage("x"), riddle, HumanMessage("y")]
    without, replayed = [(await ask(model, turns, mode)) for model in (llm, replaying)]
    more = replayed.usage_metadata["input_tokens"] - without.usage_metadata["input_tokens"]
    assert more >= len("<think>\nA ladder has 横档.\n</think>\n\n".encode())


def test_the_catalogue(address):
    """The server lists its model in a format of its own."""
    models = list_models(base_url=f"{address}/v1", api_key=KEY, developer=None, endpoint=None)
    assert [model.id.endswith("tiny-ernie.gguf") for model in models] == [True]


async def test_log_probabilities(llm, mode):
    message = await ask(llm, QUESTION, mode, extra_body={"logprobs": True, "top_logprobs": 2})
    tokens = message.response_metadata["logprobs"]["content"]
    # One for each part of the text: llama.cpp joins tokens that end within a character.
    assert 3 < len(tokens) < response_tokens("")
    assert all(token["logprob"] <= 0 for token in tokens)
