"""Structured output of `create_agent`: provider strategy and tool strategy."""

from contextlib import nullcontext
from dataclasses import dataclass

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from tests.support.agents import FIVE, PLAIN, THINKING, question

ANSWER = '{"city": "北京", "degrees": 22}'


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    degrees: int = Field(description="in Celsius")


class WeatherDict(TypedDict):
    """The weather of a city."""

    city: str
    degrees: int


@dataclass
class WeatherData:
    """The weather of a city."""

    city: str
    degrees: int


WEATHER_JSON = {
    "title": "Weather",
    "description": "The weather of a city.",
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
    "required": ["city", "degrees"],
}
WEATHER = Weather(city="北京", degrees=22)
SCHEMAS = {
    "pydantic": (Weather, WEATHER),
    "dataclass": (WeatherData, WeatherData("北京", 22)),
    "TypedDict": (WeatherDict, {"city": "北京", "degrees": 22}),
    "JSON Schema": (WEATHER_JSON, {"city": "北京", "degrees": 22}),
}


def look_up(city: str) -> str:
    """Look up the weather of a city."""
    return f"{city}: sun, 22 degrees"


def names_of(request):
    return [tool["function"]["name"] for tool in request.body["tools"]]


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("model_id", [PLAIN, THINKING, FIVE])
def test_a_raw_schema_uses_provider_strategy(model, ernie_server, ask, schema, model_id):
    form, expected = SCHEMAS[schema]
    ernie_server.reply(tool_calls=[{"name": "look_up", "args": {"city": "北京"}, "id": "c1"}])
    ernie_server.reply(ANSWER)
    agent = create_agent(model(model=model_id), [look_up], response_format=form)
    assert ask(agent, question())["structured_response"] == expected
    assert len(ernie_server.requests) == 2
    for request in ernie_server.requests:
        assert request.body["response_format"]["type"] == "json_schema"
        assert names_of(request) == ["look_up"]
        assert "tool_choice" not in request.body


def test_provider_strategy_without_tools(model, ernie_server, ask):
    ernie_server.reply(ANSWER)
    agent = create_agent(model(), response_format=ProviderStrategy(Weather, strict=True))
    assert ask(agent, question())["structured_response"] == WEATHER
    body = ernie_server.last_request.body
    assert "tools" not in body
    schema = body["response_format"]["json_schema"]
    assert (schema["name"], schema["strict"]) == ("Weather", True)


@pytest.mark.parametrize(
    "reply",
    [
        {"text": ANSWER, "reasoning": "A form is wanted. {not this}"},
        {"text": f"<think>A form: {{}}</think>\n\n{ANSWER}"},
    ],
)
def test_provider_strategy_after_reasoning(model, ernie_server, ask, reply, version):
    ernie_server.reply(**reply)
    llm = model(model=THINKING, output_version=version)
    agent = create_agent(llm, response_format=ProviderStrategy(Weather))
    assert ask(agent, question())["structured_response"] == WEATHER


@pytest.mark.parametrize("schema", SCHEMAS)
def test_tool_strategy_requires_a_tool_call(model, ernie_server, ask, schema):
    form, expected = SCHEMAS[schema]
    name = "Weather" if isinstance(form, dict) else form.__name__
    ernie_server.reply(tool_calls=[{"name": "look_up", "args": {"city": "北京"}}])
    ernie_server.reply(tool_calls=[{"name": name, "args": ANSWER}])
    agent = create_agent(model(), [look_up], response_format=ToolStrategy(form))
    assert ask(agent, question())["structured_response"] == expected
    for request in ernie_server.requests:
        assert request.body["tool_choice"] == "required"
        assert "response_format" not in request.body
        assert names_of(request) == ["look_up", name]


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_tool_strategy_of_a_reasoning_model_requires_a_call_unless_the_api_forbids_it(
    api_model, model, ernie_server, ask, choice
):
    ernie_server.reply(reasoning="The form.", tool_calls=[{"name": "Weather", "args": ANSWER}])
    llm = (api_model if choice == "auto" else model)(model=THINKING)
    agent = create_agent(llm, response_format=ToolStrategy(Weather))
    warned = pytest.warns(UserWarning, match='tool_choice is sent as "auto"')
    with warned if choice == "auto" else nullcontext():
        assert ask(agent, question())["structured_response"].city == "北京"
    assert ernie_server.last_request.body["tool_choice"] == choice
