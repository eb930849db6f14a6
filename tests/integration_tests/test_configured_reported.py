"""Models that are bound, configured or wrapped, as users of comparable packages have reported."""

import copy

import httpx
import httpx2
import pytest
from langchain.agents import create_agent
from langchain_core.load import dumps
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import ConfigurableField

from langchain_aimlernie import ChatAimlErnie, SpendTracker, errors
from langchain_aimlernie.testing import Reply
from tests.support.agents import weather
from tests.support.modes import MODES, chunks_of
from tests.support.structured import City


def chosen(llm):
    """Return a choice of models of which the config selects one that is made when it is needed."""
    other = llm.model_copy(update={"temperature": 0.25})
    choice = llm.configurable_alternatives(
        ConfigurableField(id="m"), now=other, later=lambda: other
    )
    return choice.with_config(configurable={"m": "later"})


def configured(llm, **fields):
    return llm.configurable_fields(temperature=ConfigurableField(id="t"), **fields)


WRAPPED = {
    "bind": lambda llm: llm.bind(temperature=0.25),
    "bind, configured": lambda llm: llm.bind(temperature=0.25).with_config(tags=["a"]),
    "bind, retried": lambda llm: llm.bind(temperature=0.25).with_retry(),
    "bind, with a fallback": lambda llm: llm.bind(temperature=0.25).with_fallbacks([llm]),
    "a fallback, bound": lambda llm: (
        llm.with_fallbacks([llm]).bind(temperature=0.25, tools=[]).with_config(tags=["a"])
    ),
    "a fallback, retried, bound": lambda llm: (
        llm.with_fallbacks([llm]).with_retry().bind(temperature=0.25)
    ),
    "configurable": lambda llm: configured(llm).with_config(configurable={"t": 0.25}),
    "configurable, bound": lambda llm: (
        configured(llm).bind(max_tokens=9).with_config(configurable={"t": 0.25})
    ),
    "chosen": chosen,
}
OF_WRAPPED = pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)


@OF_WRAPPED
async def test_tools_of_a_wrapped_model_leave_its_parameters(model, ernie_server, mode, wrap):
    runnable = wrap(model()).bind_tools([weather], tool_choice="any")
    await chunks_of(runnable, "hi", mode)
    body = ernie_server.last_request.body
    assert (body["temperature"], body["tool_choice"]) == (0.25, "required")
    assert [each["function"]["name"] for each in body["tools"]] == ["weather"]


@pytest.mark.parametrize("method", ["auto", "json_schema", "function_calling", "json_mode"])
@OF_WRAPPED
async def test_structured_output_of_a_wrapped_model_leaves_its_parameters(
    model, ernie_server, method, wrap
):
    text = Reply('{"name": "Paris"}')
    call = Reply(tool_calls=[{"name": "City", "args": {"name": "Paris"}}])
    ernie_server.on_request = lambda request: call if "tools" in request.body else text
    runnable = wrap(model()).with_structured_output(City, method=method)
    for mode in MODES:
        assert (await chunks_of(runnable, "hi", mode))[-1] == City(name="Paris")
        body = ernie_server.last_request.body
        assert body["temperature"] == 0.25
        assert ("tools" in body) is (method == "function_calling")
    assert ernie_server.violations == []


@OF_WRAPPED
def test_a_wrapped_model_has_the_attributes_of_the_model(api_model, wrap):
    """Such as langchain's `SummarizationMiddleware` reads."""
    llm = api_model()
    wrapped = wrap(llm)
    assert (wrapped._llm_type, wrapped.profile) == (llm._llm_type, llm.profile)
    assert wrapped.get_num_tokens("hello") == llm.get_num_tokens("hello")


def test_a_model_that_is_bound_decides_how_structured_output_is_asked_for(api_model, ernie_server):
    ernie_server.on_request = lambda request: Reply('{"name": "Paris"}')
    bound = api_model().bind(model="baidu/ernie-4.5-vl-28b-a3b")
    direct = api_model(model="baidu/ernie-4.5-vl-28b-a3b")
    for llm in (bound, direct):
        runnable = llm.with_structured_output(City, stop_sequences=["."])
        assert runnable.invoke("hi") == City(name="Paris")
    first, second = (request.body for request in ernie_server.requests)
    assert first == second
    assert first["stop"] == ["."]


def test_structured_output_of_a_model_with_tools_says_that_they_are_not_sent(model, ernie_server):
    ernie_server.on_request = lambda request: Reply('{"name": "Paris"}')
    bound = model().bind(temperature=0.25).bind_tools([weather], tool_choice="any")
    with pytest.warns(
        UserWarning, match=r"Bound tools are not sent .* pass them as .*tools="
    ) as caught:
        runnable = bound.with_structured_output(City)
    assert caught[0].filename == __file__
    assert runnable.invoke("hi") == City(name="Paris")
    body = ernie_server.last_request.body
    assert body["temperature"] == 0.25
    assert not body.keys() & {"tools", "tool_choice"}


async def test_the_config_of_a_wrapped_model_reaches_its_runs(model, ernie_server):
    ernie_server.on_request = lambda request: Reply('{"name": "Paris"}')
    llm = model().with_config(tags=["mine"])
    several = model().with_fallbacks([model()]).with_config(tags=["mine"])
    for made in (
        llm.bind_tools([weather]),
        llm.with_structured_output(City),
        several.bind_tools([weather]),
        several.with_structured_output(City),
    ):
        events = [event async for event in made.astream_events("hi", include_tags=["mine"])]
        assert "on_chat_model_end" in {event["event"] for event in events}


@pytest.mark.parametrize("mode", MODES[:2])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda llm: llm,
        lambda llm: llm.bind(temperature=0.25),
        lambda llm: llm.bind(temperature=0.25).with_config(tags=["a"]),
        lambda llm: llm.with_fallbacks([llm.bind(temperature=0.25)]),
    ],
)
async def test_a_wrapped_model_is_called_as_often_as_its_retries_say(
    model, ernie_server, mode, wrap
):
    ernie_server.fail(500, times=20)
    llm = wrap(model(max_retries=0))
    retried = llm.with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
    with pytest.raises(errors.InternalServerError):
        await chunks_of(retried, "hi", mode)
    assert len(ernie_server.requests) == (4 if hasattr(llm, "fallbacks") else 2)


def test_an_agent_uses_what_the_config_of_its_call_says(model, ernie_server):
    """Names and order as in a report."""
    fields = {"model_name": "app_model", "openai_api_base": "app_url", "openai_api_key": "app_key"}
    llm = model(base_url="http://127.0.0.1:9/v1", api_key="other", max_retries=0)
    configurable = llm.configurable_fields(
        **{name: ConfigurableField(id=field) for name, field in fields.items()}
    )
    ernie_server.reply(tool_calls=[{"name": "weather", "args": {"city": "Paris"}}])
    ernie_server.reply("sunny")
    config = {
        "app_model": "baidu/ernie-4.5-0.3b",
        "app_url": ernie_server.base_url,
        "app_key": ernie_server.api_key,
    }
    agent = create_agent(configurable, [weather])
    messages = agent.invoke({"messages": "hi"}, {"configurable": config})["messages"]
    assert messages[-1].text == "sunny"
    assert {each.body["model"] for each in ernie_server.requests} == {config["app_model"]}


def test_what_is_made_of_a_configurable_model_lists_its_fields(model):
    llm = configured(model())
    for made in (
        llm,
        llm.bind_tools([weather]),
        llm.with_structured_output(City),
        llm.with_structured_output(City, method="json_schema"),
    ):
        assert [spec.id for spec in made.config_specs] == ["t"]


class Sub(ChatAimlErnie):
    """A class of a user's, whose constructor has parameters of its own."""

    def __init__(self, server, **settings):
        super().__init__(base_url=server.base_url, api_key=server.api_key, **settings)


async def test_a_subclass_with_a_constructor_of_its_own_can_be_changed(ernie_server, mode):
    llm = Sub(ernie_server, temperature=1)
    llm.temperature = 0.5
    changed = llm.model_copy(update={"max_tokens": 9})
    assert type(changed) is Sub
    await chunks_of(changed, "hi", mode, timeout=5)
    assert {"temperature": 0.5, "max_tokens": 9}.items() <= ernie_server.last_request.body.items()


@pytest.mark.parametrize(
    "settings",
    [
        {"callbacks": [SpendTracker()]},
        {"rate_limiter": InMemoryRateLimiter(requests_per_second=1e6)},
        {"http_client": httpx.Client()},
        {"http_client": httpx2.Client(), "stop": ["x"]},
    ],
    ids="-".join,
)
def test_a_deep_copy_shares_what_holds_locks(model, ernie_server, settings):
    llm = model(**settings)
    for again in (copy.deepcopy({"of": [llm]})["of"][0], llm.model_copy(deep=True)):
        assert again == llm
        assert again.stop is not llm.stop or llm.stop is None
        again.invoke("hi")
    assert len(ernie_server.requests) == 2
    for tracker in settings.get("callbacks", ()):
        assert tracker.total.calls == 2


@pytest.mark.parametrize(
    "wrap",
    [
        lambda llm: llm,
        lambda llm: llm.with_retry(),
        lambda llm: llm.with_fallbacks([llm]),
        lambda llm: llm.with_structured_output(City, method="json_schema"),
        lambda llm: llm.with_structured_output(City, retry=1),
    ],
)
def test_secrets_in_a_config_are_sent_and_shown_nowhere(ernie_server, wrap):
    ernie_server.on_request = lambda request: Reply('{"name": "Paris"}')
    names = {"api_key": "mine", "extra_headers": "headers", "temperature": "t"}
    fields = {name: ConfigurableField(id=id_) for name, id_ in names.items()}
    llm = ChatAimlErnie(
        base_url=ernie_server.base_url, api_key="other", default_headers={"x-a": "secret-header"}
    )
    key, headers = ernie_server.api_key, {"x-b": "secret-header"}
    configured = wrap(llm.configurable_fields(**fields)).with_config(
        tags=["x"], configurable={"mine": key, "headers": headers, "t": 0.5}
    )
    configured.invoke("hi")
    request = ernie_server.last_request
    assert request.body["temperature"] == 0.5
    assert (request.headers["authorization"], request.headers["x-b"]) == (
        f"Bearer {key}",
        "secret-header",
    )
    schema = str(configured.config_schema().model_json_schema())
    for shown in (repr(configured), str(configured.with_retry()), dumps(configured), schema):
        assert key not in shown
        assert "secret-header" not in shown


@pytest.mark.parametrize("options", [{"method": "json_schema"}, {"retry": True}])
def test_tools_for_structured_output_are_its_argument(model, options):
    with pytest.raises(NotImplementedError, match=r"tools=\[...\]"):
        model().with_structured_output(City, **options).bind_tools([weather])
