"""What comes nearest to `init_chat_model`: settings, or the package itself, chosen for each call."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField
from langchain_openai import ChatOpenAI
from langgraph.config import get_config
from pydantic import BaseModel

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie.errors import BadRequestError
from langchain_aimlernie.testing import Reply

DEFAULT = "baidu/ernie-4.5-21b-a3b"
THINKING = "baidu/ernie-4.5-21b-a3b-thinking"
FIVE = "baidu/ernie-5.0"
FIELDS = {
    "model_name": ConfigurableField(id="model"),
    "temperature": ConfigurableField(id="temperature"),
    "max_tokens": ConfigurableField(id="max_tokens"),
    "enable_thinking": ConfigurableField(id="thinking"),
    "output_version": ConfigurableField(id="version"),
}


class Weather(BaseModel):
    """The weather of a city."""

    city: str


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"{city}: sun"


def chosen(**configurable):
    return {"configurable": configurable}


@pytest.fixture
def llm(model):
    return model(temperature=0.5).configurable_fields(**FIELDS)


@pytest.fixture
async def either(model, ernie_server):
    """ERNIE or OpenAI's client, by the config."""
    async with httpx.AsyncClient() as client:
        openai = ChatOpenAI(
            model=FIVE,
            base_url=ernie_server.base_url,
            api_key=ernie_server.api_key,
            http_async_client=client,
            stream_usage=True,
        )
        yield model().configurable_alternatives(
            ConfigurableField(id="package"), default_key="ernie", openai=openai
        )


async def ask(runnable, value, config, way):
    """Give the text of an answer, asked for in one of four ways."""
    if way == "invoke":
        return runnable.invoke(value, config).text
    if way == "ainvoke":
        return (await runnable.ainvoke(value, config)).text
    if way == "stream":
        chunks = list(runnable.stream(value, config))
    else:
        chunks = [chunk async for chunk in runnable.astream(value, config)]
    assert len(chunks) > 3
    assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    return "".join(chunk.text for chunk in chunks)


WAYS = pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])


@WAYS
async def test_settings_are_chosen_for_each_call(llm, ernie_server, way):
    ernie_server.reply("one two three four", times=3)
    config = chosen(model=FIVE, temperature=0.9, max_tokens=7, thinking=False)
    assert await ask(llm, "hi", config, way) == "one two three four"
    assert await ask(llm, "hi", chosen(max_tokens=9), way) == "one two three four"
    assert await ask(llm, "hi", None, way) == "one two three four"
    names = ("model", "temperature", "max_tokens", "enable_thinking", "stream")
    sent = [tuple(map(each.body.get, names)) for each in ernie_server.requests]
    streamed = True if "stream" in way else None
    assert sent == [
        (FIVE, 0.9, 7, False, streamed),
        (DEFAULT, 0.5, 9, None, streamed),
        (DEFAULT, 0.5, None, None, streamed),
    ]


@WAYS
async def test_either_package_steps_in_for_the_other(either, ernie_server, way):
    ernie = either.default.bind_tools([weather])
    openai = either.alternatives["openai"].model_copy(update={"max_retries": 0})
    for first, second in (
        (ernie, openai.bind_tools([weather])),
        (openai.bind_tools([weather]), ernie),
    ):
        ernie_server.fail(503)
        ernie_server.reply("one two three four")
        assert await ask(first.with_fallbacks([second]), "hi", None, way) == "one two three four"


@WAYS
async def test_the_package_is_chosen_for_each_call(either, ernie_server, way):
    ernie_server.reply("one two three four", times=3)
    for config in (chosen(package="openai"), chosen(package="ernie"), None):
        assert await ask(either, "hi", config, way) == "one two three four"
    agents = [each.headers["user-agent"] for each in ernie_server.requests]
    assert ["openai" in agent.lower() for agent in agents] == [True, False, False]


async def test_the_choice_reaches_through_a_chain_and_its_batches(either, ernie_server):
    ernie_server.on_request = lambda request: Reply(
        f"{request.body['model']} {request.body['messages'][-1]['content']}"
    )
    chain = ChatPromptTemplate.from_messages([("human", "{what}")]) | either | StrOutputParser()
    values = [{"what": "a"}, {"what": "b"}, {"what": "c"}]
    configs = [chosen(package="openai"), chosen(package="ernie"), chosen(package="openai")]
    expected = [f"{FIVE} a", f"{DEFAULT} b", f"{FIVE} c"]
    assert chain.batch(values, configs) == expected
    assert await chain.abatch(values, configs) == expected
    fixed = chain.with_config(configurable={"package": "openai"})
    assert "".join([piece async for piece in fixed.astream({"what": "d"})]) == f"{FIVE} d"


async def test_alternatives_have_settings_of_their_own_to_choose(model, ernie_server):
    ernie_server.reply("ok", times=3)
    llm = (
        model()
        .configurable_fields(temperature=ConfigurableField(id="temperature"))
        .configurable_alternatives(
            ConfigurableField(id="size"),
            default_key="small",
            prefix_keys=True,
            large=lambda: model(model=FIVE),
        )
    )
    llm.invoke("hi", chosen(size="large"))
    await llm.ainvoke("hi", chosen(**{"size==small/temperature": 1.25}))
    llm.invoke("hi")
    sent = [(each.body["model"], each.body.get("temperature")) for each in ernie_server.requests]
    assert sent == [(FIVE, None), (DEFAULT, 1.25), (DEFAULT, None)]


async def test_a_chosen_value_is_checked_as_a_given_one(llm, api_model, ernie_server):
    with pytest.raises(ValueError, match=r"temperature.*from 0 to 2"):
        llm.invoke("hi", chosen(temperature=3))
    with pytest.raises(ValueError, match=r"temperature.*from 0 to 2"):
        await llm.ainvoke("hi", chosen(temperature=3))
    with pytest.raises(BadRequestError, match="enable_thinking"):
        api_model().configurable_fields(**FIELDS).invoke("hi", chosen(thinking=True))
    assert ernie_server.requests == []


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_tools_and_schemas_go_with_the_choice(llm, ernie_server, asynchronous):
    """`bind` keeps the choice open; `bind_tools` settles on the default model."""
    bound = llm.bind(tools=[weather], tool_choice="any", response_format=Weather)
    ernie_server.reply(tool_calls=[{"name": "weather", "args": {"city": "Köln"}}])
    config = chosen(model=FIVE, thinking=False)
    answer = await bound.ainvoke("hi", config) if asynchronous else bound.invoke("hi", config)
    assert answer.tool_calls[0]["args"] == {"city": "Köln"}
    body = ernie_server.last_request.body
    assert body["model"] == FIVE
    assert [tool["function"]["name"] for tool in body["tools"]] == ["weather"]
    assert body["response_format"]["json_schema"]["name"] == "Weather"


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_structured_output_of_either_package_is_one_choice(
    either, ernie_server, asynchronous
):
    ernie, openai = either.default, either.alternatives["openai"]
    structured = ernie.with_structured_output(Weather).configurable_alternatives(
        ConfigurableField(id="package"),
        default_key="ernie",
        openai=openai.with_structured_output(Weather),
    )
    for package in ("ernie", "openai"):
        ernie_server.reply('{"city": "Köln"}')
        config = chosen(package=package)
        answer = (
            await structured.ainvoke("hi", config)
            if asynchronous
            else structured.invoke("hi", config)
        )
        assert answer == Weather(city="Köln")


def test_the_form_of_messages_can_be_chosen(llm, ernie_server):
    ernie_server.reply("Sun.", reasoning="Hm.", times=2)
    plain = llm.invoke("hi", chosen(model=THINKING))
    blocks = llm.invoke("hi", chosen(model=THINKING, version="v1"))
    assert plain.content == "Sun."
    assert [block["type"] for block in blocks.content] == ["reasoning", "text"]
    assert plain.content_blocks == blocks.content_blocks


def test_configured_models_share_their_connections(llm, ernie_server):
    """A configurable model is made anew for each call; its connection is not."""
    ernie_server.close_connections()
    before = ernie_server.connections_total
    for number in range(20):
        llm.invoke("hi", chosen(temperature=number / 20))
    assert ernie_server.connections_total - before == 1


def test_configured_models_work_in_any_loop(llm, ernie_server):
    ernie_server.reply("ok", times=5)
    answers = [asyncio.run(llm.ainvoke("hi", chosen(model=FIVE))).text for _ in range(5)]
    assert answers == ["ok"] * 5


class ByConfig(AgentMiddleware):
    """Choose an agent's model by its config, as `init_chat_model` would."""

    def __init__(self, models):
        super().__init__()
        self.models = models

    def wrap_model_call(self, request, handler):
        name = get_config()["configurable"].get("model", "ernie")
        return handler(request.override(model=self.models[name]))


def test_an_agents_model_can_be_chosen_for_each_run(model, ernie_server):
    openai = ChatOpenAI(model=FIVE, base_url=ernie_server.base_url, api_key=ernie_server.api_key)
    agent = create_agent(
        model(), [weather], middleware=[ByConfig({"ernie": model(), "openai": openai})]
    )
    messages = []
    for name in ("ernie", "openai", "ernie"):
        ernie_server.reply("I look.", tool_calls=[{"name": "weather", "args": {"city": name}}])
        ernie_server.reply(f"By {name}.")
        asked = {"messages": [*messages, HumanMessage("Weather?")]}
        messages = agent.invoke(asked, chosen(model=name))["messages"]
        assert messages[-1].text == f"By {name}."
    assert [each.body["model"] for each in ernie_server.requests] == [
        *[DEFAULT] * 2,
        *[FIVE] * 2,
        *[DEFAULT] * 2,
    ]


def test_a_copy_with_other_settings_is_the_plain_way(model, ernie_server):
    ernie_server.reply("ok")
    small = model()
    five = small.model_copy(update={"model": FIVE})
    assert isinstance(five, ChatAimlErnie)
    assert five.profile["image_inputs"] is True
    assert small.profile["image_inputs"] is False
    five.invoke("hi")
    assert ernie_server.last_request.body["model"] == FIVE
