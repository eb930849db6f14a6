"""What the local server makes up: text, tool calls, JSON, thoughts; plain functions, no socket."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_aimlernie.testing import validate_request
from langchain_aimlernie.testing.answers import SIGNATURE, answer, schema_in, tokens_of
from langchain_aimlernie.testing.catalogue import BY_NAME

TEXT = "baidu/ernie-4.5-21b-a3b"
THINKING = "baidu/ernie-4.5-21b-a3b-thinking"
VISION = "baidu/ernie-4.5-vl-28b-a3b"
FIVE = "baidu/ernie-5.0"


def tool(name, said="", /, **properties):
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    function = {"name": name, "description": said, "parameters": schema}
    return {"type": "function", "function": function}


STRING, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
WEATHER = tool("get_weather", location=STRING)
TIME = tool("get_time", city=STRING)
ADD = tool("add", a=INTEGER, b=INTEGER)
MULTIPLY = tool("multiply", a=NUMBER, b=NUMBER)
SEARCH = tool("search", query=STRING)
EMAIL = tool("send_email", recipient=STRING, subject=STRING)
CALCULATOR = tool("calculator", expression=STRING)
CUSTOMER = tool("unicode_customer", customer_name=STRING, description=STRING)
HANDOFF = tool("transfer_to_math_expert", "Ask the math expert for help")
STOCK = tool("quote", "Look up the price of shares on the stock exchange", symbol=STRING)
TOOLS = [WEATHER, TIME, ADD, MULTIPLY, SEARCH, EMAIL, CALCULATOR, CUSTOMER, HANDOFF, STOCK]


def ask(question, model=TEXT, **fields):
    messages = [{"role": "user", "content": question}] if isinstance(question, str) else question
    body = {"model": model, "messages": messages, **fields}
    assert validate_request(body) == []
    return answer(body, BY_NAME[model])


def called(question, tools=TOOLS, **fields):
    reply = ask(question, tools=tools, **fields)
    return [(call["name"], json.loads(call["args"])) for call in reply.tool_calls]


def after(question, *turns):
    """The messages of a turn: for each name and result a call and what it gave."""
    messages = [{"role": "user", "content": question}]
    for number, (name, result) in enumerate(turns):
        function = {"name": name, "arguments": "{}"}
        call = {"id": f"c{number}", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        messages.append({"role": "tool", "content": result, "tool_call_id": f"c{number}"})
    return messages


@pytest.mark.parametrize("question", ["Hi", "你好吗", "", "Tell me a story", "x" * 5_000])
@pytest.mark.parametrize("model", [TEXT, THINKING, VISION, FIVE])
def test_every_text_begins_by_saying_where_it_comes_from(question, model):
    reply = ask(question, model)
    assert reply.text.startswith(SIGNATURE)
    assert reply.reasoning is None or reply.reasoning.startswith(SIGNATURE)


@pytest.mark.parametrize(
    ("question", "calls"),
    [
        ("What is the weather in San Francisco, CA?", [("get_weather", ["San Francisco, CA"])]),
        ("What's the time in New York?", [("get_time", ["New York"])]),
        (
            "Weather in Paris and in London?",
            [("get_weather", ["Paris"]), ("get_weather", ["London"])],
        ),
        (
            "What is the weather in Paris and what time is it in Tokyo?",
            [("get_weather", ["Paris"]), ("get_time", ["Tokyo"])],
        ),
        ("What is 3 + 4?", [("add", [3, 4])]),
        ("What's 3 times 4.5?", [("multiply", [3, 4.5])]),
        ("multiply 3 and 4 and add 5 and 6", [("multiply", [3, 4]), ("add", [5, 6])]),
        ("Search for 'LangChain and ERNIE'", [("search", ["LangChain and ERNIE"])]),
        ("Email bob@example.com, subject: Lunch", [("send_email", ["bob@example.com", "Lunch"])]),
        ("What is (3+4)*2? Use the calculator.", [("calculator", ["(3+4)*2"])]),
        ("北京今天天气怎么样", [("get_weather", ["北京"])]),
        ("Please ask the math expert", [("transfer_to_math_expert", [])]),
        ("What is the price of the shares of ERNIE?", [("quote", ["ERNIE"])]),
        ("Call search(query='x')", [("search", ["x"])]),
        ("Tell me a joke about cats.", []),
        ("Who is Alice?", []),
    ],
)
def test_the_tools_that_a_question_names_are_called_with_its_own_words(question, calls):
    assert [(name, list(args.values())) for name, args in called(question)] == calls


def test_names_in_any_script_become_arguments():
    ((_, arguments),) = called("Create a customer named '你好啊集团' (Hello Group), a company")
    assert arguments["customer_name"] == "你好啊集团"
    reply = ask("Create a customer named '你好啊集团'", tools=[CUSTOMER])
    assert "你好啊集团" in reply.tool_calls[0]["args"]


def test_use_the_tool_means_the_tool():
    greeting = tool("generator", answer_style=STRING)
    assert called("Using the tool, make a Pirate greeting.", [greeting]) == [
        ("generator", {"answer_style": "Pirate"})
    ]
    assert called("Make a Pirate greeting.", [greeting]) == []


def test_without_parallel_calls_they_come_one_by_one():
    question = "What is the weather in Paris and the time in Tokyo?"
    fields = {"tools": TOOLS, "parallel_tool_calls": False}
    steps = [("get_weather", "Sunny."), ("get_time", "Noon.")]
    said = [ask(after(question, *steps[:count]), **fields) for count in range(3)]
    assert [[call["name"] for call in each.tool_calls] for each in said] == [
        ["get_weather"],
        ["get_time"],
        [],
    ]
    assert "Sunny." in said[2].text
    assert "Noon." in said[2].text


@pytest.mark.parametrize("result", ["It's sunny.", '{"result": 3}', "Error: no such place"])
def test_after_a_result_the_answer_is_a_text_that_uses_it(result):
    reply = ask(after("The weather in Paris?", ("get_weather", result)), tools=TOOLS)
    assert reply.tool_calls == []
    assert f"The tool get_weather gave: {result}" in reply.text


def test_a_medium_after_a_result_belongs_to_the_result():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    caption = {"type": "text", "text": "The image of get_weather"}
    messages = after("The weather in Paris?", ("get_weather", "see below"))
    messages.append({"role": "user", "content": [caption, image]})
    reply = ask(messages, VISION, tools=TOOLS)
    assert reply.tool_calls == []
    assert "an image (image/png, 8 bytes)" in reply.text


def test_a_new_question_may_call_the_same_tool_again():
    messages = after("The weather in Paris?", ("get_weather", "Sunny."))
    messages += [{"role": "assistant", "content": "Sunny."}]
    messages += [{"role": "user", "content": "And the weather in Rome?"}]
    assert called(messages) == [("get_weather", {"location": "Rome"})]


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ("required", "get_weather"),
        ({"type": "function", "function": {"name": "get_time"}}, "get_time"),
        ("auto", None),
        ("none", None),
    ],
)
def test_the_choice_of_a_tool_is_kept(choice, name):
    calls = called("Hello!", tool_choice=choice)
    assert [each for each, _ in calls] == ([name] if name else [])


def test_no_tool_means_no_call_even_if_named():
    assert called("The weather in Paris?", tool_choice="none") == []


def test_allowed_tools_are_the_only_ones():
    tools = {"mode": "required", "tools": [{"type": "function", "function": {"name": "add"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": tools}
    reply = ask("The weather?", FIVE, tools=TOOLS, tool_choice=choice)
    assert [call["name"] for call in reply.tool_calls] == ["add"]


def test_a_forced_call_after_a_result_is_one_that_was_not_made_yet():
    report = tool("Report", summary=STRING, temperature=INTEGER)
    messages = after("The weather in Paris?", ("get_weather", '{"temperature": 22}'))
    (call,) = called(messages, [WEATHER, report], tool_choice="required")
    assert call == ("Report", {"summary": "Paris", "temperature": 22})


@pytest.mark.parametrize(
    ("properties", "question", "arguments"),
    [
        ({"unit": {"enum": ["celsius", "fahrenheit"]}}, "in Fahrenheit", {"unit": "fahrenheit"}),
        ({"unit": {"enum": ["celsius", "fahrenheit"]}}, "please", {"unit": "celsius"}),
        ({"level": {"enum": [1, 2]}}, "level=2", {"level": 2}),
        ({"input": {**INTEGER, "minimum": 5}}, "of 3 or 7", {"input": 7}),
        ({"input": {**INTEGER, "exclusiveMaximum": 0}}, "of 3", {"input": -1}),
        ({"b": INTEGER, "a": INTEGER}, "with a=1, b=2", {"b": 2, "a": 1}),
        ({"verbose": {"type": "boolean"}}, "verbose: false", {"verbose": False}),
        ({"verbose": {"type": "boolean"}}, "without verbose", {"verbose": False}),
        ({"verbose": {"type": "boolean"}}, "now", {"verbose": True}),
        ({"xs": {"type": "array", "items": INTEGER}}, "over 1, 2, 3", {"xs": [1, 2, 3]}),
        ({"xs": {"type": "array", "items": STRING}}, "'a', 'b'", {"xs": ["a", "b"]}),
        ({"day": {**STRING, "format": "date"}}, "day: 2024-02-29", {"day": "2024-02-29"}),
        ({"text": STRING}, "this", {"text": "do this"}),
        ({"code": {**STRING, "pattern": "^[A-Z]{3}-\\d+$"}}, "on ABC-7 now", {"code": "ABC-7"}),
    ],
)
def test_arguments_follow_the_schema_and_the_prompt(properties, question, arguments):
    assert called(f"do {question}", [tool("do", **properties)]) == [("do", arguments)]


def test_what_may_be_left_out_is_given_only_if_the_prompt_speaks_of_it():
    schema = {
        "type": "object",
        "properties": {"city": STRING, "unit": {"enum": ["K", "C"], "default": "C"}},
        "required": ["city"],
    }
    function = {"name": "get_weather", "parameters": schema}
    tools = [{"type": "function", "function": function}]
    assert called("The weather in Paris?", tools) == [("get_weather", {"city": "Paris"})]
    assert called("The weather in Paris in K", tools)[0][1] == {"city": "Paris", "unit": "K"}


@given(text=st.text(max_size=300))
@settings(deadline=None)
def test_any_question_gets_an_answer(text):
    ask(text, tools=TOOLS)
    ask(text, tools=TOOLS, tool_choice="required")
    ask(text, response_format={"type": "json_object"})


@given(
    parameters=st.dictionaries(
        st.sampled_from(["type", "properties", "required", "$ref", "additionalProperties"]),
        st.sampled_from([None, 1, "x", "string", "#", [], ["a"], [1], {}, {"a": 1}, {"a": {}}]),
    )
)
@settings(deadline=None)
def test_parameters_that_are_no_schema_get_a_call_with_an_object(parameters):
    tools = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
    for _, arguments in called("The weather in Paris and in Rome?", tools):
        assert isinstance(arguments, dict)


@pytest.mark.parametrize(
    ("prompt", "keys"),
    [
        ("Answer in JSON with 'setup' and 'punchline' keys.", {"setup", "punchline"}),
        ('Use this: {"type": "object", "properties": {"a": {"type": "integer"}}}', {"a"}),
        ('{"name": "n", "schema": {"properties": {"b": {}}}} and { this is no JSON', {"b"}),
        ("Answer in JSON.", {"answer"}),
    ],
)
def test_json_mode_reads_the_schema_from_the_prompt(prompt, keys):
    made = json.loads(ask(prompt, response_format={"type": "json_object"}).text)
    assert made.keys() == keys


def test_a_schema_in_the_system_message_is_found_too():
    assert schema_in(['{"properties": {"a": {}}}', "Go"]) == {"properties": {"a": {}}}


@pytest.mark.parametrize("stop", ["said", ["x", "said"], ["said", ": ", ""]])
def test_the_text_ends_before_the_first_stop(stop):
    reply = ask("Tell me", stop=stop)
    assert reply.text == f"{SIGNATURE} You "
    assert ask("Tell me", stop=None).text == ask("Tell me", stop=["never"]).text


@pytest.mark.parametrize("model", [TEXT, THINKING, FIVE])
@pytest.mark.parametrize("limit", [1, 5, 20, 25, 10_000])
def test_no_more_tokens_than_allowed(model, limit):
    whole, reply = ask("Tell me a story", model), ask("Tell me a story", model, max_tokens=limit)
    assert tokens_of(reply) == min(limit, tokens_of(whole))
    assert reply.finish_reason == ("length" if limit < tokens_of(whole) else None)
    assert whole.text.startswith(reply.text)


def test_a_call_can_be_cut_in_the_middle():
    reply = ask("The weather in Paris?", tools=TOOLS, max_tokens=4)
    assert (reply.finish_reason, reply.tool_calls[0]["args"]) == ("length", '{"location')
    thinking = ask("The weather in Paris?", THINKING, tools=TOOLS, max_tokens=4)
    assert (thinking.finish_reason, list(thinking.tool_calls)) == ("length", [])


@pytest.mark.parametrize(("model", "cut"), [(TEXT, True), (FIVE, False)])
def test_only_models_that_know_it_keep_max_completion_tokens(model, cut):
    reply = ask("Tell me a story", model, max_completion_tokens=2)
    assert (reply.finish_reason == "length") is cut


@pytest.mark.parametrize(
    ("model", "fields", "thinks"),
    [
        (TEXT, {}, False),
        (TEXT, {"enable_thinking": True}, False),
        (THINKING, {}, True),
        (THINKING, {"enable_thinking": False}, True),
        (FIVE, {}, True),
        (FIVE, {"enable_thinking": True}, True),
        (FIVE, {"enable_thinking": False}, False),
    ],
)
def test_only_thinking_models_think_and_only_one_can_be_told_not_to(model, fields, thinks):
    assert (ask("Why?", model, **fields).reasoning is not None) is thinks


def test_a_thinking_budget_bounds_the_thoughts():
    question = "why " * 500
    long = ask(question, FIVE).reasoning
    short = ask(question, FIVE, thinking_budget=100).reasoning
    assert long.startswith(short)
    assert len(short.split()) < 105 < len(long.split())


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"type": "image_url", "image_url": {"url": "https://x.org/a.png"}}, "https://x.org/a.png"),
        (
            {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lGODlh"}},
            "an image (image/gif, 6 bytes)",
        ),
        (
            {"type": "file", "file": {"file_data": "JVBERi0=", "filename": "a.pdf"}},
            "a file (a.pdf, 5 bytes)",
        ),
        ({"type": "file", "file": {}}, "a file (0 bytes)"),
    ],
)
def test_images_and_files_are_acknowledged(part, said):
    content = [{"type": "text", "text": "What is this?"}, part]
    assert said in ask([{"role": "user", "content": content}], VISION).text


def test_the_conversation_so_far_shows_in_the_answer():
    turn = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert "question 3 of our conversation" in ask([*turn, *turn, turn[0]]).text


def test_a_conversation_without_a_question_gets_an_answer():
    assert ask([{"role": "system", "content": "Be kind"}]).text == f"{SIGNATURE} You said: Be kind"
