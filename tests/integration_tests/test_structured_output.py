import json
from typing import Annotated, Literal

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import BaseModel, Field
from pydantic.v1 import BaseModel as BaseModelV1
from typing_extensions import TypedDict

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie.errors import RefusalError, StructuredOutputError

METHODS = ("json_schema", "function_calling", "json_mode")


class Joke(BaseModel):
    """Joke to tell user."""

    setup: str = Field(description="question to set up a joke")
    punchline: str = Field(description="answer to resolve the joke")


class JokeV1(BaseModelV1):
    """Joke to tell user."""

    setup: str
    punchline: str


class JokeDict(TypedDict):
    """Joke to tell user."""

    setup: Annotated[str, ..., "question to set up a joke"]
    punchline: Annotated[str | None, None, "answer to resolve the joke"]


class Basket(BaseModel):
    jokes: list[Joke]
    mood: Literal["dry", "silly"]
    next: "Basket | None" = None


JOKE = {"setup": "为什么猫坐在键盘上?", "punchline": "To keep an eye on the mouse."}
TEXT = json.dumps(JOKE, ensure_ascii=False)
SCHEMA = Joke.model_json_schema()
WRAPPED = {"name": "joke", "schema": SCHEMA}


@tool
def look_up(word: str) -> str:
    """Look up a word in the dictionary."""
    return f"{word} is a word"


@pytest.fixture
async def model(ernie_server):
    made = ChatAimlErnie(
        api_key=ernie_server.api_key, base_url=ernie_server.base_url, max_retries=0
    )
    with made:
        async with made:
            yield made
    assert ernie_server.violations == []
    assert [path for request in ernie_server.requests for path in request.ignored] == []
    assert ernie_server.pending == 0


def as_reply(method, text=TEXT, **more):
    if method == "function_calling":
        return {"tool_calls": [{"name": "Joke", "args": text}], **more}
    return {"text": text, **more}


# With what the server makes up itself


@pytest.mark.parametrize("method", ["auto", *METHODS])
@pytest.mark.parametrize("schema", [Joke, JokeV1, JokeDict, Basket, SCHEMA, WRAPPED])
async def test_every_schema_and_method_is_answered(model, schema, method):
    chain = model.with_structured_output(schema, method=method)
    expected = schema if isinstance(schema, type) and schema is not JokeDict else dict
    question = "Tell me a joke about cats."
    answers = [
        chain.invoke(question),
        await chain.ainvoke(question),
        list(chain.stream(question))[-1],
        [part async for part in chain.astream(question)][-1],
    ]
    assert all(isinstance(answer, expected) for answer in answers)
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize(
    "name",
    ["baidu/ernie-4.5-21b-a3b-thinking", "baidu/ernie-5.0", "baidu/ernie-4.5-vl-28b-a3b"],
)
@pytest.mark.parametrize("method", METHODS)
def test_every_family_takes_every_method(model, name, method):
    chain = model.with_structured_output(Joke, method=method, model=name)
    assert isinstance(chain.invoke("Tell me a joke; answer with Joke."), Joke)


SENT = {
    "auto": {"response_format": "json_schema"},
    "json_schema": {"response_format": "json_schema"},
    "function_calling": {
        "tool_choice": {"type": "function", "function": {"name": "Joke"}},
        "parallel_tool_calls": False,
    },
    "json_mode": {"response_format": "json_object"},
}


@pytest.mark.parametrize("strict", [None, True, False])
@pytest.mark.parametrize("method", SENT)
def test_each_method_is_sent_in_its_form(model, ernie_server, method, strict):
    if method == "json_mode":
        strict = None
    prompt = ChatPromptTemplate.from_messages([("system", "Be kind."), ("human", "{what}")])
    chain = model.with_structured_output(Joke, method=method, strict=strict, seed=7).bind(top_p=0.5)
    assert isinstance((prompt | chain).invoke({"what": "a joke"}), Joke)
    assert isinstance(list((prompt | chain).stream({"what": "a joke"}))[-1], Joke)
    body = ernie_server.last_request.body
    assert (body["seed"], body["top_p"]) == (7, 0.5)
    system, human = body["messages"]
    assert human == {"role": "user", "content": "a joke"}
    assert ("punchline" in system["content"]) is (method == "json_mode")
    for key, value in SENT[method].items():
        assert (body[key]["type"] if key == "response_format" else body[key]) == value
    sent = body["tools"][0]["function"] if "tools" in body else body["response_format"]
    assert sent.get("json_schema", sent).get("strict") is strict


def test_a_parameter_wins_over_that_of_the_method(model, ernie_server):
    options = {"tool_choice": "auto", "parallel_tool_calls": True}
    chain = model.with_structured_output(Joke, method="function_calling", **options)
    ernie_server.reply(**as_reply("function_calling"))
    chain.invoke("a joke")
    assert {key: ernie_server.last_request.body[key] for key in options} == options


class Tracer(BaseCallbackHandler):
    def __init__(self):
        self.schemas = []

    def on_chat_model_start(self, serialized, messages, *, options=None, **kwargs):
        traced = options["ls_structured_output_format"]
        self.schemas.append((traced["schema"], traced["kwargs"]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("schema", [Joke, JokeV1, SCHEMA])
async def test_tracers_are_told_the_schema_and_the_wire_is_not(model, ernie_server, schema, method):
    tracer = Tracer()
    chain = model.with_structured_output(schema, method=method, strict=None)
    chain.invoke("a joke", config={"callbacks": [tracer]})
    async for _ in chain.astream("a joke", config={"callbacks": [tracer]}):
        pass
    traced = (convert_to_json_schema(schema), {"method": method, "strict": None})
    assert tracer.schemas == [traced] * 2
    assert not any("ls_structured_output_format" in each.body for each in ernie_server.requests)


@pytest.mark.parametrize("options", [*({"method": method} for method in METHODS), {"retry": True}])
async def test_partial_objects_are_events_of_the_parser(model, ernie_server, options):
    ernie_server.reply(**as_reply(options.get("method")))
    chain = model.with_structured_output(SCHEMA, **options)
    events = [event async for event in chain.astream_events("a joke", version="v2")]
    parsed = [event["data"]["chunk"] for event in events if event["event"] == "on_parser_stream"]
    assert len(parsed) > 5
    assert parsed[-1] == events[-1]["data"]["output"] == JOKE
    assert sum(event["event"] == "on_chat_model_stream" for event in events) > 5


@pytest.mark.parametrize("options", [{}, {"method": "json_mode"}, {"retry": True}])
async def test_a_stream_that_is_broken_off_gives_its_connection_back(model, options):
    one = model.model_copy(update={"max_connections": 1, "timeout": 5})
    chain = one.with_structured_output(SCHEMA, **options)
    with one:
        async with one:
            for _ in range(3):
                async for _part in chain.astream("a joke"):
                    break
                for _part in chain.stream("a joke"):
                    break
            assert chain.invoke("a joke") == await chain.ainvoke("a joke")


# With scripted answers


@pytest.mark.parametrize("method", METHODS)
async def test_partial_dicts_arrive_token_by_token(model, ernie_server, method):
    ernie_server.reply(**as_reply(method), times=2)
    chain = model.with_structured_output(SCHEMA, method=method)
    parts = list(chain.stream("a joke"))
    assert [part async for part in chain.astream("a joke")] == parts
    assert len(parts) > 5
    assert all(JOKE["setup"].startswith(part.get("setup", "")) for part in parts)
    assert parts[-1] == JOKE


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("streaming", [False, True])
def test_a_cut_answer_is_an_error_that_holds_the_message(model, ernie_server, method, streaming):
    ernie_server.reply(**as_reply(method, text=TEXT[:-12], finish_reason="length"), times=2)
    model = model.model_copy(update={"streaming": streaming})
    chain = model.with_structured_output(Joke, method=method)
    for way in (chain.invoke, lambda question: list(chain.stream(question))):
        with pytest.raises(StructuredOutputError, match="raise max_tokens") as caught:
            way("a joke")
        assert caught.value.finish_reason == "length"
        assert caught.value.ai_message.usage_metadata["output_tokens"] > 0


@pytest.mark.parametrize("include_raw", [False, True])
@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ({"text": "", "refusal": "I will not."}, "I will not."),
        ({"text": "Something bad", "finish_reason": "content_filter"}, "Something bad"),
    ],
)
def test_a_refusal_is_an_error_of_its_own(model, ernie_server, reply, text, include_raw):
    ernie_server.reply(**reply)
    chain = model.with_structured_output(Joke, include_raw=True).pick("parsing_error")
    if not include_raw:
        with pytest.raises(RefusalError) as caught:
            model.with_structured_output(Joke).invoke("a joke")
    error = chain.invoke("a joke") if include_raw else caught.value
    assert isinstance(error, RefusalError)
    assert error.llm_output == text
    assert error.finish_reason == reply.get("finish_reason", "stop")


def test_the_first_call_with_the_name_is_the_answer(model, ernie_server):
    calls = [
        {"name": "Another", "args": {}},
        {"name": "Joke", "args": JOKE},
        {"name": "Joke", "args": {"setup": "x", "punchline": "y"}},
    ]
    ernie_server.reply(tool_calls=calls, times=2)
    chain = model.with_structured_output(Joke, method="function_calling")
    assert chain.invoke("a joke") == Joke(**JOKE)
    assert list(chain.stream("a joke"))[-1] == Joke(**JOKE)


# Asking again


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("broken", ['{"setup": "a"}', '{"setup": '])
def test_the_second_request_shows_the_answer_and_its_error(model, ernie_server, method, broken):
    ernie_server.reply(**as_reply(method, broken))
    ernie_server.reply(**as_reply(method))
    chain = model.with_structured_output(Joke, method=method, retry=True)
    assert chain.invoke("a joke") == Joke(**JOKE)
    first, second = (request.body["messages"] for request in ernie_server.requests)
    assert second[: len(first)] == first
    answer, correction = second[len(first) :]
    assert answer["role"] == "assistant"
    assert "Your answer could not be used." in correction["content"]
    assert broken == '{"setup": ' or "punchline: Field required" in correction["content"]
    if method == "function_calling":
        assert correction["role"] == "tool"
        assert correction["tool_call_id"] == answer["tool_calls"][0]["id"]
    else:
        assert (answer["content"], correction["role"]) == (broken, "user")


# Tools and agents


def test_tools_beside_the_schema_may_be_called(model, ernie_server):
    chain = model.with_structured_output(Joke, tools=[look_up], include_raw=True)
    ernie_server.reply(tool_calls=[{"name": "look_up", "args": {"word": "cat"}}])
    result = chain.invoke("look up cat")
    assert [call["name"] for call in result["raw"].tool_calls] == ["look_up"]
    assert (result["parsed"], result["parsing_error"]) == (None, None)
    ernie_server.reply(TEXT)
    assert chain.invoke("a joke")["parsed"] == Joke(**JOKE)
    body = ernie_server.last_request.body
    assert body["response_format"]["json_schema"]["name"] == "Joke"
    assert [each["function"]["name"] for each in body["tools"]] == ["look_up"]


@pytest.mark.parametrize(
    "response_format",
    [Joke, JokeDict, SCHEMA, {"type": "json_object"}],
)
def test_response_format_takes_schemas_everywhere(model, ernie_server, response_format):
    model.invoke("a joke in JSON", response_format=response_format)
    model.bind(response_format=response_format).invoke("a joke in JSON")
    model.bind_tools([look_up], response_format=response_format).invoke("a joke in JSON")
    sent = [request.body["response_format"] for request in ernie_server.requests]
    assert sent[0] == sent[1] == sent[2]
    kind = "json_object" if response_format == {"type": "json_object"} else "json_schema"
    assert sent[0]["type"] == kind


def test_only_the_schema_s_own_call_is_streamed(model, ernie_server):
    other = {"name": "look_up", "args": '{"setup": "none", "punchline": "none"}'}
    own = {"name": "Joke", "args": TEXT}
    ernie_server.reply(tool_calls=[other, own], chunk_size=40)
    schema = convert_to_json_schema(Joke)
    items = list(model.with_structured_output(schema, method="function_calling").stream("A joke."))
    assert items[-1] == JOKE
    assert not [item for item in items if "none" in item.values()]


def test_a_partial_object_that_stops_being_valid_is_not_none(model, ernie_server):
    class Short(BaseModel):
        word: str = Field("", max_length=3)

    ernie_server.reply('{"word": "abcdefgh"}', chunk_size=60)
    items = []
    with pytest.raises(StructuredOutputError, match="does not fit Short"):
        items.extend(model.with_structured_output(Short, method="json_mode").stream("A word."))
    assert None not in items
