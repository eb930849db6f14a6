"""What the server says, as bytes: good answers and the parts that bad ones are built of."""

import json

from tests.support.splits import split_at

KEY = "sk-faults-5ecret-0123456789abcdef"
TEXT = "Hello"
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
META = {"usage": {"credits_used": 3, "usd_spent": 0.0000015}}
INFERENCE_ID = "inf-0001"
RESPONSE_ID = "gen-0001"
MODEL = "baidu/ernie-4.5-21b-a3b"


def head(status=200, headers=(), content_type="application/json"):
    """A response head without a length; `headers` may repeat names."""
    pairs = list(headers.items() if hasattr(headers, "items") else headers)
    lines = [
        f"HTTP/1.1 {status} Whatever",
        *([f"Content-Type: {content_type}"] if content_type else []),
        f"x-inference-id: {INFERENCE_ID}",
        *(f"{name}: {value}" for name, value in pairs),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def as_bytes(body):
    """Bytes stay, text is encoded, all else becomes JSON."""
    if isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else json.dumps(body, ensure_ascii=False).encode()


def response(body, status=200, headers=(), content_type="application/json", length=None):
    """A whole response with its length, or with a `length` that lies."""
    data = as_bytes(body)
    pairs = list(headers.items() if hasattr(headers, "items") else headers)
    size = ("Content-Length", str(len(data) if length is None else length))
    return head(status, [*pairs, size], content_type) + data


def plain_response(body=b"", status=200, **headers):
    """A whole response with these headers and no others; names have `_` for `-`."""
    lines = [f"HTTP/1.1 {status} Whatever", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def completion(content=TEXT, finish_reason="stop", **changes):
    """A JSON answer; keys in `changes` replace its own, `message__x` those of the message."""
    message = {"role": "assistant", "content": content, "refusal": None}
    message |= {k[9:]: v for k, v in changes.items() if k.startswith("message__")}
    answer = {
        "id": RESPONSE_ID,
        "object": "chat.completion",
        "created": 1770000000,
        "model": MODEL,
        "choices": [
            {"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}
        ],
        "usage": USAGE,
        "meta": META,
    }
    return answer | {k: v for k, v in changes.items() if not k.startswith("message__")}


def tool_call(arguments='{"city": "Paris"}', call_id="call_1", name="weather"):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def chunk(delta=None, finish_reason=None, **changes):
    """One chunk of a stream; role and content stand in each delta, as the schema wants."""
    if isinstance(delta, str):
        delta = {"role": "assistant", "content": delta}
    elif isinstance(delta, dict):
        delta = {"role": "assistant", "content": ""} | delta
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {
        "id": RESPONSE_ID,
        "object": "chat.completion.chunk",
        "created": 1770000000,
        "model": MODEL,
        "choices": [choice],
    } | changes


def event(payload):
    """One server-sent event; bytes are the data as they are."""
    return b"data: " + as_bytes(payload) + b"\n\n"


DONE = b"data: [DONE]\n\n"
STOP = event(chunk("", "stop"))
TAIL = event(chunk(choices=[], usage=USAGE, meta=META))
HEL, LO = event(chunk("Hel")), event(chunk("lo"))
EVENTS = (event(chunk("")), HEL, LO, STOP, TAIL, DONE)
SSE_TYPE = "text/event-stream"


def frame(data):
    """One chunk of the chunked transfer coding."""
    return b"%x\r\n%s\r\n" % (len(data), data)


SSE_HEAD = head(200, {"Transfer-Encoding": "chunked"}, SSE_TYPE)
FINAL_FRAME = b"0\r\n\r\n"


def unfinished(*events):
    """The head of a stream and these events, a frame each; the body is not ended."""
    return SSE_HEAD + b"".join(frame(e) for e in events if e)


def stream(*events):
    """A whole streamed response, one frame per event."""
    return unfinished(*events) + FINAL_FRAME


def split_stream(data, cuts):
    """A whole streamed response whose body arrives in frames cut at these places."""
    return stream(*split_at(data, cuts))


GOOD_RESPONSE = response(completion())
GOOD_STREAM = stream(*EVENTS)
HTML = "<!doctype html><html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


def aiml_error(status, message="Something wrong with the server"):
    """The error body that the API documents."""
    return {
        "message": message,
        "path": "/v1/chat/completions",
        "requestId": "req-0001",
        "statusCode": status,
        "timestamp": "2026-08-01T00:00:00.000Z",
    }


def openai_error(message, code=None, kind="server_error"):
    return {"error": {"message": message, "type": kind, "code": code, "param": None}}
