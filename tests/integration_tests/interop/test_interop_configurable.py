"""The alternative to `init_chat_model`: settings, or the package itself, chosen for each call."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField
from langgraph.config import get_config
from pydantic import BaseModel

from langchain_aimlernie.errors import BadRequestError
from langchain_aimlernie.testing import Reply
from tests.support.agents import FIVE, PLAIN, weather
from tests.support.modes import chunks_of

TEXT = "one two three four"
FIELDS = {
    "model_name": ConfigurableField(id="model"),
    "temperature": ConfigurableField(id="temperature"),
    "max_tokens": ConfigurableField(id="max_tokens"),
    "enable_thinking": ConfigurableField(id="thinking"),
    "output_version": ConfigurableField(id="version"),
}

each_call = pytest.mark.parametrize("call", ["invoke", "astream"])


class Weather(BaseModel):
    """The weather of a city."""

    city: str


def config(**configurable):
    return {"configurable": configurable}


@pytest.fixture
def llm(model):
    return model(temperature=0.5).configurable_fields(**FIELDS)


@pytest.fixture
def either(model, openai):
    """ERNIE or OpenAI's client, by the config."""
    package = ConfigurableField(id="package")
    return model().configurable_alternatives(package, default_key="ernie", openai=openai)


async def text_of(runnable, value, config, call):
    chunks = await chunks_of(runnable, value, call, config=config)
    assert (len(chunks) > 3) is (call == "astream")
    return "".join(chunk.text for chunk in chunks)


@each_call
async def test_settings_are_chosen_for_each_call(llm, ernie_server, call):
    ernie_server.reply(TEXT, times=3)
    configs = (
        config(model=FIVE, temperature=0.9, max_tokens=7, thinking=False),
        config(max_tokens=9),
        None,
    )
    for each in configs:
        assert await text_of(llm, "hi", each, call) == TEXT
    names = ("model", "temperature", "max_tokens", "enable_thinking")
    assert [tuple(map(each.body.get, names)) for each in ernie_server.requests] == [
        (FIVE, 0.9, 7, False),
        (PLAIN, 0.5, 9, None),
        (PLAIN, 0.5, None, None),
    ]


@pytest.mark.slow
@each_call
async def test_the_package_is_chosen_for_each_call(either, ernie_server, call):
    ernie_server.reply(TEXT, times=3)
    for each in (config(package="openai"), config(package="ernie"), None):
        assert await text_of(either, "hi", each, call) == TEXT
    agents = [each.headers["user-agent"] for each in ernie_server.requests]
    assert ["openai" in agent.lower() for agent in agents] == [True, False, False]


@pytest.mark.slow
@each_call
async def test_each_package_is_a_fallback_for_the_other(model, openai, ernie_server, call):
    first, second = (llm.bind_tools([weather]) for llm in (model(), openai))
    for llm in (first.with_fallbacks([second]), second.with_fallbacks([first])):
        ernie_server.fail(503)
        ernie_server.reply(TEXT)
        assert await text_of(llm, "hi", None, call) == TEXT


@pytest.mark.slow
async def test_the_choice_applies_in_chains_and_batches(either, ernie_server):
    ernie_server.on_request = lambda request: Reply(
        f"{request.body['model']} {request.body['messages'][-1]['content']}"
    )
    chain = ChatPromptTemplate.from_messages([("human", "{what}")]) | either | StrOutputParser()
    values = [{"what": "a"}, {"what": "b"}]
    configs = [config(package="openai"), config(package="ernie")]
    assert chain.batch(values, configs) == [f"{FIVE} a", f"{PLAIN} b"]
    assert await chain.abatch(values, configs) == [f"{FIVE} a", f"{PLAIN} b"]


async def test_a_configured_value_is_validated(llm, api_model, ernie_server):
    with pytest.raises(ValueError, match=r"temperature.*from 0 to 2"):
        llm.invoke("hi", config(temperature=3))
    with pytest.raises(BadRequestError, match="enable_thinking"):
        await api_model().configurable_fields(**FIELDS).ainvoke("hi", config(thinking=True))
    assert ernie_server.requests == []


def test_bound_tools_and_schemas_apply_to_the_chosen_model(llm, ernie_server):
    """`bind` keeps the choice open; `bind_tools` fixes the default model."""
    bound = llm.bind(tools=[weather], tool_choice="any", response_format=Weather)
    ernie_server.reply(tool_calls=[{"name": "weather", "args": {"city": "Köln"}}])
    message = bound.invoke("hi", config(model=FIVE, thinking=False))
    assert message.tool_calls[0]["args"] == {"city": "Köln"}
    body = ernie_server.last_request.body
    assert body["model"] == FIVE
    assert [tool["function"]["name"] for tool in body["tools"]] == ["weather"]
    assert body["response_format"]["json_schema"]["name"] == "Weather"


async def test_structured_output_of_either_package(either, ernie_server):
    ernie, openai = either.default, either.alternatives["openai"]
    structured = ernie.with_structured_output(Weather).configurable_alternatives(
        ConfigurableField(id="package"),
        default_key="ernie",
        openai=openai.with_structured_output(Weather),
    )
    ernie_server.reply('{"city": "Köln"}', times=2)
    for package in ("ernie", "openai"):
        assert await structured.ainvoke("hi", config(package=package)) == Weather(city="Köln")


def test_the_output_version_can_be_chosen(llm, ernie_server):
    ernie_server.reply("Sun.", reasoning="Hm.", times=2)
    plain, blocks = (
        llm.invoke("hi", config(model=FIVE, **version)) for version in ({}, {"version": "v1"})
    )
    assert plain.content == "Sun."
    assert [block["type"] for block in blocks.content] == ["reasoning", "text"]
    assert plain.content_blocks == blocks.content_blocks


def test_configured_models_share_their_connection(llm, ernie_server):
    """A configurable model creates a new model for each call."""
    ernie_server.close_connections()
    before = ernie_server.connections_total
    for number in range(20):
        llm.invoke("hi", config(temperature=number / 20))
    assert ernie_server.connections_total - before == 1


class ByConfig(AgentMiddleware):
    """Chooses an agent's model by its config, as `init_chat_model` would."""

    def __init__(self, models):
        super().__init__()
        self.models = models

    def wrap_model_call(self, request, handler):
        name = get_config()["configurable"].get("model", "ernie")
        return handler(request.override(model=self.models[name]))


def test_the_model_of_an_agent_can_be_chosen_for_each_run(model, openai, ernie_server):
    models = {"ernie": model(), "openai": openai}
    agent = create_agent(models["ernie"], [weather], middleware=[ByConfig(models)])
    messages = []
    for name in ("ernie", "openai", "ernie"):
        ernie_server.reply("I look.", tool_calls=[{"name": "weather", "args": {"city": name}}])
        ernie_server.reply(f"By {name}.")
        question = {"messages": [*messages, HumanMessage("Weather?")]}
        messages = agent.invoke(question, config(model=name))["messages"]
        assert messages[-1].text == f"By {name}."
    models_sent = [each.body["model"] for each in ernie_server.requests]
    assert models_sent == [*[PLAIN] * 2, *[FIVE] * 2, *[PLAIN] * 2]
