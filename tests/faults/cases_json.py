"""Cases inside one JSON response: odd JSON, odd shapes, odd values."""

import functools
import json

from tests.support.fault_table import JSON_MODES, Case, OneOf, Raises, Returns
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

INVALID = Raises("InvalidResponseError")
BODY = as_bytes(completion())
PARIS, PARIS_TEXT = ("weather", {"city": "Paris"}), '{"city": "Paris"}'


def json_case(name, body, expect):
    return Case(name, response(body), expect, JSON_MODES)


def gives(name, body, **expected):
    return json_case(name, body, Returns(**expected))


def choice(**changes):
    """A completion whose only choice has these keys changed."""
    return completion(choices=[completion()["choices"][0] | changes])


def without(body, *keys):
    return {k: v for k, v in body.items() if k not in keys}


def replaced(old, new):
    """The good body with a text replaced: for what no encoder would write."""
    return BODY.replace(old.encode(), as_bytes(new))


WITHHELD = (
    *("sensitive", "refusal", "guardrail_intervened", "content_filtered"),
    *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"),
)
NO_OBJECTS_OF_JSON = ("null", "[]", "1", "1.5", "NaN", "true", '"hi"')
NO_JSON = {
    **{f"cut after {n} bytes": BODY[:n] for n in (1, 20, 150, len(BODY) - 1)},
    "trailing junk": BODY + b"}",
    "two completions": BODY + BODY,
    "single quotes": BODY.replace(b'"', b"'"),
    "nested 200,000 deep": b"[" * 200_000,
    "nested objects": b'{"a":' * 100_000,
    "UTF-16": BODY.decode().encode("utf-16"),
    "an error of invalid JSON in a text": (
        b'{"id": "1", "choices": [{"message": {"content": "the "error": x"}}]}'
    ),
}
NO_CHOICES = {
    "{}": {},
    "choices missing": without(completion(), "choices"),
    **{f"choices {x}": completion(choices=x) for x in (None, [], {"0": {}}, "x", [None], ["hi"])},
    "message null": choice(message=None),
}
NESTED = completion(functools.reduce(lambda text, _: {"text": text}, range(90), "x"))
NO_COMPLETIONS = (
    *((text, text, f"not a JSON object. It begins: {text}") for text in NO_OBJECTS_OF_JSON),
    *((name, body, "not valid JSON") for name, body in NO_JSON.items()),
    *((name, body, "no choice with a message") for name, body in NO_CHOICES.items()),
    ("a text nested 90 deep", NESTED, "nested"),
    ("nested 5,000 deep", b"[" * 5000 + b"]" * 5000, "JSON"),  # which Python 3.13 parses
    *(
        (f"events instead of JSON: {line}", line + b"\ndata: " + BODY, "set streaming=True")
        for line in (b"data: \xff", b"event: x", b"id: 1", b"retry: 9", b": ping")
    ),
)
META = {"finish_reason": "stop", "model_name": MODEL, "model_provider": "aimlernie"}
PAID = {"credits_used": 3, "usd_spent": 0.0000015, "inference_id": INFERENCE_ID}
OF_HEADERS = {
    "x-client-request-id": "mine",
    "x-aimlapi-credits-used": "7",
    "x-aimlapi-usd-spent": "0.0001",
    "x-ratelimit-remaining-requests": "59",
    "set-cookie": "secret",
}
KEPT = {"created": 1770000000, "id": RESPONSE_ID, "token_usage": USAGE}
ABOUT = {"service_tier": "default", "system_fingerprint": "fp"}
WRONG = {"usage": 1, "meta": [], "id": 5, "model": None, "created": "soon"}
SEPARATED = "\na\u2028b\u2029c\x85但充满希望"
WHOLE = (
    gives("a good response", completion(), metadata=META | PAID | KEPT, extras={}),
    Case(
        "a response with all that can be known",
        response(completion(meta=None, **ABOUT), headers=OF_HEADERS),
        Returns(
            metadata=META
            | KEPT
            | ABOUT
            | {"credits_used": 7, "usd_spent": 0.0001, "client_request_id": "mine"}
            | {"rate_limits": {"x-ratelimit-remaining-requests": "59"}, "set-cookie": None}
        ),
        JSON_MODES,
    ),
    gives(
        "values of a wrong type",
        choice(message={"content": TEXT, "tool_calls": {}, "function_call": 1}) | WRONG,
        usage=None,
        metadata=META | dict.fromkeys(("id", "created", "token_usage", "credits_used")),
    ),
    *(
        json_case(name, body, Raises("InvalidResponseError", says=(says,)))
        for name, body, says in NO_COMPLETIONS
    ),
    Case(
        "only accepted",
        response({"status": "queued"}, 202),
        Raises("InvalidResponseError", attributes={"status_code": 202}),
    ),
    gives("white space around", b"\r\n\t " + BODY + b"\n\n"),
    gives("a BOM", b"\xef\xbb\xbf" + BODY),
    gives("invalid UTF-8 in the text", replaced(TEXT, b"Hel\xfflo"), text="Hel\ufffdlo"),
    gives("a lone surrogate escape", replaced(TEXT, "Hel\\ud83dlo"), text="Hel\ufffdlo"),
    gives("a surrogate pair escaped", replaced(TEXT, "\\ud83d\\ude00"), text="\U0001f600"),
    gives("NUL in the text", replaced(TEXT, "a\\u0000b"), text="a\0b"),
    gives("line separators and scripts", completion(SEPARATED), text=SEPARATED),
    gives("a text of 2 MB", completion("x" * 2_000_000), text="x" * 2_000_000),
    gives("duplicate keys", replaced('"id":', '"id": "first", "id":')),
    gives(
        "unknown keys everywhere",
        completion(message__sparkle=[{}], glitter={"a": None}, usage=USAGE | {"glow": 1.5}),
    ),
)

CREATED, CREDITS = '"created": 1770000000', '"credits_used": 3'
AS_TEXT = {"usage": {"credits_used": "3", "usd_spent": "1e-6"}}


def spent(usd):
    return {"usage": {"usd_spent": usd}}


NUMBERS = (
    gives("NaN among the costs", replaced(CREDITS, '"credits_used": NaN')),
    gives("1e999 among the costs", replaced(CREDITS, '"credits_used": 1e999')),
    gives("an integer of 3,000 digits", replaced(CREATED, f'"created": {"9" * 3000}')),
    gives("an integer of 6,000 digits", replaced(CREATED, f'"created": {"9" * 6000}')),
    gives("created as a float", replaced(CREATED, '"created": 1770000000.5')),
    gives("an index as a float", replaced('"index": 0', '"index": 0.0')),
    *(
        gives(f"meta {meta}", completion(meta=meta))
        for meta in (AS_TEXT, None, [], {}, {"usage": None}, {"usage": [1]})
    ),
    *(
        gives(f"{sent!r:.9} spent", completion(meta=spent(sent)), metadata={"usd_spent": read})
        for sent, read in ((3, 3), (0.5, 0.5), (2.0, 2), ("0.25", 0.25))
    ),
    *(
        gives(f"{sent!r:.9} spent", completion(meta=spent(sent)), metadata={"usd_spent": None})
        for sent in ("x", True, "nan", 10**400)
    ),
)


def tokens(name, sent, *counts, **details):
    """Usage that is read as these counts of input, output and all tokens, with these details."""
    kinds = ("input_tokens", "output_tokens", "total_tokens")
    usage = dict(zip(kinds, counts, strict=True)) | details if counts else None
    return gives(f"usage {name}", completion(usage=sent), usage=usage)


def of(prompt, completed, **more):
    return {"prompt_tokens": prompt, "completion_tokens": completed, **more}


REASONED = {"output_token_details": {"reasoning": 1}}
CACHED = {"prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0}}
OF_REASONING = {
    "prompt_tokens_details": None,
    "completion_tokens_details": {"reasoning_tokens": 1, "audio_tokens": None},
}

USAGES = (
    gives("usage missing", without(completion(), "usage"), usage=None),
    gives("usage null", completion(usage=None), usage=None),
    *(
        gives(f"usage as {kind.__name__}", completion(usage={k: kind(v) for k, v in USAGE.items()}))
        for kind in (float, str)
    ),
    gives("usage in the choice", choice(usage=USAGE) | {"usage": None}),
    tokens("in the words of others", {"input_tokens": 11, "output_tokens": 7}, 11, 7, 18),
    *(
        tokens(f"from {key}", of(11, 7, **{key: 4, "input_tokens": 0}), 11, 7, 18, input_token_details={"cache_read": 4})
        for key in ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")
    ),
    tokens(
        "of a written cache", of(11, 7, prompt_tokens_details={"cache_write_tokens": 4}),
        11, 7, 18, input_token_details={"cache_creation": 4},
    ),
    tokens(
        "with details in the words of others",
        of(11, 7, input_tokens_details={"cached_tokens": 4}, output_tokens_details={"reasoning_tokens": 1}),
        11, 7, 18, input_token_details={"cache_read": 4}, **REASONED,
    ),
    tokens("in words", {"prompt_tokens": "a lot"}),
    tokens("without a meaning", of(-1, float("nan"))),
    tokens("in fractions and text", of(5.9, "2"), 5, 2, 7),
    tokens("of true", of(True, 2), 0, 2, 2),
    tokens("of nothing", of(5, 0, total_tokens=5), 5, 0, 5),
    tokens("with a total of its own", USAGE | {"total_tokens": 99} | OF_REASONING, 11, 7, 99, **REASONED),
    tokens("with a total of 0", of(5, 2, total_tokens=0), 5, 2, 7),
    tokens(
        "of the Responses API",
        {
            "input_tokens": 5, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 4},
            "output_tokens_details": {"reasoning_tokens": 1},
        },
        5, 2, 7, input_token_details={"cache_read": 4}, **REASONED,
    ),
    tokens("with reasoning beside it", of(5, 2, reasoning_tokens=1, audio_tokens=1), 5, 2, 7, **REASONED),
    tokens("from a cache", USAGE | CACHED, 11, 7, 18, input_token_details={"cache_read": 4, "audio": 0}),
)  # fmt: skip

HMM = {"message__reasoning_content": "Hmm."}
PARTS = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
SHAPES = (
    gives("message empty", choice(message={}), text=""),
    gives("content null", completion(None), text=""),
    gives("content missing", choice(message={"role": "assistant"}), text=""),
    gives("content empty", completion(""), text=""),
    gives("content as parts", completion(PARTS)),
    gives("content as parts beside it", completion(None, message__multimodal_content=PARTS)),
    gives("content as parts beside an empty one", completion("", message__multimodal_content=PARTS)),
    gives("content as parts of other kinds", completion([PARTS[0], "lo", None])),
    gives("content as parts with content", completion([{"type": "text", "content": TEXT}])),
    gives(
        "the content of a tool's result beside text",
        completion([{"type": "mcp_tool_result", "content": [{"type": "text", "text": "72"}]}, {"type": "text", "text": TEXT}]),
    ),
    gives("content a part", completion({"type": "refusal", "refusal": "no"}), text="no"),
    gives("content an empty object", completion({}), text=""),
    gives("content in lists", completion([[[["deep"]]]]), text="deep"),
    gives("content with tags", completion("<think>Hmm.</think>\nyes"), text="yes", reasoning="Hmm."),
    gives("content a number", completion(5), text="5"),
    gives("content a boolean", completion(False), text="false"),
    gives("content an object", completion({"answer": [42]}), text='{"answer": [42]}'),
    gives("content an object with a type", completion({"type": "city"}), text='{"type": "city"}'),
    gives("content a text with a value", completion({"type": "text", "text": {"value": TEXT}})),
    gives(
        "thoughts among the content's parts",
        completion([{"type": "thinking", "thinking": [{"type": "text", "text": "Hmm."}]}, *PARTS]),
        reasoning="Hmm.",
    ),
    gives("a closing tag that opens the text", completion(f"</think>\n\n{TEXT}")),
    gives("[DONE] after the JSON", BODY + b"\n\ndata: [DONE]\n\n"),
    gives("role unknown", choice(message={"role": "oracle", "content": TEXT})),
    gives("a refusal", completion("", message__refusal="I cannot."), text=None),
    gives("a refusal that is false", completion(message__refusal=False), extras={}),
    gives("a text completion", completion(choices=[{"index": 0, "text": TEXT, "finish_reason": "stop"}])),
    gives("text beside the message", choice(text="other"), metadata={"text": None}),
    gives("MiniMax's status", completion(base_resp={"status_code": 0, "status_msg": ""})),
    gives("flag and logprobs", choice(flag=1, logprobs={"content": []})),
    gives("reasoning beside the text", completion(**HMM), reasoning="Hmm."),
    gives("reasoning an object", completion(message__reasoning={"content": [{"type": "text", "text": "Hmm."}]}), reasoning="Hmm."),
    gives("reasoning null", completion(message__reasoning_content=None)),
    gives("reasoning and no text", completion(None, **HMM), text="", reasoning="Hmm."),
    *(
        gives(f"finish_reason {r}", completion(finish_reason=r), metadata={"finish_reason": r})
        for r in (None, "tired", "length", "content_filter")
    ),
    *(
        gives(f"finish_reason {r}", completion(finish_reason=r), metadata={"finish_reason": "length"})
        for r in ("max_tokens", "MAX_TOKENS", "model_length", "model_context_window_exceeded")
    ),
    *(
        gives(f"finish_reason {r}", completion(finish_reason=r), metadata={"finish_reason": "content_filter"})
        for r in WITHHELD
    ),
)  # fmt: skip

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}
DETAILS = {"type": "reasoning.text", "text": "Hmm.", "format": "ernie-v1", "index": 0}
OF_MESSAGE = {
    "citations": ["u1", "u2"],
    "images": [IMAGE],
    "reasoning_details": [DETAILS],
    "score": 0,
    "safe": False,
    "annotations": [{"type": "url_citation"}],
    "audio": {"id": "a"},
}
EMPTY_OR_KNOWN = {
    "citations": None,
    "images": [],
    "note": "",
    "annotations": [],
    "reasoning": "Hmm.",
    "tool_calls": [],
    "function_call": None,
}
BESIDE = {"citations": ["u1"], "search_results": [{"title": "T", "score": 0.5}], "cached": 0}
OURS = META | {"logprobs": None, "output_version": None, "id": RESPONSE_ID}


def with_message(keys):
    return completion(**{f"message__{key}": value for key, value in keys.items()})


EXTRAS = (
    gives("unknown keys of the message", with_message(OF_MESSAGE), extras=OF_MESSAGE),
    gives(
        "empty values and known keys of the message",
        with_message(EMPTY_OR_KNOWN),
        extras={"reasoning_content": "Hmm."},
    ),
    gives("unknown keys beside the choices", completion(**BESIDE), metadata=BESIDE, extras={}),
    gives(
        "empty values and known keys beside the choices",
        completion(citations=None, search_results=[], error=None, obfuscation="aZ3"),
        metadata=dict.fromkeys(
            ("citations", "search_results", "error", "obfuscation", "object", "choices")
        ),
    ),
    gives(
        "unknown keys with names of ours",
        completion(model_provider="x", model_name="x", logprobs=[1], output_version="v1")
        | {"finish_reason": "x"},
        metadata=OURS,
    ),
    gives(
        "unknown keys of the choice, with names of ours",
        choice(flag=0, id="x", model_provider="x", output_version="v1"),
        metadata=OURS | {"flag": 0},
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

INTERNAL = "InternalServerError"
DIED = {"message": "it died", "code": 502}


def said(message, **more):
    return {"error": {"message": message, **more}}


# What stands inside a 200 or an event of a stream, its class, its status, and the words.
INSIDE = (
    ({"error": "it died"}, INTERNAL, None, "it died"),
    ({"error": {}}, INTERNAL, None, "without a message"),
    ({"detail": "it died"}, INTERNAL, None, "it died"),
    ({"code": 1, "msg": "it died", "data": None}, INTERNAL, None, "it died"),
    ({"choices": [], "error_message": "it died"}, INTERNAL, None, "it died"),
    ({"choices": None, "error_type": "bad_request", "error_message": "no"}, "BadRequestError", 400, "no"),
    ({"choices": None, "code": 401, "msg": "no"}, "AuthenticationError", 401, "no"),
    (openai_error("it died", 500), INTERNAL, 500, "it died"),
    (openai_error("it died", "server_error"), INTERNAL, 500, "it died"),
    (openai_error("it died", 429), "RateLimitError", 429, "it died"),
    (said("m", code="invalid_api_key"), "AuthenticationError", 401, "m"),
    (said("m", type="overloaded_error"), INTERNAL, 503, "m"),
    (said("m", code="timeout"), INTERNAL, 504, "m"),
    ({"object": "error", "message": "it died", "code": 400}, "BadRequestError", 400, "it died"),
    (aiml_error(500), INTERNAL, 500, "Something wrong"),
    (aiml_error("503"), INTERNAL, 503, "Something wrong"),
    (aiml_error(429), "RateLimitError", 429, "Something wrong"),
    (aiml_error("429"), "RateLimitError", 429, "Something wrong"),
    (aiml_error("401"), "AuthenticationError", 401, "Something wrong"),
    (aiml_error(404), "NotFoundError", 404, "Something wrong"),
    (aiml_error(400), "BadRequestError", 400, "Something wrong"),
    (aiml_error(200), INTERNAL, None, "Something wrong"),
    (aiml_error(403, "You've run out of credits."), "InsufficientCreditsError", 403, "credits"),
    (openai_error("it died", "context_length_exceeded"), "ContextWindowExceededError", None, "it died"),
    # A rate limit needs no status.
    *(
        (said(words), "RateLimitError", None, words)
        for words in ("Rate limit exceeded", "Too many requests", "30 requests per minute",
                      "Too many input tokens per minute", "请求过于频繁")
    ),
    (
        {"error": {"type": "invalid_request_error", "message": '{"message": "Too many requests"}'}},
        "RateLimitError", None, "Too many requests",
    ),
    # Vercel's gateway, of the server behind it
    (
        said("Stream error occurred", code="error",
             value={"error_message": as_bytes(said("Maximum context length is 9")).decode()}),
        "ContextWindowExceededError", None, "Stream error occurred; Maximum context length is 9",
    ),
    # In a choice
    (choice(finish_reason="error", error=DIED), INTERNAL, 502, "it died"),
    (choice(finish_reason=None, error=DIED), INTERNAL, 502, "it died"),
    (choice(finish_reason=None, error="it died"), INTERNAL, None, "it died"),
    (choice(error={"message": "it died", "code": 429}), "RateLimitError", 429, "it died"),
    ({"choices": [{"finish_reason": "error"}]}, INTERNAL, None, "did not say"),
    # MiniMax
    ({"base_resp": {"status_code": 1000, "status_msg": "it died"}}, INTERNAL, None, "it died"),
    (
        {"base_resp": {"status_code": 2049, "status_msg": "invalid api key"}},
        "AuthenticationError", None, "invalid api key",
    ),
    (
        {"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit exceeded(RPM)"}},
        "RateLimitError", None, "rate limit exceeded",
    ),
    # Where other keys are usual
    ({"errorMessage": "it died", "errorType": "RuntimeError"}, INTERNAL, None, "it died"),
    ({"logId": "l", "errorCode": 4, "errorMsg": "it died"}, INTERNAL, None, "it died"),
    *(
        (choice(finish_reason=reason), INTERNAL, None, "did not say")
        for reason in ("network_error", "insufficient_system_resource", "abort", "TIMEOUT")
    ),
    # No JSON
    (b'{"error": "the "x": it died"}', INTERNAL, None, "it died"),
    (b'{ "message": "it died: "x" is no file", "statusCode": 503}', INTERNAL, None, "it died"),
    (b'{"type": "error", "text": "it died: "x" is no file"}', INTERNAL, None, "it died"),
    (b"{'error': {'message': 'it died'}}", INTERNAL, None, "it died"),
    (
        b'{"error": "it died: "maximum context length" is 10"}',
        "ContextWindowExceededError", None, "it died",
    ),
)  # fmt: skip


def inside(number, row, *, retryable=None):
    """The name of a row, what is sent, and what must come of it."""
    payload, cls, status, words = row
    facts = {"status_code": status, "inference_id": INFERENCE_ID}
    name = f"error {number}: {cls} {status}, {as_bytes(payload)!r:.60}"
    return name, payload, Raises(cls, retryable, says=(words,), attributes=facts)


ERRORS = (
    *(
        json_case(*inside(number, row, retryable=row[1] in (INTERNAL, "RateLimitError")))
        for number, row in enumerate(INSIDE)
    ),
    json_case(
        "a model that was only loaded",
        choice(finish_reason="load"),
        Raises(INTERNAL, False, says=("needs a user message",)),
    ),
    gives("an empty error inside a choice", choice(error={})),
    gives("an error of success", completion(error={"code": "0", "message": "Success"})),
)

NO_OBJECTS = (
    *('{"city": oops', '{"city": "Par', '{"a":1,}}', '{"a":1} and more', '{"a":1}{"a":2}'),
    *("[1]", "5", "true", '"text"', "oops"),
    *('{"n": NaN}', '{"n": [1, -Infinity]}', '{"n": {"m": 1e999}}'),
    *('{"n": -1e999, "s": "a\nb"}', '{"n": Infinity, "s": "a\nb"}'),
)
"""Arguments that make a call invalid; the text stays as it is."""


def calls(name, *tool_calls, finish="tool_calls", **expected):
    """A response with these calls, which adds up to one for Paris unless a result is given."""
    raw = ", ".join(as_bytes(call).decode() for call in tool_calls)
    body = as_bytes(completion(None, finish, message__tool_calls=["@calls"]))
    body = body.replace(b'"@calls"', raw.encode())
    return gives(name, body, **({"text": "", "calls": [PARIS]} | expected))


def old_call(name, function_call, tool_calls=None, **changes):
    """A call in the form before `tool_calls`."""
    message = {"message__function_call": function_call, "message__tool_calls": tool_calls}
    body = completion(None, "function_call", **message)
    return gives(f"function_call {name}", body, **({"text": "", "calls": [PARIS]} | changes))


def invalid(name, arguments, text=None, **more):
    call = tool_call(arguments)
    return calls(name, call, calls=(), invalid=[arguments if text is None else text], **more)


NULL_ID = tool_call(call_id="null")
TOOLS = (
    calls("a tool call", tool_call()),
    calls("tool_calls empty", calls=(), finish="stop"),
    gives("tool_calls null beside text", completion(message__tool_calls=None)),
    *(invalid(f"arguments that are no object: {text}", text) for text in NO_OBJECTS),
    invalid("arguments empty, cut by length", "", finish="length"),
    calls("arguments empty", tool_call(""), calls=[("weather", {})]),
    calls("arguments null", tool_call(None), calls=[("weather", {})]),
    calls('arguments "null"', tool_call("null"), calls=None),
    calls("arguments with a list", tool_call({"a": [1]}), calls=[("weather", {"a": [1]})]),
    calls("a name with white space", tool_call(name="weather\n")),
    calls("no function around name and arguments", {"id": "a", "name": "weather", "arguments": PARIS_TEXT}),
    calls("arguments an object", tool_call({"city": "Paris"})),
    *(
        calls(f"arguments under {key!r}", {"id": "a", "name": "weather", key: {"city": "Paris"}})
        for key in ("parameters", "input")
    ),
    gives("one call in place of a list", completion(None, message__tool_calls=tool_call()), text="", calls=[PARIS]),
    calls("arguments encoded twice", tool_call(json.dumps(PARIS_TEXT))),
    calls("arguments encoded three times", tool_call(json.dumps(json.dumps(PARIS_TEXT)))),
    *(calls(f"no arguments: {text}", tool_call(text), calls=[("weather", {})]) for text in ('""', '"null"', r'"\"\""')),
    *(invalid(f"no object encoded twice: {text}", text) for text in ('"[1]"', '"5"', r'"{\"a\": NaN}"')),
    calls("a control character", tool_call('{"city": "a\nb"}'), calls=[("weather", {"city": "a\nb"})]),
    calls(
        "arguments an object with NaN",
        as_bytes(tool_call({"n": "@"})).replace(b'"@"', b"NaN"),
        calls=(),
        invalid=['{"n": NaN}'],
    ),
    *(
        calls(f"arguments {n} deep", tool_call('{"a":' + "[" * n + "]" * n + "}"), calls=(), invalid=1)
        for n in (500, 5000)
    ),
    calls(
        "half a surrogate pair, escaped", tool_call(r'{"city": "\ud83d\\ud83d\n"}'),
        calls=[("weather", {"city": "\ufffd\\ud83d\n"})],
    ),
    calls(
        "half a surrogate pair", as_bytes(tool_call({"city": "@"})).replace(b"@", rb"\ude00@"),
        calls=[("weather", {"city": "\ufffd@"})],
    ),
    *(calls(f"the id {i!r}", tool_call(call_id=i)) for i in (None, "", "null", "None")),
    calls("one id twice", tool_call(), tool_call(), calls=[PARIS, PARIS]),
    calls("the id null twice", NULL_ID, NULL_ID, calls=[PARIS, PARIS]),
    calls("no type", without(tool_call(), "type")),
    calls("an unknown type", tool_call() | {"type": "magic"}, calls=None),
    calls("no name", tool_call(name=None), calls=None, invalid=1),
    calls("a name 'null'", tool_call(name="null"), calls=(), invalid=[PARIS_TEXT]),
    calls("no function", {"id": "call_1", "type": "function"}, calls=None, invalid=1),
    calls("a call that is null", None, tool_call()),
    calls("a call with nothing in it", tool_call("", call_id="", name=""), calls=()),
    calls("200 calls", *(tool_call(call_id=f"c{i}") for i in range(200)), calls=[PARIS] * 200),
    json_case(
        "text and a call in a choice each",
        completion(
            choices=[
                {"message": {"content": TEXT}, "finish_reason": "tool_calls"},
                {"message": {"tool_calls": [tool_call()]}, "finish_reason": "tool_calls"},
            ]
        ),
        Returns(calls=[PARIS]),
    ),
    gives("text and a call", completion(TEXT, message__tool_calls=[tool_call()]), calls=[PARIS]),
    calls(
        "valid and invalid calls",
        *(tool_call(text, call_id) for text, call_id in (("{}", "1"), ("{}", "1"), ("{", "1"), ("[1]", ""))),
        *({"id": call_id, "type": "function", "function": None} for call_id in ("1", "7")),
        calls=[("weather", {})] * 2,
        invalid=["{", "[1]", "", ""],
    ),
    calls(
        "a custom call",
        {"id": "1", "type": "custom", "custom": {"name": "sh", "input": "ls"}},
        calls=[("sh", {"__arg1": "ls"})],
    ),
    old_call("of old", {"name": "weather", "arguments": PARIS_TEXT}),
    old_call("with an object", {"name": "weather", "arguments": {"city": "Paris"}}),
    old_call("without arguments", {"name": "weather"}, calls=[("weather", {})]),
    old_call("cut", {"name": "weather", "arguments": "{"}, calls=(), invalid=["{"]),
    old_call("null", None, calls=()),
    old_call("empty", {}, calls=()),
    old_call("without a name", {"name": None, "arguments": ""}, calls=()),
    old_call("beside tool_calls", {"name": "weather", "arguments": PARIS_TEXT}, [tool_call()]),
)  # fmt: skip

# Past the depth of pydantic's parser (about 200), json still reads on, on Python 3.12 to 10,000:
# what it gives can then be neither copied nor traced.
PIT = b"[" * 500 + b"]" * 500


def deep(name, body, expect):
    """The body with a value nested 500 deep in the place of "@"."""
    return json_case(f"500 deep: {name}", as_bytes(body).replace(b'"@"', PIT), expect)


DEEP_CALL = completion(None, "tool_calls", message__tool_calls=[tool_call({"a": "@"})])
PITS = (
    deep("an unknown key", completion(x="@"), Returns(metadata={"x": None})),
    deep("an unknown key of the choice", choice(x="@"), Returns(metadata={"x": None})),
    deep("one of the message", completion(message__x="@", message__y=1), Returns(extras={"y": 1})),
    deep("content", completion("@"), INVALID),
    deep("choices", completion(choices="@"), INVALID),
    deep("usage", completion(usage="@"), OneOf(Returns(usage=None), INVALID)),
    deep(
        "an error",
        {"error": {"message": "no", "code": 500, "more": "@"}},
        Raises(("InternalServerError", "InvalidResponseError")),
    ),
    deep("arguments", DEEP_CALL, OneOf(Returns("", calls=(), invalid=1), INVALID)),
)

CASES = (*WHOLE, *NUMBERS, *USAGES, *SHAPES, *EXTRAS, *ERRORS, *TOOLS, *PITS)
