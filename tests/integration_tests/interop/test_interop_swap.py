"""Programs that were written for ChatOpenAI, with ChatAimlErnie in its place."""

import warnings

import httpx
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumps
from pydantic import Field, ValidationError

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie._settings.fields import ALIASES
from langchain_aimlernie.errors import BadRequestError
from tests.support.agents import FIVE, PLAIN, weather
from tests.support.modes import MODES, ask, chunks_of

NOWHERE = "http://127.0.0.1:9/v1"
NOTHING = (
    *("organization", "openai_organization", "openai_proxy", "default_query", "client"),
    *("reasoning", "reasoning_effort", "verbosity", "logit_bias", "logprobs", "top_logprobs"),
    *("service_tier", "store", "truncation", "include", "disabled_params", "use_responses_api"),
    *("tiktoken_model_name", "context_management", "prompt_cache_options", "n"),
)
"""Parameters of ChatOpenAI whose default is `None`: programs pass it on."""

SILENT = {
    **{f"{name}=None": {name: None} for name in NOTHING},
    "n=1": {"n": 1},
    "n=1 in model_kwargs": {"model_kwargs": {"n": 1}},
    "openai_proxy empty": {"openai_proxy": ""},
    "use_responses_api=False": {"use_responses_api": False, "use_previous_response_id": False},
    "default_query={}": {"default_query": {}, "disabled_params": {}},
    "timeout of two": {"timeout": (5, 20)},
    "timeout of three": {"request_timeout": [5.0, 20.0, None]},
    "stream_options": {"model_kwargs": {"stream_options": {"include_usage": True}}},
    "both names of one parameter": {"model": PLAIN, "model_name": PLAIN},
    "one of two names": {"timeout": None, "request_timeout": 5, "stop": None, "stop_sequences": []},
    "httpx clients": {"http_client": httpx.Client(), "http_async_client": httpx.AsyncClient()},
}
IGNORED = {
    **{name: {name: "a"} for name in ("organization", "openai_organization", "client")},
    "tiktoken_model_name": {"tiktoken_model_name": "gpt-4"},
    **{name: {name: {"version": "1"}} for name in ("default_query", "extra_query")},
    "disabled_params": {"disabled_params": {"parallel_tool_calls": None}},
    "use_responses_api": {"use_responses_api": True},
}


@pytest.mark.parametrize("given", SILENT.values(), ids=SILENT)
async def test_what_changes_nothing_is_accepted_and_not_sent(model, ernie_server, given):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for mode in MODES[:2]:
            assert (await ask(model(**given), "hi", mode)).text
            assert ernie_server.last_request.body.keys() == {"model", "messages"}


@pytest.mark.parametrize(
    "given",
    [
        *({"n": 1}, {"n": None}, {"functions": None}, {"strict": True}),
        *({name: {}} for name in ("ls_structured_output_format", "structured_output_format")),
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True},
    ],
)
async def test_what_changes_nothing_is_accepted_in_a_call(model, ernie_server, given):
    for llm, options in ((model(), given), (model().bind(**given), {})):
        await ask(llm, "hi", "invoke", **options)
        assert ernie_server.last_request.body.keys() == {"model", "messages"}


@pytest.mark.parametrize(("name", "given"), IGNORED.items(), ids=IGNORED)
async def test_what_sets_up_another_client_is_not_sent(model, ernie_server, name, given, mode):
    sent = {"model", "messages", *(("stream", "stream_options") if "stream" in mode else ())}
    for settings in (given, {"model_kwargs": given}):
        with pytest.warns(UserWarning, match=f"'{name}' has no effect") as warned:
            llm = model(**settings)
        assert warned[0].filename.endswith("conftest.py")
        assert llm.model_kwargs == {}
        await ask(llm, "hi", mode)
        assert ernie_server.last_request.body.keys() == sent
    for llm, options in ((model(), given), (model().bind(**given), {})):
        with pytest.warns(UserWarning, match=f"'{name}' has no effect"):
            await ask(llm, "hi", mode, **options)
        assert ernie_server.last_request.body.keys() == sent


@pytest.mark.parametrize("name", ["openai_proxy", "anthropic_proxy", "proxy", "proxies"])
def test_a_proxy_is_not_bypassed(model, name):
    with pytest.raises(ValidationError, match=f"{name} is not .*: set HTTPS_PROXY, or") as caught:
        model(**{name: "http://user:12345678@proxy:8080"})
    assert "12345678" not in str(caught.value)
    with pytest.raises(BadRequestError, match=f"{name} is not .*: set HTTPS_PROXY, or"):
        model().invoke("hi", **{name: "http://proxy:8080"})


def test_a_timeout_of_two_is_that_of_connecting_and_reading(model):
    assert model(timeout=(5, 20)).timeout == (5, 20, None, None)
    assert model(timeout=[5, 20, 1]).timeout == (5, 20, 1, None)


def test_settings_are_read_under_each_name(model):
    llm = model(timeout=5, stop=["x"], headers={"X-A": "b"})
    for alias, name in ALIASES.items():
        if alias not in ("model", "stream"):
            assert getattr(llm, alias) == getattr(llm, name)
    assert llm.openai_api_key.get_secret_value() == llm.api_key.get_secret_value()
    assert not hasattr(llm, "openai_organization")


def test_a_subclass_may_declare_settings_by_the_names_of_chat_openai(ernie_server):
    class Company(ChatAimlErnie):
        openai_api_base: str = ernie_server.base_url
        openai_api_key: str | None = ernie_server.api_key
        openai_organization: str | None = "none"
        request_timeout: float | None = Field(default_factory=lambda: 7.0)
        temperature: float = 0.3
        max_retries: int = 0

    for llm in (
        Company(),
        Company().model_copy(),
        Company(model="m").model_copy(update={"model": PLAIN}),
    ):
        assert llm.bind(top_p=0.5).invoke("hi", max_retries=1).text
        assert ernie_server.last_request.body["temperature"] == 0.3
        assert (llm.base_url, llm.timeout) == (ernie_server.base_url, 7)
        assert ernie_server.api_key not in f"{llm!r} {dumps(llm)}"
    for given in ({"base_url": NOWHERE}, {"openai_api_base": NOWHERE}, {"api_base": NOWHERE}):
        assert Company(**given).base_url == NOWHERE
    with pytest.raises(ValidationError, match="api_key is empty"):
        Company(openai_api_key="")


USAGE, NO_USAGE = {"include_usage": True}, {"include_usage": False}
OTHER = {"continuous_usage_stats": True}
STREAM_OPTIONS = [
    ({}, {}, USAGE),
    ({}, {"stream_options": NO_USAGE}, NO_USAGE),
    ({}, {"stream_options": OTHER}, USAGE | OTHER),
    ({}, {"stream_options": None}, None),
    ({"model_kwargs": {"stream_options": NO_USAGE}}, {}, NO_USAGE),
    ({"model_kwargs": {"stream_options": OTHER}}, {}, USAGE | OTHER),
    ({"model_kwargs": {"stream_options": NO_USAGE}}, {"stream_options": USAGE}, USAGE),
    ({"stream_usage": False}, {}, None),
    ({"stream_usage": False}, {"stream_usage": True}, USAGE),
    ({"stream_usage": False}, {"stream_options": USAGE}, USAGE),
    ({"stream_usage": False, "model_kwargs": {"stream_options": USAGE}}, {}, USAGE),
]


@pytest.mark.parametrize("case", STREAM_OPTIONS)
async def test_stream_options_are_sent_with_streams_only(model, ernie_server, case, mode):
    settings, options, sent = case
    for llm, per_call in ((model(**settings), options), (model(**settings).bind(**options), {})):
        chunks = await chunks_of(llm, "hi", mode, **per_call)
        is_stream = mode.endswith("stream")
        assert ernie_server.last_request.body.get("stream_options") == (sent if is_stream else None)
        has_usage = [chunk.usage_metadata is not None for chunk in chunks]
        assert sum(has_usage) == (not is_stream or bool(sent and sent["include_usage"]))


FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize(
    "given",
    [
        {"functions": [FUNCTION]},
        {"functions": [FUNCTION], "function_call": {"name": "f"}},
        {"function_call": "auto"},
    ],
)
@pytest.mark.filterwarnings("ignore:'function")
async def test_functions_are_refused_with_the_remedy(api_model, ernie_server, given, mode):
    with pytest.raises(BadRequestError, match=r"has tools instead of function.*use bind_tools"):
        await ask(api_model().bind(**given), "hi", mode)
    assert ernie_server.requests == []


def test_a_cache_point_among_tools_is_left_out(model, ernie_server):
    marks = [weather, {"cachePoint": {"type": "default"}}]
    for llm, options in ((model().bind_tools(marks), {}), (model(), {"tools": marks})):
        llm.invoke("hi", **options)
        (tool,) = ernie_server.last_request.body["tools"]
        assert tool["function"]["name"] == "weather"


class Starts(BaseCallbackHandler):
    def __init__(self):
        self.params = []

    def on_chat_model_start(self, *_, **kwargs):
        self.params.append(kwargs["invocation_params"])


@pytest.mark.parametrize(
    ("options", "stop", "name"),
    [
        ({}, ["X"], PLAIN),
        ({"stop": ["Y"]}, ["Y"], PLAIN),
        ({"stop_sequences": ["Y"]}, ["Y"], PLAIN),
        ({"stop": []}, [], PLAIN),
        ({"model": FIVE}, ["X"], FIVE),
    ],
)
def test_tracers_see_stop_and_model(model, options, stop, name):
    starts = Starts()
    model(stop=["X"], callbacks=[starts]).invoke("hi", **options)
    (params,) = starts.params
    assert (params["stop"], params["model"], params["model_name"]) == (stop, name, name)
