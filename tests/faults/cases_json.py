"""Cases inside one JSON answer: odd JSON, odd shapes, odd values."""

from __future__ import annotations

from tests.support.fault_outcomes import JSON_MODES, Case, OneOf, Raises, Returns
from tests.support.response_bytes import (
    INFERENCE_ID,
    KEY,
    MODEL,
    RESPONSE_ID,
    TEXT,
    USAGE,
    aiml_error,
    as_bytes,
    completion,
    openai_error,
    response,
    tool_call,
)

NO_ANSWER = Raises("InvalidResponseError")
BODY = as_bytes(completion())
WEATHER = ("weather", {"city": "Paris"})


def json_case(name: str, body: object, expect: Raises | Returns) -> Case:
    return Case(name, response(body), expect, JSON_MODES)


def gives(name: str, body: object, **expected: object) -> Case:
    return json_case(name, body, Returns(**expected))


def choice(**changes: object) -> dict:
    """An answer whose only choice has these keys changed; None removes nothing."""
    body = completion()
    body["choices"] = [body["choices"][0] | changes]
    return body


def without(body: dict, *keys: str) -> dict:
    return {k: v for k, v in body.items() if k not in keys}


def replaced(old: str, new: str | bytes) -> bytes:
    """The good answer's bytes with a text replaced: for what no encoder would write."""
    return BODY.replace(old.encode(), as_bytes(new))


WHOLE = (
    gives(
        "a good answer",
        completion(),
        metadata={
            "finish_reason": "stop",
            "model_name": "baidu/ernie-4.5-21b-a3b",
            "credits_used": 3,
            "usd_spent": 0.0000015,
            "inference_id": INFERENCE_ID,
            "model_provider": "aimlernie",
        },
    ),
    *(
        json_case(f"JSON that is {name}", text, NO_ANSWER)
        for name, text in {
            "null": "null",
            "a list": "[]",
            "a number": "1",
            "a string": '"hi"',
            "true": "true",
            "an empty object": "{}",
            "NaN": "NaN",
        }.items()
    ),
    *(json_case(f"cut after {n} bytes", BODY[:n], NO_ANSWER) for n in (1, 20, 150, len(BODY) - 1)),
    json_case("trailing junk", BODY + b"}", NO_ANSWER),
    json_case("two answers", BODY + BODY, NO_ANSWER),
    json_case("single quotes", BODY.replace(b'"', b"'"), NO_ANSWER),
    json_case("an event instead of JSON", b"data: " + BODY + b"\n\n", NO_ANSWER),
    json_case("nested 5,000 deep", b"[" * 5000 + b"]" * 5000, NO_ANSWER),
    json_case("nested 200,000 deep", b"[" * 200_000, NO_ANSWER),
    json_case("nested objects", b'{"a":' * 100_000, NO_ANSWER),
    json_case("UTF-16", BODY.decode().encode("utf-16"), NO_ANSWER),
    gives("white space around", b"\r\n\t " + BODY + b"\n\n"),
    gives("a BOM", b"\xef\xbb\xbf" + BODY),
    gives("invalid UTF-8 in the text", replaced(TEXT, b"Hel\xfflo"), text="Hel\ufffdlo"),
    gives("a lone surrogate escape", replaced(TEXT, "Hel\\ud83dlo"), text="Hel\ufffdlo"),
    gives("a surrogate pair escaped", replaced(TEXT, "\\ud83d\\ude00"), text="\U0001f600"),
    gives("NUL in the text", replaced(TEXT, "a\\u0000b"), text="a\0b"),
    gives(
        "line separators in the text",
        completion("a\u2028b\u2029c\x85d"),
        text="a\u2028b\u2029c\x85d",
    ),
    gives(
        "mixed scripts and a newline first",
        completion("\nuncertain但充满希望"),
        text="\nuncertain但充满希望",
    ),
    gives("a text of 2 MB", completion("x" * 2_000_000), text="x" * 2_000_000),
    gives("duplicate keys", replaced('"id":', '"id": "first", "id":')),
    gives(
        "unknown keys everywhere",
        completion(message__sparkle=[{}], glitter={"a": None}, usage=USAGE | {"glow": 1.5}),
    ),
)

NUMBERS = (
    gives("NaN among the costs", replaced('"credits_used": 3', '"credits_used": NaN')),
    gives("1e999 among the costs", replaced('"credits_used": 3', '"credits_used": 1e999')),
    gives(
        "an integer of 3,000 digits", replaced('"created": 1770000000', f'"created": {"9" * 3000}')
    ),
    gives(
        "an integer of 6,000 digits", replaced('"created": 1770000000', f'"created": {"9" * 6000}')
    ),
    gives("created as a float", replaced('"created": 1770000000', '"created": 1770000000.5')),
    gives("an index as a float", replaced('"index": 0', '"index": 0.0')),
    gives("cost as text", completion(meta={"usage": {"credits_used": "3", "usd_spent": "1e-6"}})),
    *(
        gives(f"meta {name}", completion(meta=meta))
        for name, meta in {
            "null": None,
            "a list": [],
            "without usage": {},
            "with usage null": {"usage": None},
            "with usage a list": {"usage": [1]},
        }.items()
    ),
)

DETAILS = {"cached_tokens": None, "audio_tokens": None}
USAGES = (
    gives("usage missing", without(completion(), "usage"), usage=None),
    gives("usage null", completion(usage=None), usage=None),
    gives("usage as floats", completion(usage={k: float(v) for k, v in USAGE.items()})),
    gives("usage details null", completion(usage=USAGE | {"prompt_tokens_details": None})),
    gives("usage details of nulls", completion(usage=USAGE | {"prompt_tokens_details": DETAILS})),
    gives("usage details a list", completion(usage=USAGE | {"completion_tokens_details": [1]})),
    gives(
        "usage as text", completion(usage={k: str(v) for k, v in USAGE.items()}), usage=(11, 7, 18)
    ),
    gives(
        "usage a total that does not add up",
        completion(usage=USAGE | {"total_tokens": 99}),
        usage=(11, 7, 99),
    ),
    gives("usage without a total", completion(usage=without(USAGE, "total_tokens"))),
)

SHAPES = (
    json_case("choices missing", without(completion(), "choices"), NO_ANSWER),
    json_case("choices null", completion(choices=None), NO_ANSWER),
    json_case("choices empty", completion(choices=[]), NO_ANSWER),
    json_case("choices an object", completion(choices={"0": {}}), NO_ANSWER),
    json_case("choices of null", completion(choices=[None]), NO_ANSWER),
    json_case("choices of text", completion(choices=["hi"]), NO_ANSWER),
    json_case("message null", choice(message=None), NO_ANSWER),
    json_case(
        "message missing", completion(choices=[{"index": 0, "finish_reason": "stop"}]), NO_ANSWER
    ),
    json_case("message a text", choice(message="hi"), NO_ANSWER),
    gives("message empty", choice(message={}), text=""),
    gives("content null", completion(None), text=""),
    gives("content missing", choice(message={"role": "assistant"}), text=""),
    gives("content empty", completion(""), text=""),
    gives(
        "content as parts",
        completion([{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]),
    ),
    gives("content a number", completion(5), text="5"),
    gives("role missing", choice(message={"content": TEXT})),
    gives("role unknown", choice(message={"role": "oracle", "content": TEXT})),
    gives("a refusal", completion("", message__refusal="I cannot."), text=None),
    gives(
        "several choices",
        completion(choices=[*completion()["choices"], *completion("other")["choices"]]),
    ),
    gives(
        "reasoning beside the text", completion(message__reasoning_content="Hmm."), reasoning="Hmm."
    ),
    gives("reasoning null", completion(message__reasoning_content=None)),
    gives(
        "reasoning and no text",
        completion(None, message__reasoning_content="Hmm."),
        text="",
        reasoning="Hmm.",
    ),
    gives("flag, logprobs and audio", choice(flag=1, logprobs={"content": []})),
    *(
        gives(
            f"finish_reason {name}",
            completion(finish_reason=reason),
            metadata={"finish_reason": reason},
        )
        for name, reason in {
            "missing": None,
            "unknown": "tired",
            "length": "length",
            "content_filter": "content_filter",
        }.items()
    ),
)

DETAILS = {"type": "reasoning.text", "text": "Hmm.", "format": "ernie-v1", "index": 0}
EXTRAS = (
    gives(
        "unknown keys of the message",
        completion(
            message__citations=["u1", "u2"],
            message__images=[{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}],
            message__reasoning_details=[DETAILS],
            message__score=0,
            message__safe=False,
        ),
        extras={
            "citations": ["u1", "u2"],
            "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}],
            "reasoning_details": [DETAILS],
            "score": 0,
            "safe": False,
        },
    ),
    gives(
        "empty values and known keys of the message",
        completion(
            message__citations=None,
            message__images=[],
            message__note="",
            message__annotations=[],
            message__reasoning="Hmm.",
            message__tool_calls=[],
            message__function_call=None,
        ),
        extras={"reasoning_content": "Hmm."},
    ),
    gives(
        "annotations and audio",
        completion(message__annotations=[{"type": "url_citation"}], message__audio={"id": "a"}),
        extras={"annotations": [{"type": "url_citation"}], "audio": {"id": "a"}},
    ),
    gives(
        "unknown keys beside the choices",
        completion(
            citations=["u1"], search_results=[{"title": "T", "score": 0.5}], provider="P", cached=0
        ),
        metadata={
            "citations": ["u1"],
            "search_results": [{"title": "T", "score": 0.5}],
            "provider": "P",
            "cached": 0,
        },
        extras={},
    ),
    gives(
        "empty values and known keys beside the choices",
        completion(citations=None, search_results=[], error=None, obfuscation="aZ3"),
        metadata={
            "citations": None,
            "search_results": None,
            "error": None,
            "obfuscation": None,
            "object": None,
            "choices": None,
        },
    ),
    gives(
        "unknown keys with names of ours",
        completion(model_provider="x", model_name="x", logprobs=[1], output_version="v1")
        | {"finish_reason": "x"},
        metadata={
            "model_provider": "aimlernie",
            "model_name": MODEL,
            "finish_reason": "stop",
            "logprobs": None,
            "output_version": None,
        },
    ),
    gives(
        "unknown keys of the choice, with names of ours",
        choice(flag=0, id="x", model_provider="x", output_version="v1"),
        metadata={
            "flag": 0,
            "id": RESPONSE_ID,
            "model_provider": "aimlernie",
            "output_version": None,
        },
    ),
    gives(
        "half a surrogate pair in an unknown key",
        replaced('"refusal"', '"note": "\\ud83d", "refusal"'),
        extras={"note": "\ufffd"},
    ),
    gives(
        "the key in unknown keys",
        completion(message__echo={"authorization": f"Bearer {KEY}"}, request=[KEY]),
        extras={"echo": {"authorization": "Bearer ***"}},
        metadata={"request": ["***"]},
    ),
)

ERRORS = (
    json_case(
        "finish_reason error",
        choice(finish_reason="error", error={"message": "upstream died", "code": 502}),
        Raises("InternalServerError", retryable=True, says=("upstream died",)),
    ),
    *(
        json_case(
            f"an error inside a choice, {kind}",
            choice(finish_reason=None, error=error),
            Raises(name, says=("upstream died",)),
        )
        for kind, error, name in (
            ("an object", {"message": "upstream died", "code": 502}, "InternalServerError"),
            ("a text", "upstream died", "InternalServerError"),
            ("a rate limit", {"message": "upstream died", "code": 429}, "RateLimitError"),
        )
    ),
    gives("an empty error inside a choice", choice(error={})),
    json_case(
        "OpenAI's error in a 200",
        openai_error("upstream died", 500),
        Raises("InternalServerError", retryable=True, says=("upstream died",)),
    ),
    json_case(
        "OpenAI's rate limit in a 200",
        openai_error("slow down", 429),
        Raises("RateLimitError", says=("slow down",)),
    ),
    json_case(
        "an error as text in a 200",
        {"error": "the model fell over"},
        Raises("InternalServerError", retryable=True, says=("the model fell over",)),
    ),
    json_case(
        "an error in a 200 that is no valid JSON",
        b'{"error": "the model "x" fell over"}',
        Raises("InternalServerError", retryable=True, says=("the model", "fell over")),
    ),
    json_case(
        "an error in a 200 that is Python's repr",
        b"{'error': {'message': 'the model fell over'}}",
        Raises("InternalServerError", retryable=True, says=("the model fell over",)),
    ),
    json_case(
        "an answer in a 200 that is no valid JSON",
        b'{"id": "1", "choices": [{"message": {"content": "the "error": x"}}]}',
        NO_ANSWER,
    ),
    *(
        json_case(
            f"the API's error in a 200, {status!r}",
            aiml_error(status, "no luck today"),
            Raises(name, says=("no luck today",), attributes={"request_id": "req-0001"}),
        )
        for status, name in (
            (500, "InternalServerError"),
            ("503", "InternalServerError"),
            (429, "RateLimitError"),
            ("401", "AuthenticationError"),
            (404, "NotFoundError"),
            (400, "BadRequestError"),
        )
    ),
    json_case(
        "context overflow in a 200",
        openai_error("maximum context length is 120000 tokens", "context_length_exceeded"),
        Raises("ContextWindowExceededError", retryable=False),
    ),
    json_case(
        "no credits in a 200",
        aiml_error(403, "You've run out of credits. Please top up."),
        Raises("InsufficientCreditsError", retryable=False),
    ),
)


NO_OBJECTS = (
    '{"city": oops',
    '{"city": "Par',
    '{"a":1,}}',
    '{"a":1} and more',
    '{"a":1}{"a":2}',
    "[1]",
    "5",
    "true",
    '"text"',
    "oops",
    '{"n": NaN}',
    '{"n": [1, -Infinity]}',
    '{"n": {"m": 1e999}}',
    '{"n": -1e999, "s": "a\nb"}',
    '{"n": Infinity, "s": "a\nb"}',
)
"""Arguments that make a call invalid; the text stays as it is."""


def calls(name: str, *tool_calls: object, **expected: object) -> Case:
    finish = expected.pop("finish", "tool_calls")
    raw = [as_bytes(call).decode() for call in tool_calls]
    body = as_bytes(completion(None, finish, message__tool_calls=["@calls"]))
    body = body.replace(b'"@calls"', ", ".join(raw).encode())
    return gives(name, body, **({"text": "", "calls": [WEATHER]} | expected))


def old_call(name: str, function_call: object, **changes: object) -> Case:
    """A call in the form before `tool_calls`."""
    tool_calls = {k: changes.pop(k) for k in list(changes) if k.startswith("message__")}
    body = completion(None, "function_call", message__function_call=function_call, **tool_calls)
    return gives(name, body, **({"text": "", "calls": [WEATHER]} | changes))


TOOLS = (
    calls("a tool call", tool_call()),
    calls("tool_calls null", calls=(), finish="stop"),
    gives("tool_calls null beside text", completion(message__tool_calls=None)),
    gives("tool_calls empty", completion(message__tool_calls=[])),
    *(
        calls(f"arguments that are no object: {text}", tool_call(text), calls=(), invalid=[text])
        for text in NO_OBJECTS
    ),
    calls("arguments empty", tool_call(""), calls=[("weather", {})]),
    calls("arguments empty, cut by length", tool_call(""), calls=(), invalid=[""], finish="length"),
    calls("arguments null", tool_call(None), calls=[("weather", {})]),
    calls('arguments "null"', tool_call("null"), calls=None, invalid=0),
    calls("arguments an object", tool_call({"city": "Paris"})),
    calls(
        "arguments with a control character",
        tool_call('{"city": "a\nb"}'),
        calls=[("weather", {"city": "a\nb"})],
    ),
    calls(
        "arguments an object with NaN",
        as_bytes(tool_call({"n": "@"})).replace(b'"@"', b"NaN"),
        calls=(),
        invalid=['{"n": NaN}'],
    ),
    calls(
        "arguments 5,000 deep",
        tool_call('{"a":' + "[" * 5000 + "]" * 5000 + "}"),
        calls=(),
        invalid=1,
    ),
    calls(
        "arguments with a lone surrogate", tool_call('{"city": "\\ud83d"}'), calls=None, invalid=0
    ),
    calls("no id", tool_call(call_id=None)),
    calls("an empty id", tool_call(call_id="")),
    calls("one id twice", tool_call(), tool_call(), calls=[WEATHER, WEATHER]),
    calls("no type", without(tool_call(), "type")),
    calls("an unknown type", tool_call() | {"type": "magic"}, calls=None),
    calls("no name", tool_call(name=None), calls=None, invalid=1),
    calls("no function", {"id": "call_1", "type": "function"}, calls=None, invalid=1),
    calls("a call that is null", None, tool_call()),
    calls("200 calls", *(tool_call(call_id=f"c{i}") for i in range(200)), calls=[WEATHER] * 200),
    gives(
        "text and a call",
        completion(TEXT, "tool_calls", message__tool_calls=[tool_call()]),
        calls=[WEATHER],
    ),
    calls("finish_reason stop with a call", tool_call(), finish="stop"),
    *(calls(f"the id {call_id!r}", tool_call(call_id=call_id)) for call_id in ("null", "None")),
    calls(
        "two calls of the id null",
        tool_call(call_id="null"),
        tool_call(call_id="null"),
        calls=[WEATHER, WEATHER],
    ),
    old_call("function_call of old", {"name": "weather", "arguments": '{"city": "Paris"}'}),
    old_call("function_call with an object", {"name": "weather", "arguments": {"city": "Paris"}}),
    old_call("function_call without arguments", {"name": "weather"}, calls=[("weather", {})]),
    old_call(
        "function_call cut",
        {"name": "weather", "arguments": '{"city": "Par'},
        calls=(),
        invalid=['{"city": "Par'],
    ),
    old_call("function_call null", None, calls=()),
    old_call("function_call empty", {}, calls=()),
    old_call("function_call without a name", {"name": None, "arguments": ""}, calls=()),
    calls("a call with nothing in it", tool_call("", call_id="", name=""), calls=()),
    calls("a name 'null'", tool_call(name="null"), calls=(), invalid=['{"city": "Paris"}']),
    old_call(
        "function_call beside tool_calls",
        {"name": "weather", "arguments": '{"city": "Paris"}'},
        message__tool_calls=[tool_call()],
    ),
)

Y_ALONE = Returns(extras={"y": 1})
# Past the depth of pydantic's parser (about 200), json still reads on, on Python 3.12 to 10,000:
# what it gives can then be neither copied nor traced.
PIT = b"[" * 500 + b"]" * 500


def deep(name: str, body: dict, expect: Raises | Returns | OneOf) -> Case:
    """The body with a value nested 500 deep in the place of "@"."""
    return json_case(f"500 deep: {name}", as_bytes(body).replace(b'"@"', PIT), expect)


PITS = (
    deep("an unknown key", completion(x="@"), Returns(metadata={"x": None})),
    deep("an unknown key of the choice", choice(x="@"), Returns(metadata={"x": None})),
    deep("an unknown key of the message", completion(message__x="@", message__y=1), Y_ALONE),
    deep("content", completion("@"), NO_ANSWER),
    deep("choices", completion(choices="@"), NO_ANSWER),
    deep("usage", completion(usage="@"), OneOf(Returns(usage=None), NO_ANSWER)),
    deep(
        "an error",
        {"error": {"message": "no", "code": 500, "more": "@"}},
        Raises(("InternalServerError", "InvalidResponseError")),
    ),
    calls("500 deep: arguments", tool_call('{"a": ' + PIT.decode() + "}"), calls=(), invalid=1),
    deep(
        "arguments as an object",
        completion(None, "tool_calls", message__tool_calls=[tool_call({"a": "@"})]),
        OneOf(Returns("", calls=(), invalid=1), NO_ANSWER),
    ),
)

CASES = (*WHOLE, *NUMBERS, *USAGES, *SHAPES, *EXTRAS, *ERRORS, *TOOLS, *PITS)
