import copy
import functools
import json
import pickle
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from uuid import uuid4

import httpx
import httpx2
import numpy as np
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumpd, dumps
from langchain_core.runnables import ConfigurableField
from pydantic import SecretStr, ValidationError

from langchain_aimlernie import ChatAimlErnie, errors
from langchain_aimlernie._settings.fields import ALIASES, RequestParams
from langchain_aimlernie.models import alist_models, list_models
from langchain_aimlernie.testing import Reply
from tests.support.agents import FIVE, PLAIN, VISION
from tests.support.modes import MODES, ask, chunks_of

SETTINGS = {
    "temperature": 0.5,
    "top_p": 0.9,
    "frequency_penalty": 0.1,
    "presence_penalty": -0.1,
    "max_tokens": 50,
    "max_completion_tokens": 60,
    "stop": ["END"],
    "seed": 7,
    "prediction": {"type": "content", "content": "x"},
    "enable_thinking": False,
    "thinking_budget": 100,
    "normalize_tool_schemas": True,
}
OF_FIVE = ("enable_thinking", "thinking_budget", "normalize_tool_schemas")


SMALL = "baidu/ernie-4.5-0.3b"
READ_AS = {
    "stop_sequences": (["END"], "stop", ["END"]),
    "model": (f" {SMALL}\n", "model", SMALL),
    "model_name": (f" {SMALL}\n", "model", SMALL),
}
"""Settings that are sent under another name, or as another value."""
NOWHERE = "http://127.0.0.1:9/v1"
NAN, INFINITY = float("nan"), float("inf")


def body_of(server):
    return server.last_request.body


@pytest.mark.parametrize("given", [*SETTINGS, *READ_AS])
async def test_a_setting_is_sent_however_it_was_set(model, ernie_server, given):
    value, name, sent = READ_AS.get(given) or (SETTINGS[given], given, SETTINGS[given])
    options = {given: value}
    if given in OF_FIVE:
        model = functools.partial(model, model=FIVE)
    configurable = model().configurable_fields(**{given: ConfigurableField(id="x")})
    ernie_server.on_request = lambda request: Reply("{}")
    for llm, per_call in (
        (model(**options), {}),
        (model(), options),
        (model().bind(**options), {}),
        (model().bind(temperature=1).bind(**options), {}),
        (model().bind_tools([], **options), {}),
        (model().with_config(tags=["a"]), options),
        (model().with_retry(), options),
        (configurable.with_config(configurable={"x": value}), {}),
        (model().model_copy(update=options), {}),
        (model().with_structured_output(method="json_mode", **options), {}),
    ):
        for mode in MODES if given in READ_AS else MODES[::2]:
            await chunks_of(llm, "hi", mode, **per_call)
            assert body_of(ernie_server)[name] == sent
    assert ernie_server.violations == []


def test_a_subclass_may_assign_a_cached_property():
    class Mine(ChatAimlErnie):
        @cached_property
        def label(self) -> str:
            return self.model_name

    model = Mine(model=PLAIN)
    model.label = "mine"
    assert model.label == "mine"
    model.model_name = VISION
    assert model.label == VISION


def test_nothing_that_is_not_set_is_sent(model, ernie_server):
    model().invoke("hi")
    assert set(body_of(ernie_server)) == {"model", "messages"}
    list(model().stream("hi"))
    assert set(body_of(ernie_server)) == {"model", "messages", "stream", "stream_options"}
    model(temperature=0.5, seed=1, stop=["a"]).invoke("hi", temperature=0, seed=None, stop=[])
    assert set(body_of(ernie_server)) == {"model", "messages", "temperature"}
    assert body_of(ernie_server)["temperature"] == 0


def test_aliases_of_the_constructor():
    llm = ChatAimlErnie(model="m", stop_sequences=["a"], request_timeout=5, api_key="k")
    assert (llm.model, llm.model_name, llm.stop, llm.timeout) == ("m", "m", ["a"], 5)
    with pytest.raises(ValueError, match="twice"):
        ChatAimlErnie(model="a", model_name="b", api_key="k")


@pytest.mark.parametrize("alias", ["api_base", "openai_api_base", "aimlapi_api_base"])
def test_a_base_url_is_used_under_each_of_its_names(ernie_server, alias):
    llm = ChatAimlErnie(**{alias: ernie_server.base_url}, api_key=ernie_server.api_key)
    llm.invoke("hi")
    for changed in (llm.bind, llm.bind_tools):
        options = {alias: NOWHERE, "max_retries": 0}
        given = ([],) if changed == llm.bind_tools else ()
        with pytest.raises(errors.APIConnectionError):
            changed(*given, **options).invoke("hi")
    assert len(ernie_server.requests) == 1


def test_stream_is_a_name_of_streaming_and_is_left_to_core_in_a_call(model, ernie_server):
    for llm, options, is_streamed in (
        (model(stream=True), {}, True),
        (model(model_kwargs={"stream": True}), {}, True),
        (model(stream=False), {}, False),
        (model(), {"stream": True}, True),
        (model().bind(stream=True), {}, True),
        (model(stream=True), {"stream": False}, False),
    ):
        assert llm.invoke("hi", **options).text
        assert body_of(ernie_server).get("stream", False) is is_streamed
    assert model(stream_chunk_timeout=7).stream_idle_timeout == 7


def test_the_last_of_two_names_wins(model, ernie_server):
    for llm, options, stop in (
        (model(stop=["A"]), {}, ["A"]),
        (model(stop=["A"]), {"stop": []}, None),
        (model(stop=["A"]), {"stop_sequences": ["B"]}, ["B"]),
        (model().bind(stop=["A"]), {"stop_sequences": ["B"]}, ["B"]),
        (model().bind(stop_sequences=["A"]), {"stop": ["B"]}, ["B"]),
        (model().bind(stop_sequences=["A"]).bind(stop=["B"]), {}, ["B"]),
        (model().bind(stop_sequences=["A"]).bind(stop=["B"]).bind(stop_sequences="C"), {}, ["C"]),
    ):
        llm.invoke("hi", **options)
        assert body_of(ernie_server).get("stop") == stop
    assert model().bind(stop_sequences=["A"]).kwargs == {"stop": ["A"]}
    for attempt in (
        lambda: model().bind(stop_sequences=["a"] * 5),
        lambda: model().bind(temperature=1).bind(stop_sequences=["a"] * 5),
        lambda: model().invoke("hi", stop_sequences=["a"] * 5),
    ):
        with pytest.raises(ValueError, match="at most 4"):
            attempt()


@pytest.mark.parametrize("name", ["tags", "metadata", "callbacks", "run_name", "max_concurrency"])
def test_what_belongs_to_the_config_of_a_run_is_no_parameter(model, name):
    for bind in (model().bind, lambda **options: model().bind_tools([], **options)):
        with pytest.raises(ValueError, match=f"'{name}' belongs to the config .*: use with_config"):
            bind(**{name: []})


def test_a_setting_of_a_used_model_can_be_changed_by_its_alias(model, ernie_server):
    llm = model(base_url=NOWHERE, max_retries=0)
    with pytest.raises(errors.APIConnectionError):
        llm.invoke("hi")
    llm.openai_api_base = ernie_server.base_url
    llm.stop_sequences, llm.request_timeout, llm.api_key = ["x"], 5, f" {ernie_server.api_key}\n"
    assert (llm.stop, llm.timeout) == (["x"], 5.0)
    assert ernie_server.api_key not in repr(vars(llm))
    llm.invoke("hi")
    assert body_of(ernie_server)["stop"] == ["x"]


def test_model_kwargs_hold_settings_and_other_fields(model, ernie_server):
    changed = model()
    changed.model_kwargs = {"temperature": 0.5}
    half = {"model_kwargs": {"temperature": 0.5}}
    for llm, options in (
        *((model(**half), {}), (model(), half), (model().bind(**half), {})),
        *((model().model_copy(update=half), {}), (changed, {})),
    ):
        llm.invoke("hi", **options)
        assert body_of(ernie_server)["temperature"] == 0.5
    given = {"temperature": 0.5, "top_k": 3}
    llm = model(model_kwargs=given)
    assert given == {"temperature": 0.5, "top_k": 3}
    assert (llm.temperature, llm.model_kwargs) == (0.5, {"top_k": 3})
    assert model(temperature=1, model_kwargs=given).temperature == 1


@pytest.mark.parametrize("timeout", [1e12, 10**30, INFINITY, (1e12, INFINITY, 1e12, None)])
async def test_a_timeout_longer_than_a_socket_can_wait_is_no_limit(model, mode, timeout):
    for given in (timeout, httpx.Timeout(1e12), httpx2.Timeout(INFINITY)):
        assert (await ask(model(timeout=given, stream_idle_timeout=1e12), "hi", mode)).text


async def test_more_connections_than_there_can_be_are_as_many_as_there_can_be(model, mode):
    assert (await ask(model(max_connections=sys.maxsize), "hi", mode)).text


UNSET = {
    "base_url": "https://api.aimlapi.com/v1",
    "openai_api_base": "https://api.aimlapi.com/v1",
    "max_retries": 2,
    "max_connections": 256,
    "stream_usage": True,
    "include_response_headers": False,
    "on_unsupported_content": "error",
    "model_kwargs": {},
}


@pytest.mark.parametrize(("name", "default"), UNSET.items(), ids=UNSET)
def test_none_is_unset_as_in_other_chat_models(model, ernie_server, name, default):
    field = ALIASES.get(name, name)
    changed = model(max_retries=0)
    setattr(changed, name, None)
    for llm in (
        ChatAimlErnie(**{name: None}),
        changed,
        model(max_retries=0).model_copy(update={name: None}),
    ):
        assert getattr(llm, field) == default
    model().invoke("hi", **{name: None})
    model().bind(**{name: None}).invoke("hi")
    assert len(ernie_server.requests) == 2


def test_an_unknown_parameter_is_sent_with_a_warning(ernie_server):
    server = {"base_url": ernie_server.base_url, "api_key": ernie_server.api_key}
    with pytest.warns(UserWarning, match=r"top_k.*rejects it\.$") as warned:
        llm = ChatAimlErnie(top_k=3, **server)
    assert warned[0].filename == __file__
    assert llm.model_kwargs == {"top_k": 3}
    llm.invoke("hi")
    assert body_of(ernie_server)["top_k"] == 3


@pytest.mark.parametrize(
    ("name", "meant"), [("temprature", "temperature"), ("max_token", "max_tokens")]
)
@pytest.mark.parametrize("mode", MODES)
async def test_the_warning_of_a_misspelled_parameter_names_the_similar_one(
    model, name, meant, mode
):
    expected = pytest.warns(UserWarning, match=rf"'{name}' is not a .*Did you mean {meant}\?$")
    with expected:
        model(**{name: 1})
    with expected as warned:
        await ask(model().bind(**{name: 1}), "hi", mode)
    if mode != "ainvoke":  # of which langchain-core makes a task
        assert warned[0].filename.endswith("modes.py")


VALID = {
    "temperature": (0, 2, 0.7),
    "top_p": (0.01, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "max_tokens": (1, 50.0),
    "max_completion_tokens": (1, 2.0),
    "seed": (1, 10**30),
    "thinking_budget": (100, 100.0),
    "stop": ("a", ["a"] * 4, ("a", "b"), []),
    "enable_thinking": (True, False),
    "max_retries": (0, 3.0),
    "client_request_id": ("a", "A-1_b.c:d", "x" * 128),
    "stream_idle_timeout": (0.1, "auto", None),
    "timeout": (np.int64(3), np.float32(0.5), 1e12, INFINITY, (INFINITY, 1e12, None, 1)),
}
TIMEOUT_PARTS = "(connect, read, write, pool)"
INVALID = {
    "temperature": ("a number from 0 to 2", -0.1, 2.1, NAN, INFINITY, "0.5", True, [1]),
    "top_p": ("a number from 0.01 to 1", 0, 0.009, 1.01),
    "frequency_penalty": ("a number from -2 to 2", -2.1, 2.1),
    "presence_penalty": ("a number from -2 to 2", -2.1, 2.1),
    "max_tokens": ("an integer of at least 1", 0, -1, 1.5, "many", "5", True, INFINITY),
    "max_completion_tokens": ("an integer of at least 1", 0),
    "seed": ("an integer of at least 1", 0, -1, NAN),
    "thinking_budget": ("an integer of at least 100", 99, 0, -1, 100.5, "200", True),
    "stop": (
        "a list of at most 4 strings or a string",
        ["a"] * 5,
        [1],
        5,
        {"a": 1},
        np.array(["a", "b"]),
    ),
    "parallel_tool_calls": ("True or False", "yes", 1),
    "enable_thinking": ("True or False", 0),
    "normalize_tool_schemas": ("True or False", "false"),
    "prediction": ("a dict", "text"),
    "provider": ("a string", 5),
    "max_retries": ("an integer of at least 0", -1, "2", True),
    "max_connections": ("an integer of at least 1", 0),
    "stream_idle_timeout": ("a number greater than 0 or 'auto'", 0, "never", True),
    "stream_usage": ("True or False", "no"),
    "on_unsupported_content": ("'error' or 'omit'", "drop"),
    "timeout": (
        f"a number of seconds greater than 0, {TIMEOUT_PARTS} or a Timeout of httpx or httpx2",
        *("soon", -1, True, (1,), (1, 2, 3, 4, 5), (1, 0), [5], object()),
        *(httpx2.Timeout, httpx.Timeout(-1), httpx2.Timeout(5, read=0)),
    ),
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in VALID.items() for v in vs])
def test_a_value_within_its_range_is_accepted_everywhere(model, name, value):
    llm = model(**{name: value})
    expected = list(value) if name == "stop" and isinstance(value, tuple) else value
    assert getattr(llm, name) == expected
    changed = model()
    setattr(changed, name, value)
    for other in (changed, model().model_copy(update={name: value})):
        assert getattr(other, name) == expected
    bound = model().bind(**{name: value}).kwargs[name]
    assert type(bound) is type(getattr(llm, name)) or name not in RequestParams.model_fields


@pytest.mark.parametrize(
    ("name", "expected", "value"),
    [(name, case[0], value) for name, case in INVALID.items() for value in case[1:]],
)
def test_an_invalid_value_has_the_same_error_everywhere(model, ernie_server, name, value, expected):
    llm = model()
    message = f"{name} must be {expected}; got {value!r}."
    for attempt in (
        lambda: model(**{name: value}),
        lambda: setattr(llm, name, value),
        lambda: llm.model_copy(update={name: value}),
        lambda: llm.configurable_fields(**{name: ConfigurableField(id="x")}).invoke(
            "hi", {"configurable": {"x": value}}
        ),
    ):
        with pytest.raises(ValidationError) as caught:
            attempt()
        (details,) = caught.value.errors()
        assert details["msg"] == message
        assert details["loc"] == (name,)
        assert f"{name}\n  {message} [type=" in str(caught.value)
    if name in RequestParams.model_fields:
        for bind in (llm.bind, lambda **options: llm.bind_tools([], **options)):
            with pytest.raises(ValueError) as caught:
                bind(**{name: value})
            assert str(caught.value) == message
    for attempt in (llm.invoke, lambda *args, **options: list(llm.stream(*args, **options))):
        with pytest.raises(errors.BadRequestError) as caught:
            attempt("hi", **{name: value})
        assert isinstance(caught.value, ValueError)
        assert str(caught.value) == message
    assert getattr(llm, name) == getattr(model(), name)
    assert ernie_server.requests == []


@pytest.mark.parametrize(
    ("name", "kind"), [("model", "a string"), ("cache", "a BaseCache or True")]
)
async def test_an_invalid_model_or_cache_of_a_call_is_a_bad_request(model, name, kind):
    llm = model()
    for mode in MODES[:2]:
        with pytest.raises(errors.BadRequestError, match=f"{name} must be {kind}"):
            await ask(llm, "hi", mode, **{name: 5})
    if name == "model":
        with pytest.raises(ValueError, match=r"model must be a string; got 5\."):
            llm.bind(model=5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"api_key": 12345678}, "api_key must be a string or a function; got int."),
        ({"api_key": "sk 12345678"}, "api_key has a control character or space at position 3"),
        *(
            ({"api_key": key}, "api_key is empty or masked; set AIMLAPI_API_KEY")
            for key in ("", "   ", "*" * 10)
        ),
        ({"api_key": '"12345678"'}, "api_key is in quotation marks; remove them"),
        ({"api_key": "'12345678'\n"}, "api_key is in quotation marks; remove them"),
        ({"default_headers": 12345678}, "default_headers must be a dict; got int."),
        ({"default_headers": {"X": "12345678\nb"}}, "default_headers: the value of 'X' must be"),
        ({"base_url": "https://u:12345678@host"}, "base_url must not contain a user name"),
        ({"base_url": "nowhere"}, "got 'nowhere'. Put https:// or http:// before it."),
        ({"extra_body": "12345678"}, "extra_body must be a dict; got str."),
        ({"model_kwargs": "12345678"}, "model_kwargs must be a dict; got str."),
        ({"model_kwargs": 12345678}, "model_kwargs must be a dict; got int."),
        *(
            ({name: {12345678: "x"}}, f"{name} must have strings as keys; got int.")
            for name in ("extra_body", "model_kwargs")
        ),
        ({"http_client": object()}, "http_client must be an instance of httpx.Client"),
        ({"client_request_id": "a b"}, "client_request_id must be 1 to 128 of the characters"),
        ({"model": ""}, "model_name must be a non-empty string; got ''."),
        ({"model": " \n"}, "model_name must be a non-empty string; got "),
        ({"stop_sequences": ["a"] * 5}, "stop must be a list of at most 4 strings or a string"),
    ],
)
def test_the_error_of_a_setting_that_may_be_secret_does_not_show_its_value(model, setting, message):
    llm = model()
    for attempt in (
        lambda: model(**setting),
        lambda: setattr(llm, *next(iter(setting.items()))),
        lambda: llm.model_copy(update=setting),
    ):
        with pytest.raises(ValidationError) as caught:
            attempt()
        shown = f"{caught.value} {caught.value.errors()} {caught.value.json()}"
        assert message in shown
        assert "12345678" not in shown
        assert "Value error" not in shown
    assert llm == model()
    if "model" not in setting:
        with pytest.raises(errors.BadRequestError, match=message[:20]) as caught:
            model().invoke("hi", **setting)
        assert "12345678" not in str(caught.value)


def test_each_invalid_setting_is_reported(model):
    with pytest.raises(ValidationError) as caught:
        model(temperature=3, max_retries=-1, stop=5, base_url="{nowhere}")
    assert {details["loc"][0] for details in caught.value.errors()} == {
        *("temperature", "max_retries", "stop", "base_url")
    }
    assert "got '{nowhere}'" in str(caught.value)
    with pytest.raises(ValidationError, match="must be True or False or 'tool_calling'; got str"):
        model(disable_streaming="never")


PAGE = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
COMPOSED = {  # defaults that a function makes, or that the page describes
    "api_key": "`AIMLAPI_API_KEY`",
    "base_url": "`AIMLAPI_API_BASE`, or `https://api.aimlapi.com/v1`",
    "client_request_id": "a UUID per call",
    "model_kwargs": "`{}`",
}


def documented_settings():
    table = PAGE.partition("\n## Table of settings\n")[2].partition("\n## ")[0]
    for line in table.splitlines():
        names, default, meaning = ([*line.split(" | "), "", ""])[:3]
        if line.startswith("| `"):
            for name in re.findall(r"`(\w+)`", names):
                yield name, default, meaning.rstrip(" |")


def test_the_page_lists_every_setting_with_its_default_and_range():
    documented = {
        ALIASES.get(name, name): (default, meaning)
        for name, default, meaning in documented_settings()
    }
    fields = ChatAimlErnie.model_fields
    assert {*documented} == fields.keys() - BaseChatModel.model_fields.keys()
    for name, (default, meaning) in documented.items():
        value = fields[name].default
        text = COMPOSED.get(name, "unset" if value is None else f"`{value}`")
        assert default == text, name
        limits = {
            k: getattr(m, k) for m in fields[name].metadata for k in dir(m) if k in ("ge", "le")
        }
        if "le" in limits:
            assert f"{limits['ge']} to {limits['le']}" in meaning, name
        elif limits and name not in ("max_retries", "max_connections"):
            assert f"at least {limits['ge']}" in meaning, name
    for alias, name in ALIASES.items():
        if not alias.startswith("openai_"):
            assert f"`{alias}`" in PAGE, name
    assert "up to 4" in documented["stop"][1]


def test_repr_shows_the_model_and_what_was_set():
    llm = ChatAimlErnie(api_key="sk-very-secret", default_headers={"X": "sk-very-secret"})
    assert repr(llm) == "ChatAimlErnie(model='baidu/ernie-4.5-21b-a3b')"
    assert str(llm) == "model='baidu/ernie-4.5-21b-a3b'"
    chosen = {"model": "m", "stop": ["x"], "timeout": 5, "profile": {"max_input_tokens": 7}}
    llm = ChatAimlErnie(base_url=NOWHERE, **chosen)
    for part in ("model='m'", NOWHERE, "stop=['x']", "timeout=5.0", "max_input_tokens"):
        assert part in repr(llm)
    assert repr(pickle.loads(pickle.dumps(llm))) == repr(llm)
    llm.stop = None
    assert "stop" not in repr(llm)


@pytest.mark.parametrize("given", ["baidu/ERNIE-4.5-21B-A3B", "ernie-4.5-21b-a3b"])
def test_the_api_receives_the_canonical_model_id(api_model, ernie_server, given):
    for settings, options in (({"model": given}, {}), ({"model": FIVE}, {"model": given})):
        message = api_model(**settings).invoke("hi", **options)
        names = (body_of(ernie_server)["model"], message.response_metadata["model_name"])
        assert names == (PLAIN, PLAIN)


def test_settings_of_the_transport_can_be_given_per_call(ernie_server):
    own = {"X-One": " 1 ", "X-Two": "1"}
    llm = ChatAimlErnie(api_key="wrong", base_url=NOWHERE, max_retries=0, default_headers=own)
    at = {"base_url": ernie_server.base_url, "api_key": ernie_server.api_key, "timeout": 30}
    more = {"extra_headers": {"X-Two": "2"}, "extra_body": {"note": "n"}}
    llm.invoke("hi", client_request_id="call-1", **at, **more)
    request = ernie_server.last_request
    assert request.headers["x-client-request-id"] == "call-1"
    assert (request.headers["x-one"], request.headers["x-two"]) == ("1", "2")
    assert request.body["note"] == "n"


def test_extra_body_is_written_over_the_body(model, ernie_server):
    extra = {"temperature": 1, "x": 1}
    model(temperature=0.5, extra_body=extra).invoke("hi")
    assert extra.items() <= body_of(ernie_server).items()


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("AIMLAPI_API_KEY", " from-env\n")
    monkeypatch.setenv("AIMLAPI_API_BASE", "https://gateway.example/v1/")
    llm = ChatAimlErnie()
    assert llm.api_key.get_secret_value() == "from-env"
    assert ChatAimlErnie(api_key=SecretStr(" key ")).api_key == SecretStr("key")
    assert llm.base_url == "https://gateway.example/v1"
    for empty in ("", " ", "\t\n"):
        monkeypatch.setenv("AIMLAPI_API_KEY", empty)
        monkeypatch.setenv("AIMLAPI_API_BASE", empty)
        llm = ChatAimlErnie()
        assert (llm.api_key, llm.base_url) == (None, "https://api.aimlapi.com/v1")


async def test_an_empty_variable_is_unset_for_list_models(monkeypatch):
    monkeypatch.setenv("AIMLAPI_API_BASE", " ")
    monkeypatch.setenv("HTTPS_PROXY", "socks://x")  # so that nobody is asked
    with pytest.raises(errors.APIConnectionError, match="HTTPS_PROXY"):
        list_models(max_retries=0)
    with pytest.raises(errors.APIConnectionError, match="HTTPS_PROXY"):
        await alist_models(max_retries=0)


async def test_only_a_self_hosted_server_needs_no_key(ernie_server):
    for mode in MODES:
        with pytest.raises(errors.AuthenticationError, match="AIMLAPI_API_KEY"):
            await ask(ChatAimlErnie(api_key=None), "hi", mode)
    ernie_server.api_key = None
    ChatAimlErnie(base_url=ernie_server.base_url).invoke("hi")
    assert "authorization" not in ernie_server.last_request.headers


async def test_a_key_can_be_a_function(model, ernie_server):
    async def from_vault():
        return ernie_server.api_key

    sync_key, async_key = model(api_key=lambda: ernie_server.api_key), model(api_key=from_vault)
    sync_key.invoke("hi")
    await sync_key.ainvoke("hi")
    await async_key.ainvoke("hi")
    with pytest.raises(errors.BadRequestError, match="async"):
        async_key.invoke("hi")
    for key in ("", "a\nb", "ä", None, 5):
        with pytest.raises(errors.AuthenticationError) as caught:
            model(api_key=lambda key=key: key).invoke("hi")
        assert repr(key) not in str(caught.value) or key is None


def test_the_request_id_can_be_chosen_for_each_call(model, ernie_server):
    source = iter(["one", "two"])
    llm = model(client_request_id=lambda: next(source))
    made = [each.invoke("hi").response_metadata for each in (llm, llm, model(), model())]
    first, second, *unset = (metadata["client_request_id"] for metadata in made)
    assert (first, second) == ("one", "two")
    assert len({*unset}) == 2
    with pytest.raises(errors.BadRequestError, match="got UUID"):
        model(client_request_id=uuid4).invoke("hi")


def test_secrets_are_shown_nowhere(model):
    headers = {"X-Team-Token": "sk-very-secret"}
    llm = model(api_key="sk-very-secret", default_headers=headers)
    shown = [
        *(repr(llm), str(llm), dumps(llm), json.dumps(dumpd(llm), default=str)),
        *(repr(llm.model_dump()), llm.model_dump_json(), repr(llm.asdict())),
        *(repr(llm._identifying_params), repr(llm._get_ls_params()), repr(llm.bind(temperature=1))),
        repr(llm._get_invocation_params(api_key="sk-very-secret", extra_headers=headers)),
    ]
    assert not [text for text in shown if "sk-very-secret" in text]


@pytest.mark.parametrize(
    "again",
    [
        lambda llm: pickle.loads(pickle.dumps(llm)),
        *(copy.copy, copy.deepcopy, ChatAimlErnie.model_copy),
        lambda llm: llm.model_copy(deep=True),
    ],
)
def test_a_copy_of_a_used_model_is_equal_and_works(model, again):
    llm = model(temperature=0.5)
    llm.invoke("hi")
    list(llm.stream("hi"))
    copied = again(llm)
    assert copied == llm
    for fresh in (pickle.loads(pickle.dumps(llm)), copy.deepcopy(llm)):
        assert vars(fresh).keys() == ChatAimlErnie.model_fields.keys()
    assert copied.invoke("hi").content


@pytest.mark.parametrize(
    "look", [repr, dict, dumpd, pickle.dumps, copy.deepcopy], ids=lambda look: look.__name__
)
def test_a_model_can_be_looked_at_while_another_thread_makes_its_first_call(model, look):
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns within each look
    try:
        with ThreadPoolExecutor(1) as pool:
            for llm in [model() for _ in range(30)]:
                first = pool.submit(llm.invoke, "hi")
                while not first.done():
                    look(llm)
                assert first.result().content
    finally:
        sys.setswitchinterval(interval)


def test_the_profile_follows_the_model_unless_the_user_wrote_it(model):
    for llm in (model(), model(model="my-own")):
        llm.model_name = VISION
        assert llm.profile["image_inputs"] is True
    chosen = model().configurable_fields(model_name=ConfigurableField(id="model"))
    (picked, _) = chosen.with_config(configurable={"model": VISION}).prepare()
    assert picked.profile["image_inputs"] is True
    written = model(profile={"max_input_tokens": 7})
    written.model_name = VISION
    assert written.profile == {"max_input_tokens": 7}
    assert model().model_copy(update={"model": "my-own"}).profile is None

    first, second = model(), model()
    first.profile["max_input_tokens"] = 1
    assert second.profile["max_input_tokens"] == 120_000
