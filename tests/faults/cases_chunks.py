"""Cases of odd chunks: deltas, their order, usage that comes here or there."""

from __future__ import annotations

from tests.faults.cases_stream import gives
from tests.support.response_bytes import (
    DONE,
    HEL,
    KEY,
    LO,
    META,
    RESPONSE_ID,
    STOP,
    TAIL,
    USAGE,
    as_bytes,
    chunk,
    event,
)


def raw(**choice: object) -> bytes:
    """A chunk whose choice is exactly this."""
    return event(chunk(choices=[choice]))


def with_usage(text: str, tokens: int) -> bytes:
    usage = {"prompt_tokens": 11, "completion_tokens": tokens, "total_tokens": 11 + tokens}
    return event(chunk(text, usage=usage))


PIT = b"[" * 500 + b"]" * 500
PIT_CHUNK = as_bytes(chunk({"content": "Hel", "x": "@"}, x="@")).replace(b'"@"', PIT)
END = (STOP, TAIL, DONE)
CONTENT = (
    gives("choices empty in the middle", HEL, event(chunk(choices=[])), LO, *END),
    gives("choices null", HEL, event(chunk(choices=None)), LO, *END),
    gives("choices missing", HEL, event({"id": RESPONSE_ID, "model": "x"}), LO, *END),
    gives("an event that is null", HEL, event("null"), LO, *END),
    gives("an empty object", HEL, event("{}"), LO, *END),
    gives("delta null", HEL, raw(index=0, delta=None, finish_reason=None), LO, *END),
    gives("delta missing", HEL, raw(index=0), LO, *END),
    gives(
        "finish_reason without a delta",
        HEL,
        LO,
        raw(index=0, finish_reason="stop"),
        TAIL,
        DONE,
        metadata={"finish_reason": "stop"},
    ),
    gives("content null", HEL, raw(index=0, delta={"content": None}), LO, *END),
    gives("content missing", HEL, raw(index=0, delta={"role": "assistant"}), LO, *END),
    gives(
        "content as parts",
        HEL,
        raw(index=0, delta={"content": [{"type": "text", "text": "lo"}]}),
        *END,
    ),
    gives("content without a role", raw(index=0, delta={"content": "Hello"}), *END),
    gives("index missing", raw(delta={"content": "Hello"}, finish_reason=None), *END),
    gives("index a float", raw(index=0.0, delta={"content": "Hello"}), *END),
    gives(
        "a role only at the end",
        raw(index=0, delta={"content": "Hello"}),
        raw(index=0, delta={"role": "assistant"}),
        *END,
    ),
    gives("text together with finish_reason", HEL, event(chunk("lo", "stop")), TAIL, DONE),
    gives("text after finish_reason", HEL, STOP, LO, TAIL, DONE),
    gives("finish twice", HEL, LO, STOP, STOP, TAIL, DONE, metadata={"finish_reason": "stop"}),
    gives(
        "finish_reason unknown",
        HEL,
        LO,
        event(chunk("", "tired")),
        TAIL,
        DONE,
        metadata={"finish_reason": "tired"},
    ),
    gives(
        "finish_reason empty until the end",
        event(chunk("Hello", "")),
        *END,
        metadata={"finish_reason": "stop"},
    ),
    gives(
        "text cut by length",
        HEL,
        LO,
        event(chunk("", "length")),
        TAIL,
        DONE,
        metadata={"finish_reason": "length"},
    ),
    gives(
        "two choices interleaved",
        HEL,
        raw(index=1, delta={"content": "Other"}, finish_reason=None),
        LO,
        raw(index=1, delta={"content": "wise"}, finish_reason="stop"),
        *END,
    ),
    gives(
        "the model in other words",
        event(chunk("Hello", model="Baidu/ERNIE")),
        *END,
        metadata={"id": RESPONSE_ID},
    ),
    gives("ids that change", event(chunk("Hel", id="a")), event(chunk("lo", id="b")), *END),
    gives("created as a float", event(chunk("Hello", created=1.5)), *END),
    gives(
        "unknown keys",
        event(chunk({"content": "Hello", "glow": {"a": 1}}, sparkle=[1])),
        *END,
        metadata={"sparkle": [1]},
        extras={"glow": {"a": 1}},
    ),
    gives("a refusal", event(chunk({"refusal": "I cannot."})), *END, text=None),
    gives("logprobs", event(chunk("Hello") | {"logprobs": None}), *END),
    gives(
        "reasoning, then text",
        event(chunk({"reasoning_content": "Hm"})),
        event(chunk({"reasoning_content": "m."})),
        HEL,
        LO,
        *END,
        reasoning="Hmm.",
    ),
    gives(
        "reasoning and text in one delta",
        event(chunk({"content": "Hel", "reasoning_content": "Hm"})),
        event(chunk({"content": "lo", "reasoning_content": "m."})),
        *END,
        reasoning="Hmm.",
    ),
    gives(
        "reasoning after the text",
        HEL,
        LO,
        event(chunk({"reasoning_content": "Hmm."})),
        *END,
        reasoning="Hmm.",
    ),
    gives(
        "reasoning null in each delta",
        event(chunk({"content": "Hello", "reasoning_content": None})),
        *END,
    ),
    gives(
        "reasoning only",
        event(chunk({"reasoning_content": "Hmm."})),
        *END,
        text="",
        reasoning="Hmm.",
    ),
)

USAGES = (
    gives("no usage", HEL, LO, STOP, DONE, usage=None),
    gives("usage null on each chunk", event(chunk("Hello", usage=None)), *END),
    gives("usage with finish_reason", HEL, LO, event(chunk("", "stop", usage=USAGE)), DONE),
    gives("usage twice", HEL, LO, STOP, TAIL, TAIL, DONE),
    gives("usage before finish_reason", HEL, LO, TAIL, STOP, DONE),
    gives(
        "usage as running totals",
        with_usage("Hel", 3),
        with_usage("lo", 5),
        event(chunk("", "stop", usage=USAGE)),
        DONE,
    ),
    gives(
        "usage as floats",
        HEL,
        LO,
        STOP,
        event(chunk(choices=[], usage={k: v + 0.0 for k, v in USAGE.items()})),
        DONE,
    ),
    gives(
        "usage details null",
        HEL,
        LO,
        STOP,
        event(chunk(choices=[], usage=USAGE | {"completion_tokens_details": None})),
        DONE,
    ),
    gives(
        "meta alone, without choices",
        HEL,
        LO,
        STOP,
        event(chunk(choices=[], usage=USAGE)),
        event({"meta": META}),
        DONE,
        metadata={"credits_used": 3, "usd_spent": 0.0000015},
    ),
    gives(
        "meta twice", HEL, LO, STOP, TAIL, event({"meta": META}), DONE, metadata={"credits_used": 3}
    ),
    gives(
        "meta null on each chunk",
        event(chunk("Hello", meta=None)),
        *END,
        metadata={"credits_used": 3},
    ),
    gives(
        "meta with finish_reason",
        HEL,
        LO,
        event(chunk("", "stop", usage=USAGE, meta=META)),
        DONE,
        metadata={"credits_used": 3},
    ),
    gives(
        "usage after [DONE] is not waited for",
        HEL,
        LO,
        STOP,
        DONE,
        TAIL,
        usage=None,
    ),
)


def texts(*pieces: str) -> list[bytes]:
    return [event(chunk(piece)) for piece in pieces]


ERNIE = "<think>\nhm\n</think>\n\n<response>\nParis\n</response>"
TAGS = (
    gives("ERNIE's tags", *texts(ERNIE), *END, text="Paris", reasoning="hm"),
    gives("ERNIE's tags in single characters", *texts(*ERNIE), *END, text="Paris", reasoning="hm"),
    gives(
        "blank lines after </think>",
        *texts("<think>hm", "</think>", *"\n" * 20, "Paris\n"),
        *END,
        text="Paris\n",
        reasoning="hm",
    ),
    gives(
        "<response> without <think>",
        *texts("<resp", "onse>\nParis\n</response>"),
        *END,
        text="<response>\nParis\n</response>",
    ),
    gives("white space and nothing else", *texts(*"\n \t" * 9), *END, text="\n \t" * 9),
    gives(
        "white space before the text", *texts(*"\n" * 20, "Paris"), *END, text="\n" * 20 + "Paris"
    ),
)


def part(text: str, **unknown: object) -> bytes:
    """A chunk of text with unknown keys in its delta."""
    return event(chunk({"content": text, **unknown}))


def details(text: str, **more: object) -> dict:
    return {"type": "reasoning.text", "text": text, "format": "ernie-v1", "index": 0} | more


URLS = ["u1", "u2"]
IMAGES = [{"type": "image_url", "image_url": {"url": f"data:{i}"}} for i in range(3)]
EXTRAS = (
    gives(
        "unknown keys beside the choices, whole on each chunk",
        *(event(chunk(text, citations=URLS, provider="P", n=1)) for text in ("Hel", "lo")),
        event(chunk("", "stop", citations=URLS, provider="P", n=1)),
        TAIL,
        DONE,
        metadata={"citations": URLS, "provider": "P", "n": 1},
        extras={},
    ),
    gives(
        "unknown keys beside the choices, growing",
        event(chunk("Hel", citations=["u1"], n=0.5)),
        event(chunk("lo", citations=URLS, n=1.5)),
        *END,
        metadata={"citations": URLS, "n": 1.5},
    ),
    gives(
        "unknown keys beside the choices, once",
        HEL,
        LO,
        STOP,
        event(chunk(choices=[], usage=USAGE, meta=META, citations=URLS)),
        DONE,
        metadata={"citations": URLS, "credits_used": 3},
    ),
    gives(
        "unknown keys without choices",
        HEL,
        LO,
        event({"citations": URLS}),
        *END,
        metadata={"citations": URLS},
    ),
    gives(
        "empty values and known keys beside the choices",
        *(event(chunk(text, citations=None, n=[], obfuscation=text)) for text in ("Hel", "lo")),
        *END,
        metadata={"citations": None, "n": None, "obfuscation": None, "object": None},
    ),
    gives(
        "unknown keys with names of ours",
        event(chunk("Hel", model_provider="x", finish_reason="x", logprobs=[1])),
        event(chunk("lo", model_provider="x", output_version="v1", id="other")),
        *END,
        metadata={
            "model_provider": "aimlernie",
            "finish_reason": "stop",
            "logprobs": None,
            "output_version": None,
            "id": RESPONSE_ID,
        },
    ),
    gives(
        "unknown keys of the delta, whole on each chunk",
        *(part(text, citations=URLS, score=0.5, n=0, safe=False) for text in ("Hel", "l", "o")),
        *END,
        extras={"citations": URLS, "score": 0.5, "n": 0, "safe": False},
    ),
    gives(
        "unknown keys of the delta, growing",
        part("Hel"),
        part("l", citations=["u1"]),
        part("o", citations=URLS),
        part("", citations=URLS),
        *END,
        extras={"citations": URLS},
    ),
    gives(
        "unknown keys of the delta, once",
        part("Hello"),
        part("", citations=URLS, images=IMAGES[:1]),
        *END,
        extras={"citations": URLS, "images": IMAGES[:1]},
    ),
    gives(
        "unknown keys beside finish_reason",
        part("Hello"),
        event(chunk({"citations": URLS}, "stop")),
        TAIL,
        DONE,
        extras={"citations": URLS},
    ),
    gives(
        "a list in increments",
        part("Hel", images=IMAGES[:1]),
        part("l", images=IMAGES[1:2]),
        part("o", images=IMAGES[2:]),
        *END,
        extras={"images": IMAGES},
    ),
    gives(
        "a text in increments",
        part("Hel", thought="ha"),
        part("l", thought="ha"),
        part("o", thought="! "),
        part("", thought="! "),
        *END,
        extras={"thought": "haha! ! "},
    ),
    gives(
        "reasoning_details in increments",
        part("", reasoning_details=[details("Hm")]),
        part("", reasoning_details=[details("m."), details("Well.", index=1)]),
        part("", reasoning_details=[details("", signature=None)]),
        part("Hel", reasoning_details=[details("", signature="s")]),
        part("lo", reasoning_details=[{"type": "reasoning.encrypted", "data": "x", "index": 0}]),
        *END,
        extras={
            "reasoning_details": [
                details("Hmm.", signature="s"),
                details("Well.", index=1),
                {"type": "reasoning.encrypted", "data": "x", "index": 0},
            ]
        },
    ),
    gives(
        "annotations whole, audio in increments",
        part("Hel", annotations=[{"n": 1}], audio={"id": "a", "data": "xx"}),
        part("lo", annotations=[{"n": 1}], audio={"id": "a", "data": "yy", "expires_at": 5}),
        *END,
        extras={"annotations": [{"n": 1}], "audio": {"id": "a", "data": "xxyy", "expires_at": 5}},
    ),
    gives(
        "a value that changes its type",
        part("Hel", x=None, y=1),
        part("l", x="a", y="b"),
        part("o", x=["c"], y={}),
        *END,
        extras={"x": ["c"], "y": "b"},
    ),
    gives(
        "empty values and known keys of the delta",
        part("Hel", citations=None, images=[], note="", tool_calls=[], function_call=None),
        part("lo", refusal=None, reasoning="Hmm."),
        *END,
        extras={"reasoning_content": "Hmm."},
    ),
    gives(
        "unknown keys of the choice",
        raw(index=0, delta={"content": "Hel"}, flag=0),
        raw(index=0, delta={"content": "lo"}, finish_reason=None, flag=1, id="x"),
        *END,
        metadata={"flag": 1, "id": RESPONSE_ID},
    ),
    gives(
        "500 deep: unknown keys",
        event(PIT_CHUNK),
        part("lo", y=1),
        *END,
        metadata={"x": None},
        extras={"y": 1},
    ),
    gives(
        "the key in unknown keys",
        part("Hello", echo=f"Bearer {KEY[:9]}"),
        event(chunk({"echo": KEY[9:]}, request=[KEY])),
        *END,
        metadata={"request": ["***"]},
        extras={"echo": "Bearer ***"},
    ),
    gives(
        "objects in pings",
        b'event: ping\ndata: {"type": "ping"}\n\n',
        HEL,
        b'event: heartbeat\ndata: {"type": "ping", "time": 1.5}\n\n',
        LO,
        *END,
        metadata={"type": None, "time": None},
    ),
)

CASES = (*CONTENT, *USAGES, *TAGS, *EXTRAS)
