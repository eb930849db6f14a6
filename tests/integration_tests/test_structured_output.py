"""Structured output over a socket: what is sent, what is read, and what is asked again."""

import json
import pickle
import re
from typing import Annotated, Literal

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableSequence
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import BaseModel, Field
from pydantic.v1 import BaseModel as BaseModelV1
from typing_extensions import TypedDict

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie.errors import RefusalError, StructuredOutputError
from tests.support.modes import each_chunk
from tests.support.structured import WAYS, ask

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
SOME = '{"setup": "a"}'


@tool
def look_up(word: str) -> str:
    """Look up a word in the dictionary."""
    return f"{word} is a word"


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


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


def replies(server, *texts):
    for text in texts:
        server.reply(text)


async def results(chain):
    for way in WAYS:
        yield await ask(chain, way)


# With what the server makes up itself


@pytest.mark.parametrize("method", ["auto", *METHODS])
@pytest.mark.parametrize("schema", [Joke, JokeV1, JokeDict, Basket, SCHEMA, WRAPPED])
async def test_every_schema_and_method_is_answered(model, schema, method):
    chain = model.with_structured_output(schema, method=method)
    expected = schema if isinstance(schema, type) and schema is not JokeDict else dict
    answers = [outcome.answer async for outcome in results(chain)]
    assert all(isinstance(answer, expected) for answer in answers)
    assert all(answer == answers[0] for answer in answers)


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


@pytest.mark.parametrize("content", [None, "Be kind.", [{"type": "text", "text": "Be kind."}], []])
def test_json_mode_puts_the_schema_into_the_system_message(model, ernie_server, content):
    given = [] if content is None else [SystemMessage(content, name="n")]
    given = [*given, HumanMessage("a joke")]
    before = [message.model_copy(deep=True) for message in given]
    chain = model.with_structured_output(Joke, method="json_mode")
    prompted = ChatPromptTemplate.from_messages([("human", "a {what}")]) | chain
    prompted.invoke({"what": "joke"})
    list(prompted.stream({"what": "joke"}))
    for form in ([("human", "a joke")], "a joke", given):
        chain.invoke(form)
    sent = [request.body["messages"] for request in ernie_server.requests]
    assert [(s["role"], human["content"]) for s, human in sent] == [("system", "a joke")] * 5
    assert given == before
    text = sent[-1][0]["content"]
    text = text if isinstance(text, str) else "".join(part["text"] for part in text)
    assert text.strip().startswith("Be kind.\n\nAnswer with" if content else "Answer with JSON")
    assert "Joke (Joke to tell user.)" in text
    described = json.loads(text[text.index('{"') :])
    strict = model.with_structured_output(Joke, method="json_schema").first
    assert described == strict.kwargs["response_format"]["json_schema"]["schema"]


@pytest.mark.parametrize(
    ("profile", "sent"),
    [
        ({"structured_output": True, "tool_calling": True}, "json_schema"),
        ({"structured_output": False, "tool_calling": True}, "tools"),
        ({"structured_output": False, "tool_calling": False}, "json_object"),
        (None, "json_schema"),  # it begins with what enforces the schema
    ],
)
def test_auto_follows_the_profile(model, ernie_server, profile, sent):
    model = model.model_copy(update={"profile": profile})
    assert isinstance(model.with_structured_output(Joke).invoke("a joke, as Joke"), Joke)
    body = ernie_server.last_request.body
    assert body.get("response_format", {"type": "tools"})["type"] == sent


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"method": "magic"}, "method must be one of 'auto', 'json_schema'"),
        ({"method": "json_mode", "strict": True}, "strict is not an option of method='json_mode'"),
        ({"schema": None, "method": "json_schema"}, "needs a schema"),
        ({"schema": None, "method": "function_calling"}, "needs a schema"),
        ({"tools": [look_up], "method": "json_mode"}, "tools need method='json_schema'"),
        ({"tools": [look_up], "method": "function_calling"}, "tools need"),
        ({"tools": look_up}, "tools must be a list"),
        (
            {"schema": {"properties": {"a": {"type": "str"}}}},
            r"not a valid .*: properties\.a\.type",
        ),
        ({"strict": 1}, "strict must be True, False or None; got 1"),
        ({"strict": "true", "method": "function_calling"}, "strict must be .*; got 'true'"),
        ({"tags": ["a"]}, "'tags' belongs to the config of a run: use with_config"),
        ({"callbacks": [], "method": "json_mode"}, "'callbacks' belongs to the config"),
        ({"retry": 4}, "retry=4 must be a boolean, or a number from 0 to 3"),
        ({"retry": -1}, "retry=-1"),
        ({"retry": "yes"}, "retry='yes'"),
        ({"include_row": True}, "with_structured_output got include_row"),
        ({"response_format": {"type": "text"}}, "with_structured_output got response_format"),
    ],
)
def test_options_that_cannot_work_are_refused_at_once(model, options, reason):
    options = {"schema": Joke, **options}
    with pytest.raises(ValueError, match=reason):
        model.with_structured_output(options.pop("schema"), **options)


class Tracer(BaseCallbackHandler):
    def __init__(self):
        self.schemas = []

    def on_chat_model_start(self, serialized, messages, *, options=None, **kwargs):
        traced = options["ls_structured_output_format"]
        self.schemas.append((traced["schema"], traced["kwargs"]))


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


# Objects


@pytest.mark.parametrize("schema", [Joke, SCHEMA])
async def test_partial_objects_are_streamed(model, ernie_server, method, schema):
    ernie_server.reply(**as_reply(method), times=2)
    chain = model.with_structured_output(schema, method=method)
    parts = list(chain.stream("a joke"))
    assert [part async for part in chain.astream("a joke")] == parts
    assert len(parts) > 2
    if schema is Joke:  # as soon as they are valid
        assert {part.setup for part in parts} == {JOKE["setup"]}
        assert parts[-1] == Joke(**JOKE)
    else:
        assert all(JOKE["setup"].startswith(part.get("setup", "")) for part in parts)
        assert len({part.get("setup") for part in parts}) > 3
        assert parts[-1] == JOKE


@pytest.mark.slow
def test_instances_are_streamed_behind_a_null_in_the_place_of_an_absent_field(model, ernie_server):
    class Note(BaseModel):
        tags: list[str] = []
        text: str = ""

    text = "It goes on for a while. " * 5
    ernie_server.reply(json.dumps({"tags": None, "text": text}), chunk_size=4)
    parts = list(model.with_structured_output(Note).stream("a note"))
    assert len(parts) > 5
    assert all(text.startswith(part.text) for part in parts)
    assert parts[-1] == Note(text=text)


def test_a_model_that_does_not_stream_gives_the_answer_in_one_part(model, ernie_server, method):
    ernie_server.reply(**as_reply(method))
    model = model.model_copy(update={"disable_streaming": True})
    assert list(model.with_structured_output(SCHEMA, method=method).stream("a joke")) == [JOKE]


def test_json_mode_takes_any_object_or_list_without_a_schema(model, ernie_server):
    chain = model.with_structured_output(method="json_mode")
    for text, value in (('```json\n{"a": 1}\n```', {"a": 1}), ('[{"a": 1}]', [{"a": 1}])):
        ernie_server.reply(text, times=2)
        assert chain.invoke("json") == model.with_structured_output().invoke("json") == value
    body = ernie_server.last_request.body
    assert body["response_format"] == {"type": "json_object"}
    assert "JSON" in body["messages"][0]["content"]
    ernie_server.reply("null")
    with pytest.raises(StructuredOutputError):
        chain.invoke("json")


@pytest.mark.parametrize(
    "options", [{"method": "auto"}, *({"method": method} for method in METHODS), {"retry": True}]
)
@pytest.mark.parametrize("profile", [{"structured_output": True}, None])
async def test_the_model_and_the_parser_work_by_themselves(model, ernie_server, options, profile):
    model = model.model_copy(update={"profile": profile})
    chain = model.with_structured_output(Joke, **options)
    assert chain.steps == [chain.first, chain.last]
    assert chain.first.bound.max_retries == 0
    assert ("response_format" in chain.first.kwargs) is ("tools" not in chain.first.kwargs)
    assert isinstance(chain, RunnableSequence) or profile is None or "retry" in options
    ernie_server.reply(**as_reply(options.get("method")), times=2)
    assert chain.last.invoke(chain.first.invoke("a joke")) == Joke(**JOKE)
    first, *rest = [chunk async for chunk in chain.first.astream("a joke")]
    assert await chain.last.ainvoke(sum(rest, first)) == Joke(**JOKE)
    for request in ernie_server.requests:
        assert "punchline" in json.dumps(request.body)


def test_a_setting_that_is_changed_later_applies(model, ernie_server, method):
    chain = model.with_structured_output(Joke, method=method)
    model.temperature = 0.5
    assert isinstance(chain.invoke("a joke"), Joke)
    assert ernie_server.last_request.body["temperature"] == 0.5


def test_the_parser_takes_bare_text_and_no_empty_stream(model):
    parser = model.with_structured_output(Joke, method="json_schema").steps[-1]
    assert parser.parse(TEXT) == parser.invoke(TEXT) == Joke(**JOKE)
    assert list(parser.transform(iter([TEXT]))) == [Joke(**JOKE)]
    with pytest.raises(StructuredOutputError, match="answered nothing"):
        list(parser.transform(iter([])))
    with pytest.raises(RefusalError, match="refused: 'I will not"):
        parser.invoke(AIMessage([{"type": "refusal", "refusal": "I will not."}]))


async def test_include_raw_gives_message_and_object(model, ernie_server, method):
    ernie_server.reply(**as_reply(method), times=4)
    chain = model.with_structured_output(SCHEMA, method=method, include_raw=True)
    parsed = {"parsed": JOKE, "parsing_error": None}
    whole, awhole, streamed, astreamed = [items async for items, _ in results(chain)]
    for *parts, last in (streamed, astreamed):
        assert [list(part) for part in parts] == [["raw"]] * len(parts)
        assert last == parsed
    for first, *rest in (whole, awhole, streamed, astreamed):
        assert next(iter(first)) == "raw"
        total = sum(rest, first)
        raw = total.pop("raw")
        assert total == parsed
        assert raw.usage_metadata["total_tokens"] > 0
        if method == "function_calling":
            assert raw.tool_calls[0]["args"] == JOKE
        else:
            assert raw.text == TEXT


def test_the_output_type_is_the_schema(model):
    for schema, options, expected in [
        (Joke, {}, Joke),
        (Joke, {"retry": True}, Joke),
        (SCHEMA, {}, dict),
        (Joke, {"include_raw": True}, dict),
    ]:
        assert model.with_structured_output(schema, **options).OutputType is expected
    assert model.with_structured_output(Joke).get_output_jsonschema()["title"] == "Joke"


@pytest.mark.slow
async def test_the_first_call_with_the_name_is_the_answer(model, ernie_server):
    calls = [
        {"name": "Another", "args": '{"setup": "none", "punchline": "none"}'},
        {"name": "Joke", "args": TEXT},
        {"name": "Joke", "args": {"setup": "none", "punchline": "none"}},
    ]
    ernie_server.reply(tool_calls=calls, times=4, chunk_size=40)
    schema = convert_to_json_schema(Joke)
    async for outcome in results(model.with_structured_output(schema, method="function_calling")):
        assert outcome.answer == JOKE
        assert not [item for item in outcome.items if "none" in item.values()]


# What is no answer

BROKEN = [
    ({"text": "No idea."}, "There is no valid JSON; the model answered 'No idea.'"),
    ({"text": ""}, "the model answered nothing"),
    ({"text": '{"setup": "Why'}, "no valid JSON"),
    ({"text": SOME}, "punchline: Field required"),
    ({"text": "{}"}, "setup: Field required"),
    ({"text": "null"}, "does not fit Joke"),
    ({"text": f"[{TEXT}, {TEXT}]"}, "does not fit Joke"),
    ({"text": "", "refusal": "I will not."}, "The model refused: 'I will not.'"),
    ({"text": TEXT, "finish_reason": "content_filter"}, "stopped by the content filter"),
    ({"text": TEXT[:-12], "finish_reason": "length"}, "no valid JSON.* raise max_tokens"),
]
BROKEN_CALLS = [
    ({"text": "Why not?"}, "did not call Joke; it answered 'Why not\\?'"),
    ({"tool_calls": [{"name": "look_up", "args": {}}]}, "did not call Joke; it called look_up"),
    (
        as_reply("function_calling", "{oops"),
        "arguments of the call of Joke are not a JSON object .Expecting .*, character 2.: .{oops",
    ),
    (as_reply("function_calling", SOME), "punchline: Field required"),
    (as_reply("function_calling", TEXT[:-12], finish_reason="length"), "raise max_tokens"),
]
CASES = [
    *(("json_schema", *case) for case in BROKEN),
    *(("json_mode", *case) for case in BROKEN),
    *(("function_calling", *case) for case in BROKEN_CALLS),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("schema", [Joke, SCHEMA])
async def test_no_answer_is_an_error_and_never_none(model, ernie_server, case, schema):
    method, reply, reason = case
    ernie_server.reply(**reply, times=8)
    if schema is SCHEMA and "Field required" in reason:
        reason = "'(punchline|setup)' is a required property"
    finish_reason = reply.get("finish_reason", "tool_calls" if "tool_calls" in reply else "stop")
    is_refused = "refusal" in reply or finish_reason == "content_filter"
    async for items, error in results(model.with_structured_output(schema, method=method)):
        assert None not in items
        assert re.search(reason, str(error))
        assert (
            error.llm_output == (reply.get("refusal") or reply.get("text")) or "tool_calls" in reply
        )
        assert error.finish_reason == finish_reason
        assert error.ai_message.response_metadata["finish_reason"] == finish_reason
        assert error.ai_message.usage_metadata["output_tokens"] >= 0
        assert isinstance(error, RefusalError) is is_refused
    chain = model.with_structured_output(schema, method=method, include_raw=True)
    async for items, error in results(chain):
        assert error is None
        assert items[-1]["parsed"] is None
        assert re.search(reason, str(items[-1]["parsing_error"]))


def test_the_error_tells_the_cause_and_pickles(model, ernie_server):
    ernie_server.reply('{"setup": 1}')
    with pytest.raises(StructuredOutputError) as caught:
        model.with_structured_output(Joke).invoke("a joke")
    assert caught.value.__cause__.error_count() == 2
    assert "setup: Input should be a valid string; punchline: Field required" in str(caught.value)
    assert "finish_reason was 'stop'" in str(caught.value)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.ai_message) == (str(caught.value), caught.value.ai_message)


# Asking again


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
        ids = {"role": "tool", "tool_call_id": answer["tool_calls"][0]["id"]}
        assert ids.items() <= correction.items()
    else:
        assert (answer["content"], correction["role"]) == (broken, "user")


@pytest.mark.parametrize(("texts", "retry"), [(("no", SOME, TEXT), 2), (("no", "still no"), True)])
async def test_the_model_is_asked_again_until_the_tries_are_used_up(
    model, ernie_server, texts, retry
):
    replies(ernie_server, *texts * len(WAYS))
    async for items, error in results(model.with_structured_output(Joke, retry=retry)):
        if texts[-1] == TEXT:
            assert (error, items[-1]) == (None, Joke(**JOKE))
        else:
            assert items == []
            assert "still no" in str(error)


CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "["}}
INPUTS = {
    "a prompt": ChatPromptTemplate.from_messages([("user", "a joke")]).invoke({}),
    "messages": [HumanMessage("a joke")],
    "what core cannot read": [
        *({"role": "user", "content": "a joke"}, {"role": "assistant", "tool_calls": [CALL]}),
        *(("tool", "ok"), ("assistant", None)),
    ],
}


@pytest.mark.parametrize("given", INPUTS.values(), ids=INPUTS)
async def test_every_form_of_input_is_sent_again(model, ernie_server, given):
    replies(ernie_server, *("no", TEXT) * len(WAYS))
    chain = model.with_structured_output(Joke, retry=True)
    for way in WAYS:
        assert [each async for each in each_chunk(chain, given, way)][-1] == Joke(**JOKE)
        first, second = (each.body["messages"] for each in ernie_server.requests[-2:])
        assert second[: len(first)] == first
        assert second[len(first)] == {"role": "assistant", "content": "no"}


async def test_include_raw_asks_again_unless_it_streams(model, ernie_server):
    replies(ernie_server, "no", TEXT, "no", "still no", "no", "no")
    chain = model.with_structured_output(Joke, retry=True, include_raw=True)
    whole, failed, streamed, astreamed = [items async for items, _ in results(chain)]
    assert (whole[-1]["raw"].text, whole[-1]["parsed"]) == (TEXT, Joke(**JOKE))
    assert "still no" in str(failed[-1]["parsing_error"])
    for *_, last in (streamed, astreamed):
        assert isinstance(last["parsing_error"], StructuredOutputError)


TWO_CALLS = [{"name": "look_up", "args": {}}, {"name": "Joke", "args": "{oops"}]


@pytest.mark.parametrize(
    ("failed", "shown"),
    [
        ({"text": "no"}, ["assistant", "user"]),
        ({"text": ""}, ["user"]),
        ({"tool_calls": TWO_CALLS}, ["assistant", "tool", "tool"]),
    ],
)
def test_the_answer_is_shown_with_a_reply_to_each_of_its_calls(model, ernie_server, failed, shown):
    method = "function_calling" if "tool_calls" in failed else "json_schema"
    ernie_server.reply(**failed, times=2)
    ernie_server.reply(**as_reply(method))
    model.with_structured_output(Joke, method=method, retry=2).invoke("a joke")
    _, *sent = ernie_server.last_request.body["messages"]
    assert [message["role"] for message in sent] == shown * 2


@pytest.mark.parametrize("refusal", [{"refusal": "No."}, {"finish_reason": "content_filter"}])
async def test_a_refusal_is_not_asked_again(model, ernie_server, refusal):
    ernie_server.reply("", **refusal, times=4)
    async for _, error in results(model.with_structured_output(Joke, retry=3)):
        assert isinstance(error, RefusalError)


async def test_a_stream_that_has_given_something_ends_with_the_error(model, ernie_server):
    ernie_server.reply('{"setup": "Why", "punch', finish_reason="length", times=6)
    chain = model.with_structured_output(SCHEMA, retry=True)
    _, _, (items, error), (aitems, aerror) = [each async for each in results(chain)]
    assert items[-1] == {"setup": "Why"}
    assert (aitems, str(aerror)) == (items, str(error))
    assert "truncated at the token limit" in str(error)


def test_settings_and_callbacks_reach_every_try(model, ernie_server):
    tracer = Tracer()
    replies(ernie_server, "no", TEXT)
    chain = model.with_structured_output(Joke, method="json_mode", retry=True)
    chain.bind(temperature=0.1).invoke("a joke", config={"callbacks": [tracer]})
    bodies = [request.body for request in ernie_server.requests]
    assert [body["temperature"] for body in bodies] == [0.1, 0.1]
    assert [body["messages"][0]["role"] for body in bodies] == ["system", "system"]
    assert len(tracer.schemas) == 2


# Tools


def test_tools_beside_the_schema_may_be_called(model, ernie_server):
    chain = model.with_structured_output(Joke, tools=[look_up], include_raw=True)
    ernie_server.reply(tool_calls=[{"name": "look_up", "args": {"word": "cat"}}], times=3)
    result = chain.invoke("look up cat")
    assert [call["name"] for call in result.pop("raw").tool_calls] == ["look_up"]
    *_, last = chain.stream("look up cat")
    assert result == last == {"parsed": None, "parsing_error": None}
    with pytest.raises(StructuredOutputError, match="called look_up instead of answering"):
        model.with_structured_output(Joke, tools=[look_up]).invoke("look up cat")
    ernie_server.reply("No joke comes to mind.")
    assert isinstance(chain.invoke("a joke")["parsing_error"], StructuredOutputError)
    ernie_server.reply(TEXT)
    assert chain.invoke("a joke")["parsed"] == Joke(**JOKE)
    body = ernie_server.last_request.body
    assert body["response_format"]["json_schema"]["name"] == "Joke"
    assert [each["function"]["name"] for each in body["tools"]] == ["look_up"]


@pytest.mark.parametrize("schema", [Joke, JokeDict, SCHEMA, {"type": "json_object"}])
def test_response_format_takes_schemas_everywhere(model, ernie_server, schema):
    model.invoke("a joke in JSON", response_format=schema)
    model.bind(response_format=schema).invoke("a joke in JSON")
    model.bind_tools([look_up], response_format=schema).invoke("a joke in JSON")
    first, *others = [request.body["response_format"] for request in ernie_server.requests]
    assert others == [first] * 2
    assert first["type"] == ("json_object" if schema == {"type": "json_object"} else "json_schema")


def test_a_partial_object_that_stops_being_valid_is_not_none(model, ernie_server):
    class Short(BaseModel):
        word: str = Field("", max_length=3)

    ernie_server.reply('{"word": "abcdefgh"}', chunk_size=60)
    items = []
    with pytest.raises(StructuredOutputError, match="does not fit Short"):
        items.extend(model.with_structured_output(Short, method="json_mode").stream("A word."))
    assert None not in items
