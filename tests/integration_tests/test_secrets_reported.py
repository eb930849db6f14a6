"""Secrets: which parameters are rejected as secrets, and that nothing shows a bound one."""

import traceback
import warnings
from functools import partial

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.load import dumpd, dumps, loads
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import ConfigurableField
from pydantic import SecretBytes, SecretStr, ValidationError

from langchain_aimlernie import ChatAimlErnie, errors
from langchain_aimlernie.profiles import DEFAULT_MODEL
from tests.support.everything import Everything
from tests.support.modes import MODES, ask, chunks_of

SECRET = "sk-very-5ecret-0123456789"
PLAIN = "tenant-5ecret-9876543210"

REFUSED_NAMES = (
    *("aimlapi_api_key", "apikey", "apiKey", "openaiAPIKey", "OPENAI_API_KEY", "api-key"),
    *("api_key_2", "x_api_key", "key", "token", "access_token", "accessToken", "bearer_token"),
    *("hf_token", "secret", "client_secret", "qianfan_ak", "qianfan_sk", "password"),
    *("Authorization", "authorization", "proxy_authorization"),
)
REFUSED_VALUES = (
    *(SECRET, f"Bearer {PLAIN}", "bce-v3/ALTAK-0123456789"),
    *(SecretStr("any"), SecretBytes(b"any"), b"sk-0123456789"),
    *({"Authorization": f"Bearer {PLAIN}"}, {"mcp": {"headers": {"X-Api-Key": SECRET}}}),
)
REFUSED = [*((name, PLAIN) for name in REFUSED_NAMES), *(("user", each) for each in REFUSED_VALUES)]
PASSED_NAMES = (
    *("max_output_tokens", "min_tokens", "stop_token_ids", "prompt_cache_key", "logit_bias"),
    *("tokenizer", "top_k", "keys", "keyword", "monkey", "secretary", "token_limit", "eos_token"),
    *("reasoning_effort",),
)
PASSED_VALUES = ("a word", "sk-SK", 5, 0.5, ["sk-a list of words"], {"a": 1}, None, True)
PASSED = {
    **dict.fromkeys(PASSED_NAMES, "value"),
    **{f"user_{number}": value for number, value in enumerate(PASSED_VALUES)},
    "timings_per_token": True,
    "max_token": 5,
}

BINDINGS = {
    "bind": lambda llm, options: llm.bind(**options),
    "bind twice": lambda llm, options: llm.bind(temperature=1).bind(**options),
    "bind, then bind": lambda llm, options: llm.bind(**options).bind(temperature=1),
    "bind, with_config": lambda llm, options: llm.bind(**options).with_config(tags=["a"]),
    "with_config, bind": lambda llm, options: llm.with_config(tags=["a"]).bind(**options),
    "bind, with_retry": lambda llm, options: llm.bind(**options).with_retry(),
    "with_retry, bind": lambda llm, options: llm.with_retry().bind(**options),
    "bind, with_fallbacks": lambda llm, options: llm.bind(**options).with_fallbacks([llm]),
    "with_fallbacks, bind": lambda llm, options: llm.with_fallbacks([llm]).bind(**options),
    "a bound fallback": lambda llm, options: llm.with_fallbacks([llm.bind(**options)]),
    "with_types, bind": lambda llm, options: llm.with_types(output_type=dict).bind(**options),
    "with_listeners, bind": lambda llm, options: llm.with_listeners(on_end=print).bind(**options),
    "with_alisteners, bind": lambda llm, options: llm.with_alisteners().bind(**options),
    "bind_tools": lambda llm, options: llm.bind_tools([], **options),
    "bind_tools, bind": lambda llm, options: llm.bind_tools([]).bind(**options),
    "with_structured_output": lambda llm, options: llm.with_structured_output(
        method="json_mode", **options
    ),
    "with_structured_output, bind": lambda llm, options: llm.with_structured_output(
        method="json_mode"
    ).bind(**options),
    "with_structured_output, with_retry, bind": lambda llm, options: (
        llm.with_structured_output(method="json_mode", retry=True).with_retry().bind(**options)
    ),
    "configurable_alternatives, bind": lambda llm, options: llm.configurable_alternatives(
        ConfigurableField(id="which"), other=llm
    ).bind(**options),
    "configurable_fields, bind": lambda llm, options: llm.configurable_fields(
        temperature=ConfigurableField(id="heat")
    ).bind(**options),
    "a chain": lambda llm, options: llm.bind(**options) | StrOutputParser(),
}
WAYS = {
    **{
        name: lambda make, options, bind=bind: bind(make(), options)
        for name, bind in BINDINGS.items()
    },
    "constructor": lambda make, options: make(**options),
    "model_kwargs": lambda make, options: make(model_kwargs=options),
    "extra_body": lambda make, options: make(extra_body=options),
    "bind: model_kwargs": lambda make, options: make().bind(model_kwargs=options),
    "bind: extra_body": lambda make, options: make().bind(extra_body=options),
    "model_copy": lambda make, options: make().model_copy(update=dict(options)),
    "model_copy: model_kwargs": lambda make, options: make().model_copy(
        update={"model_kwargs": dict(options)}
    ),
    "setattr: model_kwargs": lambda make, options: setattr(make(), "model_kwargs", dict(options)),
    "setattr: extra_body": lambda make, options: setattr(make(), "extra_body", dict(options)),
    "configurable_fields": lambda make, options: (
        make()
        .configurable_fields(extra_body=ConfigurableField(id="body"))
        .invoke("hi", {"configurable": {"body": dict(options)}})
    ),
}


def check_refusal(error, name, *secrets):
    """The error names the parameter and the remedy, and contains no secret."""
    assert isinstance(error, ValueError)
    for part in (name, "api_key", "default_headers"):
        assert part in str(error)
    shown = [str(error), repr(error), repr(error.__context__), repr(error.__cause__)]
    if isinstance(error, ValidationError):
        shown += [repr(error.errors()), error.json()]
    # Our frames: those of the test and of langchain-core hold what the test gave them.
    trace = traceback.TracebackException.from_exception(error, capture_locals=True)
    shown += [repr(f.locals) for f in trace.stack if "langchain_aimlernie" in f.filename]
    assert not [text for text in shown for secret in secrets if secret in text]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["aimlapi_api_key", "token"])
def test_a_key_under_another_name_is_rejected_everywhere(model, ernie_server, name, way):
    with pytest.raises(ValueError) as caught:
        WAYS[way](model, {name: PLAIN})
    check_refusal(caught.value, name, PLAIN)
    assert ernie_server.requests == []


async def test_a_key_under_another_name_is_rejected_per_call(model, ernie_server, mode):
    for options in ({"token": PLAIN}, {"extra_body": {"token": PLAIN}}, {"user": SECRET}):
        for llm in (model(), model().with_config(tags=["a"])):
            with pytest.raises(errors.BadRequestError, match="looks like a secret") as caught:
                await chunks_of(llm, "hi", mode, **options)
            check_refusal(caught.value, "default_headers")
            assert PLAIN not in str(caught.value)
            assert SECRET not in str(caught.value)
    with pytest.raises(errors.BadRequestError):
        model().batch(["hi"], token=PLAIN)
    assert ernie_server.requests == []


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=repr)
def test_names_and_values_of_secrets_are_rejected(model, name, value):
    for way in ("constructor", "bind", "model_kwargs", "extra_body"):
        with pytest.raises(ValueError) as caught:
            WAYS[way](model, {name: value})
        check_refusal(caught.value, name, SECRET, PLAIN)


def test_other_names_and_values_are_sent(model, ernie_server):
    for where in ("model_kwargs", "extra_body"):
        model(**{where: PASSED}).invoke("hi")
        body = ernie_server.last_request.body
        assert {name: body.get(name) for name in PASSED} == PASSED


def test_the_model_s_own_key_is_a_secret_in_any_field(monkeypatch):
    key = "a-key-of-no-known-shape"
    for make in (
        lambda: ChatAimlErnie(api_key=key, model_kwargs={"user": key}),
        lambda: ChatAimlErnie(openai_api_key=SecretStr(key), extra_body={"user": f"<{key}>"}),
        lambda: ChatAimlErnie(api_key=key).bind(user=key),
        lambda: ChatAimlErnie(api_key=key).invoke("hi", user=key),
    ):
        with pytest.raises(ValueError, match="user"):
            make()
    monkeypatch.setenv("AIMLAPI_API_KEY", key)
    with pytest.raises(ValueError, match="user"):
        ChatAimlErnie(model_kwargs={"user": key})


@pytest.mark.parametrize("name", ["headers", "extra_headers"])
def test_headers_are_headers_under_each_name(model, ernie_server, name):
    given = {name: {"X-Team": PLAIN}}
    for llm, options in (
        (model(**given), {}),
        (model(model_kwargs=given), {}),
        (model(default_headers={"X-Team": SecretStr(PLAIN)}), {}),
        (model().bind(**given), {}),
        (model(), given),
    ):
        llm.invoke("hi", **options)
        assert ernie_server.last_request.headers["x-team"] == PLAIN
        assert set(ernie_server.last_request.body) == {"model", "messages"}
        assert PLAIN not in repr(llm) + dumps(llm)


# Whatever shows a bound model

OPTIONS = {
    "api_key": {"api_key": SECRET},
    "openai_api_key": {"openai_api_key": SECRET},
    "a function": {"api_key": partial(str, SECRET)},
    "default_headers": {"default_headers": {"X-Team": SECRET}},
    "extra_headers": {"extra_headers": {"X-Team": SECRET}},
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # of what core caches in a model
@pytest.mark.parametrize(
    ("binding", "option"),
    [
        (binding, option)
        for binding in BINDINGS
        for option in OPTIONS
        if binding == "bind" or option in ("api_key", "default_headers")
    ],
)
def test_a_bound_secret_is_used_and_shown_nowhere(ernie_server, binding, option):
    ernie_server.api_key = None
    ernie_server.on_request = None
    llm = ChatAimlErnie(api_key="the-model-s-own-key", base_url=ernie_server.base_url, cache=None)
    bound = BINDINGS[binding](llm, OPTIONS[option])
    tracer, cache = Everything(), InMemoryCache()
    config = {"callbacks": [tracer]}
    ernie_server.reply('{"a": 1}', times=2)
    with_cache = BINDINGS[binding](llm.model_copy(update={"cache": cache}), OPTIONS[option])
    with_cache.invoke("hi", config)
    if binding != "a bound fallback":
        headers = ernie_server.last_request.headers
        assert SECRET in (headers["authorization"] + headers.get("x-team", ""))
    list(bound.stream("hi", config))
    assert tracer.seen
    assert cache._cache
    shown = {
        "repr": repr(bound),
        "str": str(bound),
        "dumps": dumps(bound),
        "dumpd": repr(dumpd(bound)),
        "model_dump": repr(bound.model_dump()),
        "traces": "".join(tracer.seen),
        "cache": repr(list(cache._cache)),
        "body": repr([request.body for request in ernie_server.requests]),
    }
    assert [how for how, text in shown.items() if SECRET in text] == []


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_secret_of_a_call_is_shown_nowhere(ernie_server, option):
    ernie_server.api_key = None
    tracer, cache = Everything(), InMemoryCache()
    llm = ChatAimlErnie(api_key="k", base_url=ernie_server.base_url, cache=cache)
    for mode in MODES:
        await chunks_of(llm, mode, mode, config={"callbacks": [tracer]}, **OPTIONS[option])
    assert len(tracer.seen) == 4
    assert len(cache._cache) == 2
    assert SECRET not in "".join(tracer.seen) + repr(list(cache._cache))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_rejected_secret_is_not_traced(model):
    for options in ({"token": PLAIN}, {"user": SECRET}, {"extra_body": {"token": PLAIN}}):
        tracer = Everything()
        for mode in ("invoke", "stream"):
            with pytest.raises(errors.BadRequestError):
                await chunks_of(model(callbacks=[tracer]), "hi", mode, **options)
        traced = "".join(tracer.seen)
        # langchain-core's own frames are in the error's traceback, and hold what the test gave.
        for secret in (f"token='{PLAIN}'", f'"token": "{PLAIN}"', SECRET):
            assert secret not in traced


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "config", [{"configurable": {"api_key": SecretStr(SECRET)}}, {"api_key": SECRET, "tags": ["a"]}]
)
def test_a_configurable_key_is_used_and_shown_nowhere(ernie_server, config):
    ernie_server.api_key = None
    tracer, cache = Everything(), InMemoryCache()
    llm = ChatAimlErnie(api_key="k", base_url=ernie_server.base_url, cache=cache)
    flexible = llm.configurable_fields(api_key=ConfigurableField(id="api_key"))
    bound = flexible.with_config(config)
    bound.invoke("hi", {"callbacks": [tracer]})
    assert SECRET in ernie_server.last_request.headers["authorization"]
    (chosen, _) = flexible.with_config(configurable={"api_key": SecretStr(SECRET)}).prepare()
    chain = flexible | StrOutputParser()
    chain.invoke("hi", {"callbacks": [tracer], "configurable": {"api_key": SECRET}})
    assert SECRET in ernie_server.last_request.headers["authorization"]
    shown = [repr(flexible), repr(bound), repr(chosen), dumps(chosen), repr(list(cache._cache))]
    assert SECRET not in "".join([*shown, *tracer.seen])


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_a_bound_model_comes_back_from_its_dump_with_the_key_of_the_environment(ernie_server):
    llm = ChatAimlErnie(api_key="k", base_url=ernie_server.base_url)
    bound = llm.bind(api_key=SECRET, default_headers={"X-Team": SECRET}, temperature=0.5)
    path = ("langchain_aimlernie", "chat_models", "ChatAimlErnie")
    again = loads(
        dumps(bound),
        valid_namespaces=["langchain_aimlernie"],
        allowed_objects="core",
        additional_import_mappings={path: path},
        secrets_map={"AIMLAPI_API_KEY": ernie_server.api_key},
    )
    assert again.invoke("hi").content
    assert ernie_server.last_request.body["temperature"] == 0.5


# Cache keys


def key_of(llm, **options):
    """The cache key of a call."""
    cache = InMemoryCache()
    llm.model_copy(update={"cache": cache}).invoke([HumanMessage("hi")], **options)
    ((_, key),) = cache._cache
    return key


NOT_IN_THE_KEY = {
    "api_key": "local-ernie-key",
    "timeout": 7.5,
    "max_retries": 1,
    "max_connections": 3,
    "stream_idle_timeout": 9.0,
    "client_request_id": "one",
    "default_headers": {"X-Team": PLAIN},
    "metadata": {"a": 1},
    "tags": ["a"],
    "name": "mine",
    "streaming": True,
}
IN_THE_KEY = {
    "model": "baidu/ernie-4.5-0.3b",
    "extra_body": {"user": "a"},
    "model_kwargs": {"user": "a"},
    "stream_usage": False,
    "temperature": 0.5,
    "top_p": 0.5,
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "stop": ["x"],
    "seed": 3,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "response_format": {"type": "json_object"},
    "prediction": {"type": "content", "content": "x"},
    "replay_reasoning": True,
    "output_version": "v1",
}
SETTINGS_ONLY = {"metadata", "tags", "name", "streaming", "output_version"}


@pytest.mark.parametrize("name", NOT_IN_THE_KEY)
def test_a_cache_key_holds_nothing_that_leaves_the_message_the_same(model, name):
    value = NOT_IN_THE_KEY[name]
    assert key_of(model(**{name: value})) == key_of(model())
    if name not in SETTINGS_ONLY:
        assert key_of(model(), **{name: value}) == key_of(model())
        assert key_of(model().bind(**{name: value}).bound, **{name: value}) == key_of(model())


@pytest.mark.parametrize("name", IN_THE_KEY)
def test_a_cache_key_holds_what_changes_the_message(model, name):
    value = IN_THE_KEY[name]
    assert key_of(model(**{name: value})) != key_of(model())
    if name not in SETTINGS_ONLY:
        assert key_of(model(), **{name: value}) == key_of(model(**{name: value}))


@pytest.mark.parametrize("name", ["model_kwargs", "extra_body"])
def test_a_cache_key_holds_messages_that_replace_the_prompt(model, ernie_server, name):
    llm = model(cache=InMemoryCache())
    for text in ("a", "b", "a"):
        llm.invoke("hi", **{name: {"messages": [{"role": "user", "content": text}]}})
    sent = [request.body["messages"][0]["content"] for request in ernie_server.requests]
    assert sent == ["a", "b"]


def test_a_cache_key_holds_the_address(model, ernie_server):
    here, there = ernie_server.base_url, ernie_server.base_url + "/v2"
    assert model()._get_llm_string() != model(base_url=there)._get_llm_string()
    assert model(base_url=there)._get_llm_string(base_url=here) == model()._get_llm_string()


def test_equivalent_calls_have_the_same_cache_key(model):
    assert key_of(model(), stop_sequences=["a"]) == key_of(model(stop=["a"]))
    assert key_of(model(), stop="a") == key_of(model(), stop=["a"])
    assert key_of(model(temperature=0.5, seed=2)) == key_of(model(seed=2), temperature=0.5)
    one, other = (
        ChatAimlErnie(api_key="k", model=name) for name in (DEFAULT_MODEL, "ERNIE-4.5-21B-A3B")
    )
    assert one._get_llm_string() == other._get_llm_string()


def test_a_new_setting_with_a_default_changes_no_cache_key():
    class Newer(ChatAimlErnie):
        added: bool = False

        @classmethod
        def lc_id(cls):
            return ChatAimlErnie.lc_id()

    newer = Newer(api_key="k")._get_llm_string()
    assert newer == ChatAimlErnie(api_key="k")._get_llm_string()
    assert Newer(api_key="k", added=True)._get_llm_string() != newer


async def test_calls_that_differ_in_a_timeout_share_an_entry(model, ernie_server):
    llm = model(cache=InMemoryCache())
    for options in ({}, {"timeout": 30}, {"max_retries": 0}, {"request_timeout": 20}):
        for mode in MODES[:2]:
            await ask(llm, "hi", mode, **options)
    assert len(ernie_server.requests) == 1
    for mode in MODES:
        assert await ask(llm, "hi", mode, cache=False)
        assert "cache" not in ernie_server.last_request.body
    llm.bind(cache=False).invoke("hi")
    assert len(ernie_server.requests) == 6
    assert ernie_server.violations == []


@pytest.mark.parametrize(("name", "value"), [("rate_limiter", None), ("verbose", True)])
def test_fields_that_a_call_cannot_set_are_not_sent(model, ernie_server, name, value):
    with pytest.warns(UserWarning, match=name):
        model().invoke("hi", **{name: value})
    assert set(ernie_server.last_request.body) == {"model", "messages"}


def test_no_warning_precedes_the_error_about_a_secret():
    with warnings.catch_warnings(record=True, action="always") as seen, pytest.raises(ValueError):
        ChatAimlErnie(token=PLAIN)
    assert seen == []


def test_wrappers_are_traced_under_the_names_of_core_s_classes(model):
    llm = model()
    for name, wrapper in {
        "RunnableWithFallbacks": llm.with_fallbacks([llm]),
        "RunnableSequence": llm.with_structured_output({"type": "object"}, method="json_schema"),
        "ChatAimlErnie": llm.bind(temperature=1).with_retry().with_config(tags=["a"]),
    }.items():
        assert wrapper.get_name() == name
