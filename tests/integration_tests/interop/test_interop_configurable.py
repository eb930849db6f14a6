"""The alternative to `init_chat_model`: settings that are chosen for each call."""

from __future__ import annotations

import pytest
from langchain_core.runnables import ConfigurableField
from pydantic import BaseModel

from langchain_aimlernie.errors import BadRequestError
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
