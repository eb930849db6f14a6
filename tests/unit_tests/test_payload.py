from __future__ import annotations

import json

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_aimlernie._request.payload import (
    REQUEST_PARAMS,
    build_payload,
    encode_body,
    validate_param,
)
from langchain_aimlernie.errors import BadRequestError
from langchain_aimlernie.profiles import DEFAULT_MODEL, find_model

HELLO = [HumanMessage("hi")]


@tool
def now() -> str:
    """Tell the time."""
    return "now"


class Joke(BaseModel):
    """A joke."""

    punchline: str


def payload(settings=None, model=DEFAULT_MODEL, **options):
    return build_payload(HELLO, find_model(model), model, settings or {}, options)


def test_what_is_not_set_is_not_sent():
    assert payload() == {"model": DEFAULT_MODEL, "messages": [{"role": "user", "content": "hi"}]}


def test_options_of_the_call_win_and_none_unsets():
    settings = {"temperature": 0.5, "seed": 1, "top_p": 0.9}
    body = payload(settings, temperature=0, seed=None)
    assert body["temperature"] == 0
    assert "seed" not in body
    assert body["top_p"] == 0.9


GOOD = {
    "temperature": (0, 2, 0.0, 1.5),
    "top_p": (0.01, 1),
    "frequency_penalty": (-2, 2, 0),
    "presence_penalty": (-2, 2, 0),
    "max_tokens": (1, 4096),
    "max_completion_tokens": (1,),
    "seed": (1, 2**31),
    "thinking_budget": (100,),
    "stop": ("a", [], ["a"] * 4),
    "parallel_tool_calls": (True, False),
    "enable_thinking": (True, False),
}
BAD = {
    "temperature": (-0.1, 2.1, float("nan"), "hot", True, float("inf")),
    "top_p": (0, 0.009, 1.01),
    "frequency_penalty": (-2.1, 2.1),
    "presence_penalty": (-2.1, 2.1),
    "max_tokens": (0, -1, 1.5, "many"),
    "max_completion_tokens": (0, 0.5),
    "seed": (0, -1, 1.5),
    "thinking_budget": (99,),
    "stop": (["a"] * 5, [1], 5, {"a": 1}),
    "parallel_tool_calls": ("yes", 1),
    "enable_thinking": (1,),
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in GOOD.items() for v in vs])
def test_values_within_the_published_ranges_are_taken(name, value):
    validate_param(name, value)


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in BAD.items() for v in vs])
def test_values_outside_are_refused_naming_setting_and_value(name, value):
    with pytest.raises(ValueError, match=name):
        validate_param(name, value)
    with pytest.raises(BadRequestError, match=name):
        payload(**{name: value})


@pytest.mark.parametrize("name", REQUEST_PARAMS)
def test_every_setting_can_be_unset(name):
    validate_param(name, None)
    assert name not in payload({name: None})


def test_stop_is_a_list_and_an_empty_one_clears():
    assert payload(stop="a")["stop"] == ["a"]
    assert payload({"stop": ["a"]}, stop=["b"])["stop"] == ["b"]
    assert "stop" not in payload({"stop": ["a"]}, stop=[])


def test_words_that_nobody_knows_are_sent_with_a_warning():
    with pytest.warns(UserWarning, match="top_k"):
        assert payload(top_k=5)["top_k"] == 5


def test_words_of_langchain_are_not_sent():
    body = payload(ls_structured_output_format={"a": 1}, structured_output_format={}, strict=True)
    assert set(body) == {"model", "messages"}


def test_one_choice_is_what_the_api_gives_anyway():
    assert "n" not in payload(n=1)
    with pytest.raises(BadRequestError, match="one choice"), pytest.warns(UserWarning, match="'n'"):
        payload(n=2)


def test_settings_of_other_models_are_refused_naming_both():
    with pytest.raises(BadRequestError, match=r"ernie-4\.5-21b-a3b.*enable_thinking"):
        payload(enable_thinking=True)
    assert payload(model="baidu/ernie-5.0", enable_thinking=False)["enable_thinking"] is False


def test_servers_of_ones_own_take_any_setting():
    assert payload(model="my-ernie", enable_thinking=False)["enable_thinking"] is False


def test_the_limit_of_tokens_is_told_in_the_words_of_the_model():
    assert payload(max_completion_tokens=9)["max_completion_tokens"] == 9
    body = payload(model="baidu/ernie-5.0", max_completion_tokens=9)
    assert body["max_tokens"] == 9
    assert "max_completion_tokens" not in body
    with pytest.warns(UserWarning, match="max_completion_tokens=9 is not sent"):
        body = payload(model="baidu/ernie-5.0", max_completion_tokens=9, max_tokens=5)
    assert body["max_tokens"] == 5


def test_tools_are_encoded_and_their_options_dropped_without_any():
    body = payload(tools=[now], tool_choice="any", parallel_tool_calls=False)
    assert body["tools"][0]["function"]["name"] == "now"
    assert body["tool_choice"] == "required"
    assert body["parallel_tool_calls"] is False
    assert set(payload(tools=[], tool_choice="auto", parallel_tool_calls=True)) == {
        "model",
        "messages",
    }


@pytest.mark.parametrize("choice", ["any", "now", True])
def test_a_model_that_thinks_is_left_free_to_call(choice):
    thinking = "baidu/ernie-4.5-21b-a3b-thinking"
    with pytest.warns(UserWarning, match='tool_choice is sent as "auto".*cannot be forced'):
        body = payload(model=thinking, tools=[now], tool_choice=choice)
    assert body["tool_choice"] == "auto"
    assert payload(model=thinking, tools=[now], tool_choice="none")["tool_choice"] == "none"
    switched_off = payload(
        model="baidu/ernie-5.0", tools=[now], tool_choice="any", enable_thinking=False
    )
    assert switched_off["tool_choice"] == "required"


def test_an_unknown_tool_is_refused_before_anything_is_sent():
    with pytest.raises(BadRequestError, match="typo"):
        payload(tools=[now], tool_choice="typo")


@pytest.mark.parametrize(
    "given", [Joke, Joke.model_json_schema(), {"name": "Joke", "schema": Joke.model_json_schema()}]
)
def test_a_schema_as_response_format_becomes_the_apis(given):
    encoded = payload(response_format=given)["response_format"]
    assert encoded["type"] == "json_schema"
    assert encoded["json_schema"]["name"] == "Joke"
    assert "punchline" in encoded["json_schema"]["schema"]["properties"]


@pytest.mark.parametrize("kind", ["text", "json_object"])
def test_a_plain_response_format_stays(kind):
    assert payload(response_format={"type": kind})["response_format"] == {"type": kind}


def test_the_body_is_utf8_without_escapes():
    data = encode_body({"a": "你好\u2028\x00"})
    assert "你好\u2028".encode() in data
    assert json.loads(data) == {"a": "你好\u2028\x00"}


CYCLE: dict = {}
CYCLE["self"] = CYCLE


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {1, 2}, b"bytes", CYCLE, "\ud83d", object()]
)
def test_what_json_has_no_form_for_is_refused(value):
    with pytest.raises(BadRequestError, match="JSON") as caught:
        encode_body({"a": value})
    assert caught.value.__cause__ is None
