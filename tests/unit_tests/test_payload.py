"""The body of a request: parameters, tools and response formats, by model."""

from __future__ import annotations

import json

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_aimlernie._request.payload import build_payload, encode_body
from langchain_aimlernie.errors import BadRequestError
from langchain_aimlernie.profiles import DEFAULT_MODEL, find_model

FIVE = "baidu/ernie-5.0"
SELF_HOSTED = "my-ernie"


@tool
def now() -> str:
    """Tell the time."""
    return "now"


class Joke(BaseModel):
    """A joke."""

    punchline: str


def payload(settings=None, model=DEFAULT_MODEL, **options):
    messages = [HumanMessage("hi")]
    return build_payload(messages, find_model(model), model, settings or {}, options)


def test_unset_parameters_are_not_sent():
    assert payload() == {"model": DEFAULT_MODEL, "messages": [{"role": "user", "content": "hi"}]}


def test_options_override_settings_and_none_unsets_them():
    settings = {"temperature": 0.5, "seed": 1, "top_p": 0.9, "stop": ["a"]}
    body = payload(settings, temperature=0, seed=None, stop=[])
    assert (body["temperature"], body["top_p"]) == (0, 0.9)
    assert not {"seed", "stop"} & set(body)
    assert payload(settings, stop="b")["stop"] == ["b"]


VALUES = {
    "temperature": (0, 2, 0.0, 1.5),
    "top_p": (0.01, 1),
    "frequency_penalty": (-2, 2, 0),
    "presence_penalty": (-2, 2, 0),
    "max_tokens": (1, 4096),
    "max_completion_tokens": (1,),
    "seed": (1, 2**31),
    "thinking_budget": (100,),
    "stop": (["a"], ["a"] * 4),
    "parallel_tool_calls": (True, False),
    "enable_thinking": (True, False),
}


@pytest.mark.parametrize("name", VALUES)
def test_parameters_are_sent(name):
    for value in VALUES[name]:
        assert payload(model=SELF_HOSTED, tools=[now], **{name: value})[name] == value
    assert name not in payload({name: None})


def test_unknown_options_are_sent_with_a_warning_and_internal_ones_are_not():
    with pytest.warns(UserWarning, match="top_k"):
        assert payload(top_k=5)["top_k"] == 5
    body = payload(ls_structured_output_format={}, structured_output_format={}, strict=True)
    assert set(body) == {"model", "messages"}


def test_n_may_only_be_1():
    assert "n" not in payload(n=1)
    with pytest.raises(BadRequestError, match="n must be 1"), pytest.warns(UserWarning, match="n"):
        payload(n=2)


def test_parameters_of_other_models_are_rejected():
    with pytest.raises(BadRequestError, match=r"ernie-4\.5-21b-a3b.*enable_thinking"):
        payload(enable_thinking=True)
    assert payload(model=FIVE, enable_thinking=False)["enable_thinking"] is False


def test_max_completion_tokens_has_the_name_that_the_model_takes():
    assert payload(max_completion_tokens=9)["max_completion_tokens"] == 9
    body = payload(model=FIVE, max_completion_tokens=9)
    assert (body["max_tokens"], body.get("max_completion_tokens")) == (9, None)
    with pytest.warns(UserWarning, match="max_completion_tokens=9 is not sent"):
        body = payload(model=FIVE, max_completion_tokens=9, max_tokens=5)
    assert body["max_tokens"] == 5


def test_tools_are_encoded_and_their_options_dropped_without_any():
    body = payload(tools=[now], tool_choice="any", parallel_tool_calls=False)
    assert body["tools"][0]["function"]["name"] == "now"
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ("required", False)
    without = payload(tools=[], tool_choice="auto", parallel_tool_calls=True)
    assert set(without) == {"model", "messages"}
    with pytest.raises(BadRequestError, match="typo"):
        payload(tools=[now], tool_choice="typo")


@pytest.mark.parametrize("choice", ["any", "now", True])
def test_a_reasoning_model_cannot_be_forced_to_call(choice):
    thinking = "baidu/ernie-4.5-21b-a3b-thinking"
    with pytest.warns(UserWarning, match='tool_choice is sent as "auto".*cannot be forced'):
        body = payload(model=thinking, tools=[now], tool_choice=choice)
    assert body["tool_choice"] == "auto"
    assert payload(model=thinking, tools=[now], tool_choice="none")["tool_choice"] == "none"
    body = payload(model=FIVE, tools=[now], tool_choice="any", enable_thinking=False)
    assert body["tool_choice"] == "required"


@pytest.mark.parametrize(
    "schema", [Joke, Joke.model_json_schema(), {"name": "Joke", "schema": Joke.model_json_schema()}]
)
def test_a_schema_as_response_format_is_encoded(schema):
    encoded = payload(response_format=schema)["response_format"]
    assert encoded["type"] == "json_schema"
    assert encoded["json_schema"]["name"] == "Joke"
    assert "punchline" in encoded["json_schema"]["schema"]["properties"]


def test_a_plain_response_format_is_sent_unchanged():
    for kind in ("text", "json_object"):
        assert payload(response_format={"type": kind})["response_format"] == {"type": kind}


def test_the_body_is_utf8_without_escapes():
    data = encode_body({"a": "你好\u2028\x00"})
    assert "你好\u2028".encode() in data
    assert json.loads(data) == {"a": "你好\u2028\x00"}


CYCLE: dict = {}
CYCLE["self"] = CYCLE
DEEP: list = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "JSON"),
        (float("inf"), "JSON"),
        ({1, 2}, "set is not JSON"),
        (b"bytes", "bytes is not JSON"),
        (CYCLE, "Circular"),
        (DEEP, "nested too deeply"),
        ("\ud83d", "half a surrogate pair"),
    ],
    ids=["nan", "inf", "set", "bytes", "cycle", "deep", "surrogate"],
)
def test_a_body_that_is_not_json_is_rejected(value, reason):
    with pytest.raises(BadRequestError, match=reason) as caught:
        encode_body({"a": value})
    assert caught.value.__context__ is None
