import json
import pickle
import re
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel, ModelProfile
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from pydantic import BaseModel, Field, RootModel

from langchain_aimlernie._structured.output import structured_output
from langchain_aimlernie._structured.schema import encode_response_format
from langchain_aimlernie.errors import RefusalError, StructuredOutputError

METHODS = ("json_schema", "function_calling", "json_mode")


class Joke(BaseModel):
    """Joke to tell user."""

    setup: str
    punchline: str


JOKE = {"setup": "Why do cats sit on keyboards?", "punchline": "To keep an eye on the mouse."}
SCHEMA = Joke.model_json_schema()
FULL_PROFILE = ModelProfile(structured_output=True, tool_calling=True)


@tool
def look_up(word: str) -> str:
    """Look up a word."""
    return word


class Scripted(BaseChatModel):
    """A chat model that gives the answers it is made of, whole or in small pieces."""

    answers: list[Any]
    heard: list[Any] = Field(default_factory=list)
    told: list[Any] = Field(default_factory=list)
    temperature: float | None = None
    parallel_tool_calls: bool | None = None
    streams: bool = True

    @property
    def _llm_type(self):
        return "scripted"

    def bind_tools(self, tools, **kwargs):
        return self.bind(tools=tools, **kwargs)

    def _next(self, messages, kwargs):
        self.heard.append(messages)
        self.told.append(kwargs)
        return self.answers.pop(0)

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        return ChatResult(generations=[ChatGeneration(message=self._next(messages, kwargs))])

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        for chunk in chunks_of(self._next(messages, kwargs)):
            yield ChatGenerationChunk(message=chunk)

    def _should_stream(self, **kwargs):
        return self.streams and super()._should_stream(**kwargs)


def chunks_of(answer):
    yield from (AIMessageChunk(answer.content[i : i + 7]) for i in range(0, len(answer.content), 7))
    for index, call in enumerate([*answer.tool_calls, *answer.invalid_tool_calls]):
        arguments = call["args"] if isinstance(call["args"], str) else json.dumps(call["args"])
        start = {"name": call["name"], "id": call["id"]}
        for i in range(0, len(arguments), 7):
            chunk = {"name": None, "id": None} if i else start
            chunk |= {"args": arguments[i : i + 7], "index": index}
            yield AIMessageChunk("", tool_call_chunks=[chunk])
    last = {"response_metadata": answer.response_metadata, "chunk_position": "last"}
    yield AIMessageChunk("", additional_kwargs=answer.additional_kwargs, **last)


def said(text, reason="stop", **more):
    return AIMessage(text, response_metadata={"finish_reason": reason}, **more)


def called(*calls, text="", reason="tool_calls"):
    """A message whose calls are (name, arguments); arguments that are text are invalid."""
    made = [{"id": f"call_{i}", "name": name, "args": a} for i, (name, a) in enumerate(calls)]
    return AIMessage(
        text,
        tool_calls=[call for call in made if isinstance(call["args"], dict)],
        invalid_tool_calls=[
            {**call, "error": ""} for call in made if isinstance(call["args"], str)
        ],
        response_metadata={"finish_reason": reason},
    )


def answering(method, value=JOKE):
    return called(("Joke", value)) if method == "function_calling" else said(json.dumps(value))


def scripted(*answers, profile=FULL_PROFILE, **settings):
    return Scripted(answers=list(answers), profile=profile, **settings)


async def results(chain):
    """What comes in each of the four ways: the items, and the error at the end or `None`."""
    for way in ("invoke", "ainvoke", "stream", "astream"):
        items, error = [], None
        try:
            if way == "invoke":
                items.append(chain.invoke("a joke"))
            elif way == "ainvoke":
                items.append(await chain.ainvoke("a joke"))
            elif way == "stream":
                items.extend(chain.stream("a joke"))
            else:
                async for item in chain.astream("a joke"):
                    items.append(item)  # noqa: PERF401  what came before an error counts
        except StructuredOutputError as caught:
            error = caught
        yield items, error


# Objects


@pytest.mark.parametrize("method", METHODS)
def test_instances_are_streamed_once_they_are_valid(method):
    chain = structured_output(scripted(answering(method)), Joke, method=method)
    parts = list(chain.stream("a joke"))
    assert all(isinstance(part, Joke) for part in parts)
    assert {part.setup for part in parts} == {JOKE["setup"]}
    assert len(parts) > 2
    assert parts[-1] == Joke(**JOKE)


@pytest.mark.parametrize("method", METHODS)
def test_a_model_that_does_not_stream_gives_the_answer_in_one_part(method):
    chain = structured_output(scripted(answering(method), streams=False), SCHEMA, method=method)
    assert list(chain.stream("a joke")) == [JOKE]


def test_json_mode_takes_any_json_without_a_schema():
    model = scripted(said('```json\n{"a": 1}\n```'), said('[{"a": 1}]'), said('{"a": 1}'))
    chain = structured_output(model, method="json_mode")
    assert chain.invoke("json") == {"a": 1}
    assert chain.invoke("json") == [{"a": 1}]
    assert structured_output(model).invoke("json") == {"a": 1}
    assert model.told[2]["response_format"] == {"type": "json_object"}


def test_a_list_may_be_the_answer():
    class Names(RootModel[list[str]]):
        pass

    model = scripted(said('The names:\n["a", "b"]'), said("[1]: see"))
    chain = structured_output(model, Names)
    assert list(chain.stream("names"))[-1] == Names(["a", "b"])
    with pytest.raises(StructuredOutputError, match="does not fit Names"):
        chain.invoke("names")


def test_the_parser_takes_bare_text_and_no_empty_stream():
    parser = structured_output(scripted(), Joke).steps[-1]
    assert parser.parse(json.dumps(JOKE)) == parser.invoke(json.dumps(JOKE)) == Joke(**JOKE)
    assert list(parser.transform(iter([json.dumps(JOKE)]))) == [Joke(**JOKE)]
    with pytest.raises(StructuredOutputError, match="answered nothing"):
        list(parser.transform(iter([])))


@pytest.mark.parametrize("method", METHODS)
async def test_include_raw_gives_message_and_object(method):
    answer = answering(method)
    chain = structured_output(scripted(*[answer] * 4), SCHEMA, method=method, include_raw=True)
    parsed = {"parsed": JOKE, "parsing_error": None}
    whole, awhole, streamed, astreamed = [items async for items, _ in results(chain)]
    assert whole == awhole == [{"raw": answer, **parsed}]
    for *parts, last in (streamed, astreamed):
        assert [list(part) for part in parts] == [["raw"]] * len(parts)
        assert last == parsed
        total = sum(parts[1:], parts[0]) + last
        assert total["raw"].content == answer.content
        assert list(total) == ["raw", "parsed", "parsing_error"]


async def test_a_call_of_another_tool_is_for_the_caller():
    answer = called(("look_up", {"word": "cat"}))
    model = scripted(answer, answer, answer)
    chain = structured_output(model, Joke, tools=[look_up], include_raw=True)
    assert chain.invoke("a joke") == {"raw": answer, "parsed": None, "parsing_error": None}
    *_, last = [part async for part in chain.astream("a joke")]
    assert last == {"parsed": None, "parsing_error": None}
    with pytest.raises(StructuredOutputError, match="called look_up instead of answering"):
        structured_output(model, Joke, tools=[look_up]).invoke("a joke")


def test_a_pickle_works_like_the_original():
    for method in METHODS:
        original = structured_output(scripted(answering(method)), Joke, method=method, retry=True)
        assert pickle.loads(pickle.dumps(original)).invoke("a joke") == Joke(**JOKE)


def test_the_output_type_is_the_schema():
    for schema, options, expected in [
        (Joke, {}, Joke),
        (Joke, {"retry": True}, Joke),
        (SCHEMA, {}, dict),
        (Joke, {"include_raw": True}, dict),
    ]:
        assert structured_output(scripted(), schema, **options).OutputType is expected
    assert structured_output(scripted(), Joke).get_output_jsonschema()["title"] == "Joke"


# What is sent


@pytest.mark.parametrize("content", [None, "Be kind.", [{"type": "text", "text": "Be kind."}]])
def test_json_mode_puts_the_schema_into_the_system_message(content):
    model = scripted(answering("json_mode"))
    given = [HumanMessage("a joke")]
    if content is not None:
        given = [SystemMessage(content, id="s1", name="n"), *given]
    before = [message.model_copy(deep=True) for message in given]
    structured_output(model, Joke, method="json_mode").invoke(given)
    system, human = model.heard[0]
    assert (system.type, human, given) == ("system", before[-1], before)
    if content is not None:
        assert (system.id, system.name) == ("s1", "n")
        assert system.text.startswith("Be kind.\n\nAnswer")
    assert "Joke to tell user." in system.text
    described = json.loads(system.text[system.text.index('{"') :])
    assert described == encode_response_format(Joke)["json_schema"]["schema"]


def test_every_form_of_input_reaches_the_model_in_json_mode():
    model = scripted(*[answering("json_mode")] * 3)
    chain = structured_output(model, Joke, method="json_mode")
    prompted = ChatPromptTemplate.from_messages([("human", "tell {what}")]) | chain
    prompted.invoke({"what": "one"})
    chain.invoke([("human", "tell one")])
    list(prompted.stream({"what": "one"}))
    assert [messages[1].content for messages in model.heard] == ["tell one"] * 3


@pytest.mark.parametrize(
    ("profile", "sent"),
    [
        (ModelProfile(structured_output=True, tool_calling=True), "response_format"),
        (ModelProfile(structured_output=False, tool_calling=True), "tools"),
        (ModelProfile(structured_output=False, tool_calling=False), "response_format"),
        (None, "response_format"),
    ],
)
def test_auto_follows_the_profile(profile, sent):
    """Without a profile it begins with what enforces the schema."""
    model = scripted(called(("Joke", JOKE), text=json.dumps(JOKE)), profile=profile)
    assert structured_output(model, Joke).invoke("a joke") == Joke(**JOKE)
    assert sent in model.told[0]
    by_prompt = isinstance(model.heard[0][0], SystemMessage)
    assert by_prompt is (profile is not None and not any(profile.values()))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"method": "magic"}, "method='magic' is none of 'auto', 'json_schema'"),
        ({"method": "json_mode", "strict": True}, "strict is no option of method='json_mode'"),
        ({"schema": None, "method": "json_schema"}, "needs a schema"),
        ({"schema": None, "method": "function_calling"}, "needs a schema"),
        ({"tools": [look_up], "method": "json_mode"}, "tools go with method='json_schema' only"),
        ({"tools": [look_up], "method": "function_calling"}, "tools go with"),
        ({"retry": 4}, "retry=4 must be a boolean, or a number from 0 to 3"),
        ({"retry": -1}, "retry=-1"),
        ({"retry": "yes"}, "retry='yes'"),
        ({"include_row": True}, "with_structured_output got include_row"),
        ({"response_format": {"type": "text"}}, "with_structured_output got response_format"),
    ],
)
def test_options_that_cannot_work_are_refused_at_once(options, reason):
    options = {"schema": Joke, **options}
    with pytest.raises(ValueError, match=reason):
        structured_output(scripted(), options.pop("schema"), **options)


# What is no answer

BROKEN = [
    (said("No idea."), "There is no valid JSON; the model answered 'No idea.'"),
    (said(""), "the model answered nothing"),
    (said('{"setup": "Why'), "no valid JSON"),
    (said('{"setup": "a", "punc', "length"), "raise max_tokens"),
    (said('{"setup": "a"}'), "punchline: Field required"),
    (said("{}"), "setup: Field required"),
    (said("null"), "does not fit Joke"),
    (said(json.dumps([JOKE])), "does not fit Joke"),
    (said("", additional_kwargs={"refusal": "I will not."}), "The model refused: 'I will not.'"),
    (AIMessage([{"type": "refusal", "refusal": "I will not."}]), "model refused: 'I will not.'"),
    (said(json.dumps(JOKE), "content_filter"), "stopped by the content filter"),
]
BROKEN_CALLS = [
    (said("Why not?"), "did not call Joke; it answered 'Why not\\?'"),
    (called(("look_up", {"word": "cat"})), "did not call Joke; it called look_up"),
    (called(("Joke", "oops")), "arguments of the call of Joke are no JSON object"),
    (called(("Joke", {"setup": "a"})), "punchline: Field required"),
]
CASES = [
    *(("json_schema", *case) for case in BROKEN),
    *(("json_mode", *case) for case in BROKEN),
    *(("function_calling", *case) for case in BROKEN_CALLS),
]


@pytest.mark.parametrize(("method", "answer", "reason"), CASES)
@pytest.mark.parametrize("schema", [Joke, SCHEMA])
async def test_no_answer_is_an_error_and_never_none(method, answer, reason, schema):
    model = scripted(*[answer] * 8)
    chain = structured_output(model, schema, method=method)
    if schema is SCHEMA and "Field required" in reason:
        reason = "'(punchline|setup)' is a required property"
    async for items, error in results(chain):
        assert None not in items
        assert re.search(reason, str(error))
        assert isinstance(error.llm_output, str)
        assert error.finish_reason == answer.response_metadata.get("finish_reason")
        assert error.ai_message.response_metadata == answer.response_metadata
    chain = structured_output(model, schema, method=method, include_raw=True)
    async for items, error in results(chain):
        assert error is None
        assert items[-1]["parsed"] is None
        assert re.search(reason, str(items[-1]["parsing_error"]))


def test_the_error_tells_the_cause_and_pickles():
    with pytest.raises(StructuredOutputError) as caught:
        structured_output(scripted(said('{"setup": 1}')), Joke).invoke("a joke")
    assert caught.value.__cause__.error_count() == 2
    assert "setup: Input should be a valid string; punchline: Field required" in str(caught.value)
    assert "finish_reason was 'stop'" in str(caught.value)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.ai_message) == (str(caught.value), caught.value.ai_message)


# Asking again


async def test_the_model_is_asked_again_until_the_tries_are_used_up():
    good, bad = answering("json_schema"), said(json.dumps({"setup": "a"}))
    async for items, error in results(
        structured_output(scripted(*[said("no"), bad, good] * 4), Joke, retry=2)
    ):
        assert (error, items[-1]) == (None, Joke(**JOKE))
    async for items, error in results(
        structured_output(scripted(*[said("no"), said("still no")] * 4), Joke, retry=True)
    ):
        assert items == []
        assert "still no" in str(error)


async def test_include_raw_asks_again_unless_it_streams():
    good = answering("json_schema")
    model = scripted(said("no"), good, said("no"), said("still no"), said("no"), said("no"))
    chain = structured_output(model, Joke, retry=True, include_raw=True)
    whole, failed, streamed, astreamed = [items async for items, _ in results(chain)]
    assert whole == [{"raw": good, "parsed": Joke(**JOKE), "parsing_error": None}]
    assert "still no" in str(failed[-1]["parsing_error"])
    for *_, last in (streamed, astreamed):
        assert isinstance(last["parsing_error"], StructuredOutputError)
    assert model.answers == []


@pytest.mark.parametrize(
    ("failed", "shown"),
    [
        (said("no"), [("ai", None), ("human", None)]),
        (said(""), [("human", None)]),
        (
            called(("look_up", {"word": "cat"}), ("Joke", "{oops")),
            [("ai", None), ("tool", "call_0"), ("tool", "call_1")],
        ),
    ],
)
def test_the_answer_is_shown_with_a_reply_to_each_of_its_calls(failed, shown):
    method = "function_calling" if len(shown) > 2 else "json_schema"
    model = scripted(failed, failed, answering(method))
    structured_output(model, Joke, method=method, retry=2).invoke("a joke")
    _, *sent = model.heard[2]
    assert [(each.type, getattr(each, "tool_call_id", None)) for each in sent] == shown * 2


@pytest.mark.parametrize(
    "refusal", [said("", additional_kwargs={"refusal": "No."}), said("", "content_filter")]
)
async def test_a_refusal_is_not_asked_again(refusal):
    model = scripted(*[refusal] * 4)
    async for _, error in results(structured_output(model, Joke, retry=3)):
        assert isinstance(error, RefusalError)


async def test_a_stream_that_has_given_something_ends_with_the_error():
    cut = said('{"setup": "Why", "punch', "length")
    chain = structured_output(scripted(*[cut] * 6), SCHEMA, retry=True)
    _, _, (items, error), (aitems, aerror) = [each async for each in results(chain)]
    assert items[-1] == {"setup": "Why"}
    assert (aitems, str(aerror)) == (items, str(error))
    assert "cut off by the token limit" in str(error)


def test_settings_and_callbacks_reach_every_try():
    class Tracer(BaseCallbackHandler):
        starts = 0

        def on_chat_model_start(self, *args, **kwargs):
            self.starts += 1

    tracer = Tracer()
    model = scripted(said("no"), answering("json_mode"))
    chain = structured_output(model, Joke, method="json_mode", retry=True)
    chain.bind(temperature=0.1).invoke("a joke", config={"callbacks": [tracer]})
    assert [told["temperature"] for told in model.told] == [0.1, 0.1]
    assert tracer.starts == 2
    assert all(isinstance(messages[0], SystemMessage) for messages in model.heard)


def test_errors_of_the_model_are_not_asked_again():
    class Down(Scripted):
        def _generate(self, *args, **kwargs):
            raise ConnectionError("down")

    with pytest.raises(ConnectionError):
        structured_output(Down(answers=[]), Joke, retry=True).invoke("a joke")
