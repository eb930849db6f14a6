"""Many prompts: every result is saved, nothing is paid twice, and the pace and the budget hold."""

import asyncio
import contextlib
import errno
import json
import os
import random
import re
import signal
import statistics
import sys
import threading
import time
from decimal import Decimal
from io import FileIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from filelock import FileLock
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_openai import ChatOpenAI
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from langchain_aimlernie import AuthenticationError, PermissionDeniedError, SpendTracker
from langchain_aimlernie.batch import BatchError, BatchRun, RowFile
from langchain_aimlernie.testing import Fault, Reply
from tests.support.byte_server import wait_until

LINE_KEYS = {"id", "custom_id", "response", "error", "aimlernie"}
OUR_KEYS = {"key", "usd", "credits", "inference_id", "client_request_id", "attempts", "parsed"}


@pytest.fixture
def job(ernie_server, model, tmp_path):
    return Job(ernie_server, model, tmp_path / "out.jsonl")


class Job:
    """Runs of one job: what the server received, and what is in the files."""

    def __init__(self, server, model, out):
        self.server, self.model, self.out = server, model, out

    def batch(self, llm=None, **settings):
        """Return a run; `llm` has the settings of the model."""
        return BatchRun(self.model(**(llm or {})), self.out, **settings)

    @property
    def sent(self):
        return [each for each in self.server.requests if each.method == "POST"]

    @property
    def lines(self):
        return _lines(self.out)

    @property
    def errors(self):
        return _lines(self.errors_path)

    @property
    def errors_path(self):
        return self.out.with_name("out.errors.jsonl")


def prompts(number, start=0):
    return [{"custom_id": f"row-{n}", "prompt": f"Say {n}."} for n in range(start, number)]


def _lines(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def ids(lines):
    return [line["custom_id"] for line in lines]


def usd(lines):
    return sum(Decimal(line["aimlernie"]["usd"]) for line in lines)


HI = {"role": "user", "content": "Hi"}
BODY = {"model": "baidu/ernie-4.5-300b-a47b", "messages": [HI], "temperature": 0.5}
ROWS = [
    {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": BODY},
    {"custom_id": "b", "body": {"messages": [HI], "seed": 3, "metadata": None, "tags": None}},
    {"messages": [{"role": "system", "content": "Be brief."}, HI]},
    {"prompt": "Hi", "stop": ["."], "stream": True, "timeout": 50},
    "Just a prompt",
    [HumanMessage("A message")],
    [("human", "A tuple")],
    ChatPromptTemplate.from_template("A {x}").invoke({"x": "prompt value"}),
]


def test_every_format_becomes_a_call_and_a_line_that_openai_can_read(job):
    report = job.batch({"temperature": 0.1}).run(ROWS)
    assert (report.rows, report.succeeded, report.exit_code) == (8, 8, 0)
    bodies = {request.headers["x-client-request-id"]: request.body for request in job.sent}
    for line in job.lines:
        ours = line["aimlernie"]
        assert (line.keys(), ours.keys()) == (LINE_KEYS, OUR_KEYS)
        assert line["response"]["status_code"] == 200
        body = ChatCompletion.model_validate(line["response"]["body"], strict=True)
        assert body.choices[0].message.content.startswith("[local ErnieServer, not ERNIE]")
        assert body.usage.total_tokens > 0
        assert ours["client_request_id"].split(":")[1:] == [ours["key"][:16], "1"]
        assert ours["client_request_id"] in bodies
        assert isinstance(ours["usd"], str)
    assert report.usd == usd(job.lines) > 0
    assert [body["temperature"] for body in bodies.values()].count(0.1) == 7
    assert not any(body.get("stream") for body in bodies.values())
    assert {body["model"] for body in bodies.values()} == {"baidu/ernie-4.5-21b-a3b", BODY["model"]}


ARGUMENTS = '{"invalid_arguments": "["}'
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "["}}
BROKEN = {"name": "f", "args": "[", "id": "1", "error": None}
USE = {"type": "tool_use", "id": "1", "name": "f", "input": "["}
RESULT = {"role": "tool", "content": '{"a": 1}', "tool_call_id": "1"}
HISTORIES = {
    "OpenAI": [HI, {"role": "assistant", "tool_calls": [CALL]}, RESULT | {"content": {"a": 1}}],
    "Anthropic": [
        HI,
        {"role": "assistant", "content": [USE]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "1", "content": '{"a": 1}'}],
        },
    ],
    "LangChain": [
        HumanMessage([{"type": "text-plain", "text": "Hi"}]),
        AIMessage("", invalid_tool_calls=[BROKEN]),
        ToolMessage([{"json": {"a": 1}}], tool_call_id="1"),
    ],
    "pairs": [("user", "Hi"), ("assistant", [USE]), ("tool", '{"a": 1}')],
}


@pytest.mark.parametrize("messages", HISTORIES.values(), ids=HISTORIES)
def test_histories_of_every_provider_are_sent(job, messages):
    assert job.batch().run([{"messages": messages}]).succeeded == 1
    function = {"name": "f", "arguments": ARGUMENTS}
    turn = {"role": "assistant", "content": "", "tool_calls": [CALL | {"function": function}]}
    assert job.sent[0].body["messages"] == [HI, turn, RESULT]


@pytest.mark.parametrize("limits", [{}, {"tpm": 10**6}])  # which estimates tokens
@pytest.mark.parametrize(
    "message",
    [{"role": "critic", "content": "Hi"}, {"role": "user"}, {"role": "user", "content": 3}],
)
def test_a_row_whose_messages_cannot_be_read_fails_alone(job, message, limits):
    report = job.batch(**limits).run([{"messages": [message]}, "Hi"])
    assert (report.succeeded, report.failed, len(job.sent)) == (1, 1, 1)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"custom_id": "", "prompt": "x"}, "custom_id"),
        ({"custom_id": 3, "prompt": "x"}, "custom_id"),
        ({"prompt": 3}, "prompt"),
        ({}, "messages"),
        ({"prompt": "x", "messages": []}, "one of them"),
        ({"messages": []}, "not empty"),
        ({"messages": "x"}, "list"),
        ({"body": "x"}, "object"),
        ({"body": {"messages": [{}]}, "url": "/v1/embeddings"}, "url"),
        ({"body": {"messages": [{}]}, "method": "GET"}, "method"),
        ({"url": "/v1/chat/completions", "messages": [HI]}, '"body" must be an object'),
        ({"body": {"messages": [{}]}, "temperature": 1}, "temperature"),
        (3, "expected a dict"),
        (b"Hi", "message type"),
        ([HumanMessage([{"type": "hologram"}])], "'hologram' is not supported"),
        ({"messages": [3]}, "message type"),
        ({"prompt": "x", "n": 2}, "n must be 1: one choice of a row is saved"),
        ({"body": {"messages": [HI], "metadata": {"a": "b"}}}, "cannot set metadata"),
        ({"prompt": "x", "config": {}, "input": "y"}, "cannot set config, input"),
        *(
            (place(name), f"cannot set {name}; set it on the model")
            for name in (
                *("api_key", "base_url", "cache", "client_request_id", "default_headers"),
                *("extra_headers", "headers", "http_async_client", "openai_api_base"),
            )
            for place in (
                lambda name: {"prompt": "x", name: "y"},
                lambda name: {"body": {"messages": [HI], name: "y"}},
                lambda name: {"prompt": "x", "model_kwargs": {name: "y"}},
            )
        ),
    ],
)
def test_a_row_in_no_known_format_is_refused_before_anything_is_sent(job, row, problem):
    with pytest.raises(BatchError, match=rf"^Row 2: .*{problem}"):
        job.batch().run(["fine", row])
    assert not job.sent


@pytest.mark.parametrize("kind", [list, iter])
@pytest.mark.parametrize("same", ["custom_id", "everything"])
def test_a_duplicate_is_refused_before_it_is_sent(job, kind, same):
    again = prompts(1) if same == "custom_id" else [{"prompt": "Say it."}]
    with pytest.raises(BatchError, match="duplicate"):
        job.batch().run(kind([*prompts(3), *again, *prompts(9, 3), *again]))
    assert len(job.sent) == len(job.lines) <= (10 if kind is iter else 0)


def test_a_row_that_has_changed_is_refused(job):
    job.batch().run(prompts(1))
    schema = {"title": "A", "type": "object", "properties": {}}
    for row, llm, settings in (
        ({"prompt": "Another prompt"}, {}, {}),
        ({"seed": 2}, {}, {}),
        ({}, {"temperature": 1.0}, {}),
        ({}, {"model": "baidu/ernie-4.5-0.3b"}, {}),
        ({}, {}, {"schema": schema}),
    ):
        with pytest.raises(BatchError, match="row-0' has changed"):
            job.batch(llm, **settings).run([{**prompts(1)[0], **row}])
    assert len(job.sent) == 1


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"timeout": 5}, {"timeout": 6, "max_retries": 1}),
        ({"stop": ["."]}, {"stop_sequences": ["."]}),
    ],
)
def test_what_does_not_change_the_response_does_not_change_the_row(job, first, then):
    for params in (first, then):
        assert job.batch().run([prompts(1)[0] | params]).exit_code == 0
        assert BatchRun(job.model().bind(**params), job.out).run(prompts(2, 1)).exit_code == 0
    assert len(job.sent) == 2


def test_a_row_may_be_another_one_when_the_input_is_read_again(job):
    """A prompt that has the time, for instance."""
    texts = iter(["one", "two"])

    class Rows:
        def __iter__(self):
            return iter([{"custom_id": "a", "prompt": next(texts)}])

    assert job.batch().run(Rows()).succeeded == 1
    assert job.sent[0].body["messages"][0]["content"] == "two"


def test_lists_and_numbers_may_be_those_of_numpy(job):
    """As pandas reads them from Parquet."""
    message = {**HI, "content": np.array([{"type": "text", "text": "Hi"}])}
    row = {"messages": np.array([message]), "stop": np.array(["."]), "seed": np.int64(3)}
    assert job.batch().run([row]).succeeded == 1
    assert (job.sent[0].body["stop"], job.sent[0].body["seed"]) == (["."], 3)
    assert job.sent[0].body["messages"][0]["content"] in ("Hi", [{"type": "text", "text": "Hi"}])


def test_an_async_source_is_read_as_it_comes(job):
    async def rows():
        for row in prompts(2):
            yield row
        assert await asyncio.to_thread(wait_until, lambda: len(job.sent) == 2)
        yield prompts(3)[2]

    report = asyncio.run(job.batch().arun(rows()))
    assert (report.succeeded, report.rows) == (3, 3)


async def test_run_works_while_a_loop_runs(job):
    assert job.batch().run(prompts(2)).succeeded == 2


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("error", "problem"),
    [(RuntimeError("the database is gone"), "the database"), (asyncio.CancelledError(), "itself")],
)
def test_an_error_of_the_source_is_raised_when_what_is_in_flight_is_saved(
    job, error, problem, is_async
):
    def rows():
        yield from prompts(4)
        raise error

    async def arows():
        for row in rows():
            yield row

    with pytest.raises(RuntimeError, match=problem):
        job.batch().run(arows() if is_async else rows())
    assert len(job.lines) == len(job.sent) == 4


FILES = {
    "rows.jsonl": '{"prompt": "One\u2028"}\n\n{"custom_id": "x", "messages": [{"role": "user", "content": "Two"}]}\n',
    "bom.jsonl": '\ufeff{"prompt": "One"}\n{"body": {"messages": [{"role": "system", "content": "S"}]}}',
    "developer.jsonl": '{"messages": [{"role": "developer", "content": "S"}, {"role": "user", "content": "One"}]}\n',
    "long.csv": f"text\n{'x' * 1_000_000}\n",
    "self.csv": "text,self\nOne,Two\n",
    "blank.csv": "\n\ntext\n\nOne\n\n",
    "empty.csv": "\n",
    "optional.csv": "text,note\nOne,\n",
    "table.csv": 'custom_id,text\na,"One, two"\nb,"Li\nne",\n',
}


@pytest.mark.parametrize(
    ("name", "settings", "rows"),
    [
        ("rows.jsonl", {}, ["One\u2028", "Two"]),
        ("rows.jsonl", {"system": "Be brief."}, ["Be brief.", "One\u2028", "Be brief.", "Two"]),
        ("bom.jsonl", {"system": "X"}, ["X", "One", "S"]),
        ("developer.jsonl", {"system": "X"}, ["S", "One"]),
        ("table.csv", {"template": "Sum: {text}"}, ["Sum: One, two", "Sum: Li\nne"]),
        ("table.csv", {"template": "{text}", "shard": (2, 2)}, ["Li\nne"]),
        ("table.csv", {"template": "{text}", "shard": (1, 10**30)}, ["One, two"]),
        ("self.csv", {"template": "{text}{self}", "system": ""}, ["OneTwo"]),
        ("long.csv", {"template": "{text}"}, ["x" * 1_000_000]),
        ("blank.csv", {"template": "{text}"}, ["One"]),
        ("empty.csv", {"template": "{text}"}, []),
        ("optional.csv", {"template": "{text}{note}"}, ["One"]),
        ("optional.csv", {"template": "Tell a joke."}, ["Tell a joke."]),
    ],
)
def test_files_of_rows(tmp_path, name, settings, rows):
    path = tmp_path / name
    path.write_text(FILES[name], encoding="utf-8", newline="")
    texts = []
    for row in RowFile(path, **settings):
        body = row.get("body", row)
        texts += [body["prompt"]] if "prompt" in body else [m["content"] for m in body["messages"]]
    assert texts == rows


@pytest.mark.parametrize(
    ("name", "text", "settings", "problem"),
    [
        ("a.csv", "text\nx\n", {}, "needs a template"),
        ("a.csv", "text,more\nx\n", {"template": "{more}"}, "line 2: no value for more"),
        ("a.csv", "id,text\n1,One\n2, \n", {"template": "{text}"}, "line 3: no value for text"),
        ("a.csv", "id;text\n1;x\n", {"template": "{text}"}, "no value for text; .*id;text"),
        *(
            ("a.csv", "x", {"template": each}, "template '")
            for each in ("{x", "x}", "{0}", "{x.y}")
        ),
        ("a.csv", "text,text\nOne,Two\n", {"template": "{text}"}, "line 1: a column occurs twice"),
        ("a.csv", "text\nOne\n", {"template": "{text:d}"}, "line 2: template: Unknown format code"),
        ("a.csv", ",text\n0,One\n", {"template": "{}"}, "line 2: template: Format string"),
        ("a.jsonl", '{"input": "One"}\n', {"system": "Be brief."}, 'line 1: no "messages" or'),
        ("a.csv", "text\nOne, two\n", {"template": "{text}"}, "line 2: more values than columns"),
        (
            "a.csv",
            'text\n"One\nTwo\n',
            {"template": "{text}"},
            "after line 1: invalid CSV: unexpected",
        ),
        ("a.jsonl", "[" * 100_000, {}, "line 1: invalid JSON"),
        ("a.jsonl", '{"prompt": "x"}\n[1]\n', {}, "line 2: expected an object"),
        ("a.jsonl", '{"prompt": "x"}\n{"pro\n', {}, "line 2: invalid JSON"),
        ("a.jsonl", '{"prompt": "\xe4"}\n', {}, r"a\.jsonl is not encoded in UTF-8"),
        *(("a.jsonl", "", {"shard": shard}, "shard must be") for shard in ((0, 4), (5, 4))),
    ],
)
def test_an_invalid_file_of_rows_is_named(tmp_path, name, text, settings, problem):
    (tmp_path / name).write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=problem):
        list(RowFile(tmp_path / name, **settings))


@pytest.mark.skipif(sys.platform == "win32", reason="has no named pipes")
def test_a_pipe_could_not_be_read_twice(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BatchError, match="regular file"):
        list(RowFile(tmp_path / "pipe"))


class Frame(list):
    """Yields the names of its columns, as a data frame does."""

    columns = ("prompt",)


@pytest.mark.parametrize(
    "rows", ["Hi", b"Hi", {"prompt": "Hi"}, Path("in.jsonl"), Frame(["prompt"])]
)
def test_what_is_no_list_of_rows_is_refused(job, rows):
    for method in (job.batch().run, job.batch().estimate):
        with pytest.raises(BatchError, match="iterable of rows"):
            method(rows)
    assert not job.sent


class City(BaseModel):
    """A city."""

    name: str


ROME = '{"name": "Rome"}'


def test_a_schema_gives_objects_and_keeps_the_completions(job):
    job.server.reply(ROME)
    job.server.reply('{"town": "Rome"}')
    report = job.batch(schema=City, max_in_flight=1).run(prompts(2))
    assert (report.succeeded, report.failed) == (1, 1)
    (done,), (failed,) = job.lines, job.errors
    assert done["aimlernie"]["parsed"] == json.loads(ROME)
    ChatCompletion.model_validate(done["response"]["body"])
    assert failed["error"]["code"] == "output_parsing_failed"
    message = failed["response"]["body"]["choices"][0]["message"]
    assert json.loads(message["content"]) == {"town": "Rome"}
    assert report.usd == usd([done, failed]) > usd([failed]) > 0


def test_a_row_that_is_asked_again_costs_both_calls(job):
    job.server.reply('{"town": "Rome"}')
    job.server.reply(ROME)
    report = job.batch(schema=City).run([{"prompt": "x", "retry": 1}])
    assert (len(job.sent), report.succeeded) == (2, 1)
    assert report.usd == usd(job.lines) == job.server.totals.usd_spent


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"response_format": {"type": "json_object"}}, "response_format cannot be set"),
        ({"include_raw": True, "schema": {"type": "object"}}, "include_raw, schema cannot be set"),
        ({"user": "a", "logit_bias": {"1": 1}, "response_format": None}, None),
        ({"method": "function_calling", "temperature": 0.5}, None),
    ],
)
@pytest.mark.filterwarnings("ignore:.*sent as a field of the body")
def test_what_a_row_sets_beside_a_schema(job, params, problem):
    with pytest.raises(ValueError, match=problem) if problem else contextlib.nullcontext():
        BatchRun(job.model().bind(**params), job.out, schema=City)
    rows = [{"custom_id": "a", "body": {"messages": [HI], **params}}]
    expected = pytest.raises(BatchError, match=f"Row 1: {problem}")
    with expected if problem else contextlib.nullcontext():
        assert job.batch(schema=City).run(rows).succeeded == 1
    for request in job.sent:
        assert {*params} - {"method", "response_format"} <= {*request.body}
    assert bool(job.sent) is not bool(problem)


def test_completions_are_parsed_again_without_a_call(job):
    class Strict(BaseModel):
        name: str

        def model_post_init(self, _):
            if self.name == "Rome" and not patched:
                raise ValueError("not yet")

    patched = False
    job.server.reply('{"name": "Rome"}')
    run = job.batch(schema=Strict)
    assert run.run(prompts(1)).exit_code == 2
    patched = True
    report = run.run(prompts(1))
    assert (report.exit_code, report.skipped) == (0, 1)
    assert job.lines[0]["aimlernie"]["parsed"] == {"name": "Rome"}
    assert not job.errors
    assert len(job.sent) == 1


def test_any_runnable_can_be_run(job):
    chain = ChatPromptTemplate.from_template("Say {word}.") | job.model() | (lambda m: m.text)
    rows = [{"custom_id": "a", "word": "one"}, {"word": "two"}, {"input": {"word": "three"}}]
    run = BatchRun(chain, job.out)
    estimate = run.estimate(rows)
    assert (estimate.rows, estimate.usd) == (3, None)
    assert "unknown" in str(estimate)
    assert run.run(rows).succeeded == 3
    ends = {line["response"]["body"]["output"][-4:] for line in job.lines}
    assert ends == {"one.", "two.", "ree."}
    assert all(usd([line]) > 0 for line in job.lines)
    assert run.run(rows).skipped == 3
    with pytest.raises(ValueError, match="with_structured_output"):
        BatchRun(chain, job.out, schema=City)
    structured = job.model().with_structured_output(City)
    assert BatchRun(structured, job.out).run(["Where?"]).succeeded == 1
    assert job.lines[-1]["response"]["body"]["output"].keys() == {"name"}


def test_a_bound_model_keeps_its_parameters_and_its_config(job):
    bound = job.model().bind(temperature=0.3).with_config(callbacks=[SpendTracker()], tags=["t"])
    assert BatchRun(bound, job.out).run([{"prompt": "x", "seed": 4}]).succeeded == 1
    assert (job.sent[0].body["temperature"], job.sent[0].body["seed"]) == (0.3, 4)
    with pytest.raises(BatchError, match="has changed"):
        job.batch().run([{"custom_id": job.lines[0]["custom_id"], "prompt": "x", "seed": 4}])


WRAPPERS = {
    "configurable_fields": lambda llm: llm.configurable_fields(
        temperature=ConfigurableField("heat")
    ).with_config(configurable={"heat": 0.3}),
    "configurable_alternatives": lambda llm: llm.configurable_alternatives(
        ConfigurableField("which"), other=llm
    ),
    "with_fallbacks": lambda llm: llm.with_fallbacks([llm]),
    "with_retry": lambda llm: llm.with_retry(),
    "all": lambda llm: (
        WRAPPERS["configurable_fields"](llm)
        .with_fallbacks([llm])
        .with_retry()
        .with_config(tags=["t"])
    ),
    "of another package": lambda llm: ChatOpenAI(
        base_url=llm.base_url, api_key=llm.api_key, model=llm.model_name, temperature=0.3
    ),
}


@pytest.mark.parametrize("kind", WRAPPERS)
def test_a_wrapped_model_takes_rows_of_every_format(job, kind):
    wrapped = WRAPPERS[kind](job.model(temperature=0.3))
    rows = [*ROWS, {"input": "As of a chain"}]
    for done in (9, 0):
        report = BatchRun(wrapped, job.out).run(rows)
        assert (report.succeeded, report.failed) == (done, 0)
    assert sorted(request.body["temperature"] for request in job.sent) == [0.3] * 8 + [0.5]
    assert sum(request.body.get("seed") == 3 for request in job.sent) == 1
    with pytest.raises(BatchError, match='expected "messages"'):
        BatchRun(wrapped, job.out).run([{"text": "Hi"}])


@pytest.mark.slow
def test_the_pace_of_a_chain_follows_the_errors_that_it_raises(job):
    class BusyError(Exception):
        status_code = 429
        retry_after = "soon"

    tries = []

    async def busy(row):
        tries.append(row["n"])
        if tries.count(row["n"]) < 3:
            raise BusyError
        if row["n"] == 2:
            raise ConnectionError("gone")
        return {"n": row["n"], "set": {1, 2}, "not": float("nan")}

    report = BatchRun(RunnableLambda(busy), job.out).run([{"n": n} for n in range(5)])
    assert (report.succeeded, report.failed) == (4, 1)
    assert job.lines[0]["response"]["body"]["output"]["not"] is None
    assert job.errors[0]["error"] == {"code": "connection_error", "message": "gone"}


def test_a_run_continues_where_the_last_one_stopped(job):
    seen = []
    run = job.batch(on_progress=lambda report: seen.append(report.succeeded))
    report = run.run(iter(prompts(5)))
    assert seen == [1, 2, 3, 4, 5]
    assert run.report is report
    assert str(report).startswith("5 rows done, 0 failed, ")
    assert f"${report.usd.normalize():f}" in str(report)
    report = run.run(iter(prompts(8)))
    assert (report.succeeded, report.skipped, report.rows) == (3, 5, 8)
    assert report.total_usd == usd(job.lines)
    assert run.run(prompts(8)).exit_code == 0
    assert len(job.sent) == len(job.lines) == 8


async def test_errors_of_another_packages_model_mean_what_ours_mean(job):
    ours, settings = job.model(), {"timeout": 20, "max_retries": 0}  # a client of this test's own
    llm = ChatOpenAI(
        base_url=ours.base_url, api_key=ours.api_key, model=ours.model_name, **settings
    )
    run = BatchRun(llm, job.out, max_in_flight=1)
    job.server.reply(Reply(status=429, body={"error": {"code": "insufficient_quota"}}))
    assert (await run.arun(prompts(2))).stopped == "credits"
    job.server.reply(Reply(status=401, body={}))
    with pytest.raises(Exception, match="401") as caught:  # old versions have openai's class
        await run.arun(prompts(2))
    assert caught.value.status_code == 401
    assert (job.errors, len(job.sent)) == ([], 2)
    job.server.reply(Reply(fault=Fault("drop")))
    assert (await run.arun(prompts(2))).succeeded == 1
    assert job.errors[0]["error"]["code"] in ("connection_error", "APIConnectionError")


class ServiceError(Exception):
    """Has the response of a service, as those of httpx and requests do."""

    response = SimpleNamespace(status_code=500)


@pytest.mark.parametrize(
    ("error", "code", "is_transient"),
    [
        (TimeoutError(), "timeout", True),
        (ConnectionResetError(), "connection_error", True),
        (ServiceError(), None, True),
        (OutputParserException("no JSON"), "output_parsing_failed", False),
    ],
)
def test_an_error_within_a_chain_has_a_standard_code(job, error, code, is_transient):
    def fail(_):
        raise error

    run = BatchRun(RunnableLambda(fail), job.out, retry_failed="transient")
    assert run.run(["x"]).failed == 1
    assert (job.errors[0]["error"] or {}).get("code") == code
    assert run.estimate(["x"]).rows == is_transient


class Odd:
    def __str__(self):
        raise RuntimeError("no text")


CYCLE = []
CYCLE.append(CYCLE)
ANSWER = {"type": "text", "text": "a"}
ODD_OUTPUTS = {
    "bytes": b"\xff",
    "keys": {(1, 2): 3, b"\xff": 1, "\ud800": 2},
    "a cycle": CYCLE,
    "no text": [Odd()],
    "blocks": AIMessage([ANSWER, {"type": "server_tool_use", "id": "1", "input": {}}, {"new": 1}]),
    "arguments": AIMessage(
        "a", tool_calls=[{"name": "f", "args": {"x": Decimal(1), "y": b"\xff"}, "id": "1"}]
    ),
    "facts": AIMessage(
        "a", response_metadata={"id": Decimal(1), "created": Odd(), "logprobs": {1}}
    ),
}


@pytest.mark.parametrize("output", ODD_OUTPUTS.values(), ids=ODD_OUTPUTS)
def test_whatever_a_runnable_returns_or_raises_is_saved(job, output):
    def work(text):
        if text == "raise":
            raise type("OddError", (Odd, Exception), {"status_code": 500, "code": Odd()})
        return output

    report = BatchRun(RunnableLambda(work), job.out).run(["return", "raise"])
    assert (report.succeeded, report.failed) == (1, 1)
    body = job.lines[0]["response"]["body"]
    if isinstance(output, AIMessage):
        message = body["choices"][0]["message"]
        assert "a" in str(message["content"])
        assert len(message.get("tool_calls", ())) == len(output.tool_calls)
    assert job.errors[0]["response"]["body"]["error"]["type"] == "OddError"


def test_a_call_that_cancels_itself_is_a_failed_row(job):
    async def work(text):
        if text == "cancel":
            raise asyncio.CancelledError
        return text

    report = BatchRun(RunnableLambda(work), job.out).run(["cancel", "return"])
    assert (report.succeeded, report.failed, report.exit_code) == (1, 1, 2)
    assert job.errors[0]["error"]["message"] == "The call cancelled itself."


async def test_a_source_that_ignores_its_cancellation_is_not_read_on(job):
    job.server.fail(401)

    async def rows():
        yield "first"
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        yield "second"

    with pytest.raises(AuthenticationError):
        await asyncio.wait_for(job.batch().arun(rows()), 20)
    assert len(job.sent) == 1


@pytest.mark.parametrize("kind", [LookupError, SystemExit])
def test_a_source_closes_undisturbed_though_many_calls_end_the_run(job, kind):
    has_closed = []

    async def rows():
        try:
            for row in prompts(8):
                yield row
            await asyncio.Event().wait()
        finally:
            has_closed.append(await asyncio.to_thread(wait_until, lambda: len(job.lines) == 8))

    with pytest.raises(kind, match="no screen"):
        job.batch(on_progress=lambda _: no_screen(kind)).run(rows())
    assert has_closed == [True]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs tasks that start eagerly")
async def test_tasks_may_start_eagerly(job):
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    for limit, stopped in ((None, None), (0, "budget")):
        run = job.batch(limit_usd=limit)
        report = await asyncio.wait_for(run.arun(prompts(20 if limit is None else 30)), 20)
        assert (len(job.lines), report.stopped) == (20, stopped)


@pytest.mark.slow
def test_results_come_in_the_order_of_the_input(job):
    async def work(row):
        if row["prompt"] == "Say 0.":
            assert await asyncio.to_thread(wait_until, lambda: len(job.lines) == 5)

    run = BatchRun(RunnableLambda(work), job.out)
    run.run(prompts(6))
    assert ids(job.lines)[-1] == "row-0"
    assert ids(run.results(ordered=True)) == ids(prompts(6))
    assert {*ids(run.results())} == {*ids(prompts(6))}


@pytest.mark.slow
def test_an_output_that_another_run_uses_is_refused(job):
    is_refused = threading.Event()
    job.server.on_request = lambda _: Reply("slow") if is_refused.wait(30) else None
    first = threading.Thread(target=job.batch().run, args=[prompts(1)])
    first.start()
    assert wait_until(lambda: job.server.requests)
    with pytest.raises(BatchError, match="in use by another run"):
        job.batch().run(prompts(2))
    is_refused.set()
    first.join()
    assert len(job.lines) == 1


@pytest.mark.slow
def test_failed_rows_go_to_a_file_of_their_own(job):
    once = {"max_retries": 0}
    job.server.fail(400, "Nobody can answer this", code="bad")
    job.batch(once).run([{"custom_id": "http", "prompt": "x"}])
    job.server.on_request = lambda each: (
        Reply("late", delay=30) if "Slow" in str(each.body) else None
    )
    report = job.batch({**once, "timeout": 0.2}).run([{"custom_id": "slow", "prompt": "Slowly"}])
    assert (report.failed, report.failed_before, report.exit_code) == (1, 1, 2)
    rows = [{"custom_id": "range", "prompt": "x", "temperature": 9}, *prompts(1)]
    report = job.batch(once).run(rows)
    assert (report.succeeded, report.failed, report.exit_code) == (1, 1, 2)
    http, slow, bad = job.errors
    assert http["response"]["status_code"] == 400
    error = http["response"]["body"]["error"]
    assert (error["message"], error["code"]) == ("Nobody can answer this", "bad")
    assert error.keys() == {"message", "type", "param", "code"}
    assert (http["error"], slow["response"], bad["response"]) == (None, None, None)
    assert (slow["error"]["code"], bad["error"]["code"]) == ("timeout", "invalid_request")
    assert "temperature must be" in bad["error"]["message"]
    assert ids(job.lines) == ["row-0"]


@pytest.mark.parametrize(
    ("retry", "again"), [("none", []), ("transient", ["row-1"]), ("all", ["row-0", "row-1"])]
)
def test_failed_rows_are_run_again_on_demand(job, retry, again):
    once = {"max_retries": 0}
    failures = {"Say 0.": Reply(status=400, body={}), "Say 1.": Reply(status=500, body={})}
    job.server.on_request = lambda each: failures.get(each.body["messages"][0]["content"])
    assert job.batch(once).run(prompts(3)).exit_code == 2
    job.server.on_request = None
    before = len(job.sent)
    report = job.batch(once, retry_failed=retry).run(prompts(3))
    assert len(job.sent) - before == report.succeeded == len(again)
    assert {*ids(job.errors)} == {"row-0", "row-1"} - {*again}
    assert report.exit_code == (0 if len(again) == 2 else 2)
    assert report.failed_before == 2 - len(again)


ODD = ["\u2028 and \u0085", "\ud800 alone", "nul \x00", "x" * 1_000_000, "\r\n", "🎉", "\\u2028"]


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_any_text_ends_up_in_one_of_the_files(job, text):
    job.server.on_request = lambda _: Reply(text)
    run = job.batch()
    rows = [{"custom_id": text[:50], "prompt": text}]
    report = run.run(rows)
    assert report.succeeded + report.failed == 1
    assert ids([*job.lines, *job.errors]) == [text[:50]]
    assert len((job.out.read_text() if job.lines else "x").splitlines()) == 1
    assert run.run(rows).skipped + report.failed == 1


@pytest.mark.slow
def test_the_last_line_may_be_cut_anywhere(job):
    run = job.batch()
    run.run(prompts(3))
    data = job.out.read_bytes()
    last = data[:-1].rfind(b"\n") + 1
    for cut in {*range(last, len(data), 97), last + 1, len(data) - 1}:
        job.out.write_bytes(data[:cut])
        assert run.run([]).exit_code == 0
        assert job.out.read_bytes() == data[:last]
    job.out.write_bytes(data[:-1])  # the whole line, but not its newline
    run.run(prompts(3))
    assert len(job.lines) == 3
    assert len(job.sent) == 4


def test_an_invalid_line_is_named(job):
    run = job.batch()
    run.run(prompts(2))
    first, second = job.out.read_bytes().splitlines(keepends=True)
    own = json.loads(first)
    key = own["aimlernie"]["key"]
    blank = second.replace(
        json.loads(second)["aimlernie"]["key"].encode(), b"ab cd ef " + key[:54].encode()
    )
    for bad in (b"{}\n", b"\n", b"no json\n", first[:40] + b"\n", b"[" * 99_999 + b"\n", blank):
        job.out.write_bytes(first + bad + second)
        for read in (lambda: run.run(prompts(2)), lambda: [*run.results()]):
            with pytest.raises(BatchError, match=r"out\.jsonl, line 2"):
                read()
    for name, value in (("response", "x"), ("error", "x"), ("error", []), ("id", "x")):
        job.errors_path.write_text(f"{json.dumps({**own, name: value})}\n")
        with pytest.raises(BatchError, match=r"out\.errors\.jsonl, line 1"):
            run.run(prompts(2))
    job.out.write_bytes(second)
    for code in ("output_parsing_failed", ["a list"]):
        edited = {**own, "response": None, "error": {"code": code}}
        job.errors_path.write_text(f"{json.dumps(edited)}\n")
        assert run.run(prompts(2)).exit_code == 2
    job.errors_path.unlink()
    for other in (b'{"prompt": "mine"}', first + b"Note", b'{"prompt": "a"}\n{"id": "'):
        job.out.write_bytes(other)
        with pytest.raises(BatchError, match=r"out\.jsonl, (line 1|the last line)"):
            run.run(prompts(2))
        assert job.out.read_bytes() == other  # a file that is not ours stays as it is
    job.out.write_bytes(first + b"\0" * 99)  # as a power failure may leave it
    assert run.run([]).exit_code == 0
    assert job.out.read_bytes() == first


def test_what_was_paid_and_not_saved_is_reported(job):
    run = job.batch()
    run.run(prompts(5))
    lost = usd(job.lines[3:])
    kept = job.out.read_bytes().splitlines(keepends=True)[:3]
    job.out.write_bytes(b"".join(kept) + b'{"id": "batch')
    BatchRun(job.model(), job.out.with_name("other.jsonl")).run(prompts(5))  # loses nothing
    report = run.run(prompts(5))
    assert report.unsaved_usd == lost > 0
    assert "paid for responses that were lost" in str(report)
    for moment in (-9.0, time.time() + 3600):  # the losses of a long job stay in its report
        for path in job.out.parent.glob("out.*"):
            os.utime(path, (moment, moment))
        for _ in range(2):
            assert run.run(prompts(6)).unsaved_usd == lost


@pytest.mark.parametrize(
    ("reply", "is_lost"),
    [
        (Reply(fault=Fault("drop")), True),
        (Reply(body={"choices": []}), True),
        (Reply(body="no JSON"), True),
        (Reply(status=500, body={}), False),
    ],
)
def test_a_run_reports_the_responses_that_it_has_lost_itself(job, reply, is_lost):
    job.server.reply(reply)
    report = job.batch({"max_retries": 0}).run(prompts(2))
    assert report.failed == 1
    assert bool(report.unsaved_usd) is is_lost


def test_a_lost_call_counts_beside_a_saved_failure_of_its_row(job):
    texts = ["no object", ROME, ROME]
    job.server.on_request = lambda _: Reply(texts.pop(0))
    run = job.batch(schema=City, retry_failed="all")
    run.run(prompts(1))
    yesterday = f"{int(time.time()) - 86_400:x}".encode()
    errors = re.sub(rb"(?<=batch_req_.{8}).{8}", yesterday, job.errors_path.read_bytes())
    job.errors_path.write_bytes(errors)
    lost = run.run(prompts(1)).usd
    job.errors_path.write_bytes(errors)  # as if that run had been killed
    job.out.unlink()
    for _ in range(2):
        assert run.run(prompts(1)).unsaved_usd == lost > 0
    log = [each for each in job.server.requests if each.path == "/v2/logs"]
    assert len({tuple(each.query["start"]) for each in log}) == 1  # that of the first run


def test_calls_of_another_machine_are_not_lost(job):
    """The path of the output is the same there, and so is the account."""
    for rows in (prompts(3), prompts(6, start=3)):
        job.batch().run(rows)
        assert job.batch().run(rows).unsaved_usd == 0
        job.out.unlink()


@pytest.mark.slow
def test_a_server_that_accepts_four_calls_at_a_time_gets_about_four(job):
    """It does not say when to come again."""
    in_flight = []

    def respond(_):
        accepted = sum(each <= 4 for each in in_flight)
        in_flight.append(accepted - job.server.totals.answers + 1)
        return Reply("fine", delay=0.05) if in_flight[-1] <= 4 else Reply(status=429, body={})

    job.server.on_request = respond
    report = job.batch().run(prompts(100))
    assert (report.succeeded, report.failed) == (100, 0)
    assert 2.5 < statistics.mean(in_flight) < 5
    assert len(in_flight) < 150


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limits", "waited", "calls"),
    [({"rpm": 1200}, 0.22, 6), ({"tpm": 240_000}, 0.22, 6), ({}, 0.4, 7)],  # {}: Retry-After
)
def test_the_rates_hold(job, limits, waited, calls):
    usage = {"prompt_tokens": 100, "completion_tokens": 100, "total_tokens": 200}
    if not limits:
        job.server.fail(429, headers={"retry-after-ms": "400"})
    job.server.reply("four", usage=usage, times=6)
    begin = time.monotonic()
    assert job.batch(max_in_flight=1, **limits).run(prompts(6)).succeeded == 6
    assert waited < time.monotonic() - begin < 30
    assert len(job.sent) == calls


@pytest.mark.slow
def test_errors_that_may_pass_are_tried_again_with_another_id(job):
    job.server.fail(500, headers={"retry-after-ms": "1"}, times=2)
    assert job.batch().run(prompts(1)).succeeded == 1
    calls = [request.headers["x-client-request-id"].rpartition(":") for request in job.sent]
    assert [attempt for _, _, attempt in calls] == ["1", "2", "3"]
    assert len({call for call, _, _ in calls}) == 1
    assert job.lines[0]["aimlernie"]["attempts"] == 3


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (401, "bad key", AuthenticationError),
        (403, "wrong scope", PermissionDeniedError),
        (403, "You've run out of credits", None),
    ],
)
def test_a_refusal_ends_the_run_which_can_be_continued(job, status, message, error):
    job.server.reply("done", times=3)
    job.server.fail(status, message)
    run = job.batch(max_in_flight=1)
    with pytest.raises(error) if error else contextlib.nullcontext():
        run.run(prompts(9))
    if error is None:
        assert (run.report.stopped, run.report.exit_code) == ("credits", 3)
    assert (run.report.succeeded, len(job.lines), len(job.errors), len(job.sent)) == (3, 3, 0, 4)
    assert run.run(prompts(9)).exit_code == 0
    assert len(job.sent) == 10


@pytest.mark.slow
def test_the_budget_is_that_of_the_whole_job(job):
    job.server.on_request = lambda _: Reply("five", delay=0.02)
    price = job.batch().run(prompts(1)).usd
    for done in (4, 4, 7):
        report = job.batch(limit_usd=price * done, max_in_flight=16).run(prompts(30))
        assert (report.stopped, report.exit_code) == ("budget", 3)
        assert len(job.lines) == done
        assert report.total_usd == price * done
    assert len(job.sent) == 7


def test_what_failed_rows_have_cost_stays_in_the_budget(job):
    texts = ["no object", "no object", "still none", ROME]
    job.server.on_request = lambda _: Reply(texts.pop(0))
    run = job.batch(schema=City, retry_failed="all", max_in_flight=1)
    spent = run.run(prompts(2)).usd
    for failed in (1, 0, 0):
        report = run.run(prompts(2))
        spent += report.usd
        assert report.total_usd == spent
        assert not report.unsaved_usd  # each call is in the total
        assert len(job.errors) == failed
        texts = texts or [ROME]
    assert usd(job.lines) == spent > 0
    assert run.run(prompts(2)).total_usd == spent


def test_a_response_without_a_price_is_no_response_for_nothing(job):
    job.server.reply("x", meta=None)
    assert job.batch().run(prompts(1)).usd == 0
    facts = job.lines[0]["aimlernie"]
    assert (facts["usd"], facts["credits"]) == (None, None)


def test_estimate_sends_no_row(job):
    run = job.batch()
    estimate = run.estimate(prompts(10))
    assert (estimate.rows, estimate.output_tokens) == (10, 5_000)
    assert "$" in str(estimate)
    assert estimate.usd > job.batch({"max_tokens": 5}).estimate(prompts(10)).usd > 0
    assert not job.sent
    with pytest.raises(BatchError, match="duplicate"):
        run.estimate(prompts(1) * 2)
    assert not [*job.out.parent.iterdir()]


def test_estimate_leaves_out_what_would_not_be_sent_again(job):
    job.server.fail(400)
    job.server.fail(408, headers={"x-should-retry": "false"})
    job.batch({"max_retries": 0}, max_in_flight=1).run(prompts(5))
    for retry, rows in (("none", 5), ("transient", 6), ("all", 7)):
        run = job.batch({"max_retries": 0}, retry_failed=retry)
        estimate = run.estimate(prompts(10))
        assert (estimate.rows, estimate.output_tokens) == (rows, rows * 500)
    with pytest.raises(BatchError, match="has changed"):
        job.batch({"seed": 1}).estimate(prompts(1))
    with FileLock(f"{job.out}.lock"):
        assert run.estimate(iter(prompts(5))).rows == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("max_in_flight", value) for value in (0, 2.5, "8")),
        *((name, value) for name in ("rpm", "tpm") for value in (0, -1, "60")),
        *(("limit_usd", -1), ("retry_failed", "some")),
    ],
)
def test_invalid_settings_are_refused(job, name, value):
    with pytest.raises(ValueError, match=name):
        job.batch(**{name: value})


def test_a_function_is_run_and_what_cannot_be_run_is_refused(job):
    BatchRun(str.upper, job.out).run([{"input": "a"}])
    assert job.lines[0]["response"]["body"] == {"output": "A"}
    with pytest.raises(TypeError, match="Expected a Runnable"):
        BatchRun("a", job.out)


def get_weather(city: str) -> str:
    """Get the weather."""
    return city


@pytest.mark.parametrize(
    ("bound", "settings"),
    [
        ({"max_retries": None}, {}),
        ({"response_format": City}, {}),
        ({"tools": [get_weather, City]}, {}),
        ({}, {"rpm": Decimal(60_000), "tpm": Decimal(10**9)}),
    ],
)
def test_settings_of_any_type_are_those_of_each_row(job, bound, settings):
    for done in (2, 0):
        report = BatchRun(job.model().bind(**bound), job.out, **settings).run(prompts(2))
        assert (report.succeeded, report.failed) == (done, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
def test_a_link_to_an_output_that_another_run_uses_is_refused(job):
    link = job.out.with_name("link.jsonl")
    link.symlink_to(job.out)
    with FileLock(f"{job.out}.lock"), pytest.raises(BatchError, match="in use"):
        BatchRun(job.model(), link).run(prompts(1))
    assert not job.sent


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
def test_a_link_to_itself_is_an_error_of_the_system(job):
    job.out.symlink_to(job.out)
    with pytest.raises(OSError, match="symbolic links"):
        job.batch().run(prompts(1))
    assert not job.sent


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and signals")
@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost_and_little_is_paid_twice(job):
    from tests.support.batch_process import start_batch

    job.server.on_request = lambda _: Reply("fine", delay=0.03)
    kills, rows = 4, 80
    for _ in range(kills):
        before = len(job.sent)
        process = start_batch(job.server, job.out, rows)
        while len(job.sent) == before and process.is_alive():
            time.sleep(0.005)
        time.sleep(random.uniform(0, 0.15))
        process.kill()
        process.join()
    process = start_batch(job.server, job.out, rows)
    process.join()
    assert process.exitcode == 0
    assert sorted(ids(job.lines)) == sorted(f"row-{n}" for n in range(rows))
    assert len(job.sent) <= rows + kills * 8
    saved = {line["aimlernie"]["client_request_id"] for line in job.lines}
    assert saved <= {request.headers["x-client-request-id"] for request in job.sent}


@contextlib.contextmanager
def full_disk(failures):
    """A disk that takes two rows more, and then refuses so many."""
    full = OSError(errno.ENOSPC, "No space left on device")
    outcomes = iter([None, None, *[full] * failures])

    class FullDisk(FileIO):
        def write(self, data):
            if error := next(outcomes, None):
                raise error
            return super().write(data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("langchain_aimlernie.batch.journal.FileIO", FullDisk)
        yield


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_loses_nothing(job):
    texts = [ROME, "no object"] * 15
    job.server.on_request = lambda _: Reply(texts.pop())
    with (
        full_disk(30),
        pytest.raises(OSError, match=r"No space left on device: '/.*out\.") as failure,
    ):
        job.batch(schema=City).run(prompts(30))
    assert len(job.lines) + len(job.errors) == 2
    (note,) = failure.value.__notes__
    for source, target in re.findall(r"paid for are in (\S+): append them to (\S+) before", note):
        with Path(target).open("ab") as whole:
            whole.write(Path(source).read_bytes())
        Path(source).unlink()
    assert len(job.lines) + len(job.errors) == len(job.sent) < 30
    assert job.errors
    assert job.batch(schema=City).run(prompts(30)).rows == 30
    assert len(job.sent) == len(job.lines) + len(job.errors) == 30


@pytest.mark.slow
def test_what_a_full_disk_did_not_take_is_written_when_it_has_room_again(job):
    job.server.on_request = lambda each: Reply("x", delay=0.3 * ("Say 7" in str(each.body)))
    with full_disk(1), pytest.raises(OSError, match="No space left"):
        job.batch().run(prompts(8))
    assert len(job.lines) == len(job.sent) == 8


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_errors_that_are_solved_stay_while_the_disk_is_full(job):
    job.server.fail(500, headers={"x-should-retry": "false"}, times=2)
    job.batch({"max_retries": 0}).run(prompts(2))
    fresh = job.out.with_name(f"{job.errors_path.name}.new")
    fresh.symlink_to("/dev/full")
    run = job.batch({"max_retries": 0}, retry_failed="all")
    assert run.run(prompts(1)).exit_code == 2  # the other row has failed before
    assert (len(job.lines), len(job.errors), fresh.is_symlink()) == (1, 2, False)
    assert run.run(prompts(2)).exit_code == 0
    assert (len(job.lines), job.errors) == (2, [])


async def closing_forever(rows):
    try:
        for row in rows:
            yield row
    finally:
        await asyncio.Event().wait()


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)
@pytest.mark.parametrize(
    ("name", "times", "saved", "place"),
    [
        *(("SIGINT", 1, 8, "thread"), ("SIGINT", 2, 0, "thread"), ("SIGTERM", 1, 8, "thread")),
        *(("SIGINT", 1, 8, "cell"), ("SIGINT", 2, 0, "cell")),
        *(("SIGINT", 1, 8, "asyncio.run"), ("SIGINT", 2, 0, "asyncio.run")),
        pytest.param(
            "SIGHUP", 1, 8, "thread", marks=[] if hasattr(signal, "SIGHUP") else pytest.mark.skip
        ),
    ],
)
def test_ctrl_c_saves_what_is_in_flight_and_the_second_one_does_not(job, name, times, saved, place):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    if number != signal.SIGINT:  # a process that nohup began ignores it
        signal.signal(number, signal.SIG_DFL)
    has_ended = threading.Event()

    def respond(_):  # while it waits, the server does nothing else
        if len(job.sent) == 8:
            os.kill(os.getpid(), number)
            assert wait_until(lambda: run.report.stopped)
            if times == 2:
                os.kill(os.getpid(), number)
                has_ended.wait(30)
        return Reply("fine", delay=0.7)

    job.server.on_request = respond
    run = job.batch()
    rows = {1: iter, 2: closing_forever}[times](prompts(30))

    async def cell():
        run.run(rows)

    def begin():
        if place == "cell":  # of a notebook, whose loop leaves signals alone
            with contextlib.closing(asyncio.new_event_loop()) as loop:
                loop.run_until_complete(cell())
        elif place == "asyncio.run":
            asyncio.run(cell())
        else:
            run.run(rows)

    with pytest.raises(KeyboardInterrupt):
        begin()
    has_ended.set()
    default = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
    assert signal.getsignal(number) is default
    signal.signal(number, before)
    assert len(job.sent) == 8
    assert len(job.lines) == run.report.succeeded == saved
    assert (run.report.stopped, run.report.exit_code) == ("interrupt", 130)
    assert "run again to continue" in str(run.report)


def no_screen(kind):
    raise kind("no screen")


@pytest.mark.parametrize("kind", [LookupError, SystemExit])
def test_an_error_of_the_callers_progress_ends_the_run(job, kind):
    with pytest.raises(kind, match="no screen"):
        job.batch(on_progress=lambda _: no_screen(kind)).run(prompts(20))
    assert len(job.lines) == len(job.sent) < 20
