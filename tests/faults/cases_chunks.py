"""Cases of odd chunks: deltas, their order, usage that comes here or there."""

from tests.faults.cases_json import WITHHELD
from tests.faults.cases_stream import gives
from tests.support.response_bytes import (
    DONE,
    KEY,
    META,
    RESPONSE_ID,
    STOP,
    TAIL,
    USAGE,
    as_bytes,
    chunk,
    event,
)


def raw(**choice):
    """A chunk whose choice is exactly this."""
    return chunk(choices=[choice])


def part(text, **unknown):
    """A chunk of text with further keys in its delta."""
    return chunk({"content": text, **unknown})


def reasoned(text, reasoning):
    return part(text, reasoning_content=reasoning)


def finished(reason, **keys):
    return chunk("", reason, **keys)


ENDED = (TAIL, DONE)
STOPPED = {"finish_reason": "stop"}
CONTENT = (
    gives("an event within an event", b"data: data: " + as_bytes(chunk("Hello")) + b"\n\n", end=(STOP, TAIL, b"data: data: [DONE]\n\n")),
    gives("usage of Groq", "Hello", STOP, chunk("", x_groq={"id": "q", "usage": USAGE}), end=(DONE,)),
    gives("choices empty in the middle", "Hel", chunk(choices=[]), "lo"),
    gives("choices null", "Hel", chunk(choices=None), "lo"),
    gives("choices missing", "Hel", {"id": RESPONSE_ID, "model": "x"}, "lo"),
    gives("an event that is null", "Hel", None, "lo"),
    gives("an empty object", "Hel", {}, "lo"),
    gives("delta null", "Hel", raw(index=0, delta=None, finish_reason=None), "lo"),
    gives("delta missing", "Hel", raw(index=0), "lo"),
    gives("no delta", "Hello", raw(index=0, finish_reason="stop"), end=ENDED, metadata=STOPPED),
    gives("text completions", *(raw(index=0, text=text) for text in ("Hel", "lo")), metadata={"text": None}),
    gives("text beside the delta", *(raw(index=0, delta={"content": text}, text=text) for text in ("Hel", "lo")), metadata={"text": None}),
    gives("content null", "Hel", raw(index=0, delta={"content": None}), "lo"),
    gives("content missing", "Hel", raw(index=0, delta={"role": "assistant"}), "lo"),
    gives(
        "content as parts",
        *(
            raw(index=0, delta={"content": [{"type": "text", "text": text}], "reasoning_content": "Hm"})
            for text in ("Hel", "lo")
        ),
        reasoning="HmHm",
    ),
    gives(
        "thoughts among the content's parts",
        raw(index=0, delta={"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]}),
        raw(index=0, delta={"content": [{"type": "reasoning", "text": "m."}, {"type": "text", "text": "Hello"}]}),
        reasoning="Hmm.",
    ),
    gives(
        "a summary among the content's parts, as Databricks sends it",
        raw(index=0, delta={"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hmm."}]}]}),
        raw(index=0, delta={"content": [{"type": "text", "text": "Hello"}]}),
        reasoning="Hmm.",
    ),
    gives(
        "content as parts beside an empty one",
        part("", reasoning_content="Hmm.", multimodal_content=[{"type": "text", "text": "Hmm."}]),
        *(part("", multimodal_content=[{"type": "text", "text": text}]) for text in ("Hel", "lo")),
        reasoning="Hmm.",
    ),
    gives(
        "content as parts beside it",
        *(raw(index=0, delta={"multimodal_content": [{"type": "text", "text": text}]}) for text in ("Hel", "lo")),
    ),
    gives("content without a role", raw(index=0, delta={"content": "Hello"})),
    gives("index missing", raw(delta={"content": "Hello"}, finish_reason=None)),
    gives("index a float", raw(index=0.0, delta={"content": "Hello"})),
    gives("a role only at the end", raw(index=0, delta={"content": "Hello"}), raw(index=0, delta={"role": "assistant"})),
    gives("text together with finish_reason", "Hel", chunk("lo", "stop"), end=ENDED),
    gives("text after finish_reason", "Hel", STOP, "lo", end=ENDED),
    gives("finish twice", "Hello", STOP, STOP, end=ENDED, metadata=STOPPED),
    *(
        gives(f"finish twice, as {reasons}", "Hello", *map(finished, reasons), end=ENDED, metadata={"finish_reason": "length"})
        for reasons in (("length", "stop"), ("stop", "length"))
    ),
    gives("finish_reason unknown", "Hello", finished("tired"), end=ENDED, metadata={"finish_reason": "tired"}),
    *(
        gives(f"finish_reason {reason!r} until the end", chunk("Hello", reason), metadata=STOPPED)
        for reason in ("", "null", "None")
    ),
    *(
        gives(f"text cut by {reason}", "Hello", finished(reason), end=ENDED, metadata={"finish_reason": "length"})
        for reason in ("length", "max_tokens", "MAX_TOKENS", "model_length", "model_context_window_exceeded")
    ),
    *(
        gives(f"text withheld: {reason}", "Hello", finished(reason), end=ENDED, metadata={"finish_reason": "content_filter"})
        for reason in WITHHELD
    ),
    gives(
        "two choices interleaved",
        "Hel",
        raw(index=1, delta={"content": "Other"}, finish_reason=None),
        "lo",
        raw(index=1, delta={"content": "wise"}, finish_reason="stop"),
    ),
    gives("deltas of one choice in one event, as FastDeploy sends them", chunk(choices=[{"index": 0, "delta": {"content": text}} for text in ("Hel", "lo")])),
    gives(
        "two choices in one event",
        *(chunk(choices=[{"index": i, "delta": {"content": text}} for i in (0, 1)]) for text in ("Hel", "lo")),
    ),
    gives("the model in other words", chunk("Hello", model="Baidu/ERNIE"), metadata={"id": RESPONSE_ID}),
    gives("ids that change", chunk("Hel", id="a"), chunk("lo", id="b"), metadata={"id": "a"}),
    gives(
        "logprobs",
        *(raw(delta={"content": x}, logprobs={"content": [{"token": x}]}) for x in ("Hel", "lo")),
        metadata={"logprobs": {"content": [{"token": "Hel"}, {"token": "lo"}]}},
    ),
    gives(
        "unknown keys",
        chunk({"content": "Hello", "glow": {"a": 1}}, sparkle=[1]),
        metadata={"sparkle": [1]},
        extras={"glow": {"a": 1}},
    ),
    gives("a refusal", chunk({"refusal": "I cannot."}), text=None),
    gives("reasoning, then text", reasoned("", "Hm"), reasoned("", "m."), "Hello", reasoning="Hmm."),
    gives("reasoning in objects", *(part("", reasoning={"content": [{"type": "text", "text": text}]}) for text in ("Hm", "m.")), "Hello", reasoning="Hmm."),
    gives("reasoning and text in one delta", reasoned("Hel", "Hm"), reasoned("lo", "m."), reasoning="Hmm."),
    gives("reasoning after the text", "Hello", reasoned("", "Hmm."), reasoning="Hmm."),
    gives("a closing tag left after the reasoning", reasoned("", "Hmm."), *"\n</think>\n\n", "Hello", reasoning="Hmm."),
    gives("reasoning false", reasoned("Hello", False)),
    gives(
        "log probabilities that core cannot join",
        *(
            raw(index=0, delta={"content": text}, logprobs={"content": [text], "mean": mean, "x": [{"index": 0, "p": mean}]})
            for text, mean in (("Hel", -0.5), ("lo", -0.25))
        ),
        metadata={"logprobs": {"content": ["Hel", "lo"]}},
    ),
    gives("reasoning null in each delta", reasoned("Hello", None)),
    gives("reasoning only", reasoned("", "Hmm."), text="", reasoning="Hmm."),
    gives("arguments 100,000 deep", part("Hello", tool_calls=[{"function": {"name": "f", "arguments": "[" * 100_000}}]), invalid=1),
)  # fmt: skip


def with_usage(text, tokens):
    return chunk(text, usage=USAGE | {"completion_tokens": tokens, "total_tokens": 11 + tokens})


def paid(used):
    return {"usage": {"credits_used": used}}


CREDITS = {"credits_used": 3}
USAGES = (
    gives("no usage", "Hello", end=(STOP, DONE), usage=None),
    gives("usage null on each chunk", chunk("Hello", usage=None)),
    gives("usage with finish_reason", "Hello", finished("stop", usage=USAGE), end=(DONE,)),
    gives("usage twice", "Hello", end=(STOP, TAIL, TAIL, DONE)),
    gives(
        "usage, then zeros",
        "Hello",
        end=(STOP, TAIL, event(chunk(choices=[], usage=dict.fromkeys(USAGE, 0))), DONE),
    ),
    gives(
        "usage, then an unknown count",
        "Hello",
        end=(STOP, TAIL, event({"usage": {"output_tokens": 0}}), DONE),
    ),
    gives(
        "usage in two parts",
        chunk("Hello", usage={"prompt_tokens": 11, "completion_tokens": 1, "total_tokens": 12}),
        finished("stop", usage={"completion_tokens": 7}),
        end=(DONE,),
    ),
    gives(
        "usage in the choice",
        "Hello",
        raw(index=0, delta={}, finish_reason="stop", usage=USAGE),
        end=(DONE,),
    ),
    gives("usage before finish_reason", "Hello", end=(TAIL, STOP, DONE)),
    gives(
        "usage as running totals",
        *[with_usage("Hel", 3), with_usage("lo", 5), finished("stop", usage=USAGE)],
        end=(DONE,),
    ),
    gives(
        "meta alone, without choices",
        *["Hello", STOP, chunk(choices=[], usage=USAGE), {"meta": META}],
        end=(DONE,),
        metadata=CREDITS | {"usd_spent": 0.0000015},
    ),
    gives(
        "meta as running totals",
        *[chunk(choices=[], meta=paid(used)) for used in (1.5, 3, 4.5)],
        *["Hello", STOP],
        end=(DONE,),
        usage=None,
        metadata={"credits_used": 4.5},
    ),
    gives("meta twice", "Hello", STOP, TAIL, {"meta": META}, end=(DONE,), metadata=CREDITS),
    gives("meta null on each chunk", chunk("Hello", meta=None), metadata=CREDITS),
    gives(
        "meta with finish_reason",
        *["Hello", finished("stop", usage=USAGE, meta=META)],
        end=(DONE,),
        metadata=CREDITS,
    ),
    gives("usage after [DONE] is not waited for", "Hello", end=(STOP, DONE, TAIL), usage=None),
)

ERNIE = "<think>\nhm\n</think>\n\n<response>\nParis\n</response>"
UNTHOUGHT = "<response>\nParis\n</response>"
TAGS = (
    gives("ERNIE's tags in single characters", *ERNIE, text="Paris", reasoning="hm"),
    gives("<response> without <think>", UNTHOUGHT[:5], UNTHOUGHT[5:], text=UNTHOUGHT),
    gives("white space and nothing else", *"\n \t" * 9, text="\n \t" * 9),
)


def details(text, index=0, **more):
    return {"type": "reasoning.text", "text": text, "format": "ernie-v1", "index": index} | more


URLS = ["u1", "u2"]
CITED = {"citations": URLS}
IMAGES = [{"type": "image_url", "image_url": {"url": f"data:{i}"}} for i in range(3)]
ENCRYPTED = {"type": "reasoning.encrypted", "data": "x", "index": 0}
WHOLE = {"citations": URLS, "provider": "P", "n": 1}
OURS = {"model_provider": "aimlernie", **STOPPED, "logprobs": None, "output_version": None}
PIT = b"[" * 500 + b"]" * 500
PIT_CHUNK = as_bytes(chunk({"content": "Hel", "x": "@"}, x="@")).replace(b'"@"', PIT)
BESIDE_CHOICES = (
    gives(
        "unknown keys beside the choices, whole on each chunk",
        *[chunk("Hel", **WHOLE), chunk("lo", **WHOLE), finished("stop", **WHOLE)],
        end=ENDED,
        metadata=WHOLE,
        extras={},
    ),
    gives(
        "unknown keys beside the choices, once",
        *["Hello", STOP, chunk(choices=[], usage=USAGE, meta=META, citations=URLS)],
        end=(DONE,),
        metadata=CITED | CREDITS,
    ),
    gives("unknown keys without choices", "Hello", CITED, metadata=CITED),
    gives(
        "empty values and known keys beside the choices",
        *(chunk(text, citations=None, n=[], obfuscation=text) for text in ("Hel", "lo")),
        metadata=dict.fromkeys(("citations", "n", "obfuscation", "object")),
    ),
    gives(
        "unknown keys with names of ours",
        chunk("Hel", model_provider="x", logprobs=[1]) | {"finish_reason": "x"},
        chunk("lo", model_provider="x", output_version="v1", id="other"),
        metadata=OURS | {"id": RESPONSE_ID},
    ),
    gives("500 deep: unknown keys", event(PIT_CHUNK), part("lo", y=1), metadata={"x": None}, extras={"y": 1}),
    gives(
        "objects in pings",
        b'event: ping\ndata: {"type": "ping"}\n\n',
        "Hel",
        b'event: heartbeat\ndata: {"type": "ping", "time": 1.5}\n\n',
        "lo",
        metadata={"type": None, "time": None},
    ),
)  # fmt: skip
OF_THE_DELTA = (
    gives("once", "Hello", part("", images=IMAGES[:1], **CITED), extras=CITED | {"images": IMAGES[:1]}),
    gives("beside finish_reason", "Hello", chunk(CITED, "stop"), end=ENDED, extras=CITED),
    gives(
        "a text in increments",
        *[part("Hel", thought="ha"), part("l", thought="ho"), part("o", thought="! ")],
        extras={"thought": "haho! "},
    ),
    gives(
        "reasoning_details in increments",
        part("", reasoning_details=[details("Hm")]),
        part("", reasoning_details=[details("m."), details("Well.", 1)]),
        part("", reasoning_details=[details("", signature=None)]),
        part("Hel", reasoning_details=[details("", signature="s")]),
        part("lo", reasoning_details=[ENCRYPTED]),
        extras={"reasoning_details": [details("Hmm.", signature="s"), details("Well.", 1), ENCRYPTED]},
    ),
    gives(
        "annotations whole, audio in increments",
        part("Hel", annotations=[{"n": 1}], audio={"id": "a", "data": "xx"}),
        part("lo", annotations=[{"n": 1}], audio={"id": "a", "data": "yy", "expires_at": 5}),
        extras={"annotations": [{"n": 1}], "audio": {"id": "a", "data": "xxyy", "expires_at": 5}},
    ),
    gives(
        "a value that changes its type",
        *[part("Hel", x=None, y=1), part("l", x="a", y="b"), part("o", x=["c"], y={})],
        extras={"x": ["c"], "y": "b"},
    ),
    gives(
        "empty values and known keys",
        part("Hel", citations=None, images=[], note="", tool_calls=[], function_call=None),
        part("lo", refusal=None, reasoning="Hmm."),
        extras={"reasoning_content": "Hmm."},
    ),
    gives(
        "the API key",
        *[part("Hello", echo=f"Bearer {KEY[:9]}"), chunk({"echo": KEY[9:]}, request=[KEY])],
        metadata={"request": ["***"]},
        extras={"echo": "Bearer ***"},
    ),
)  # fmt: skip

CASES = (*CONTENT, *USAGES, *TAGS, *BESIDE_CHOICES, *OF_THE_DELTA)
