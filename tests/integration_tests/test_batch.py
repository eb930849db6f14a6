"""Many prompts: every result is saved, nothing is paid twice, and the pace and the budget hold."""

from __future__ import annotations

import asyncio
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
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from langchain_aimlernie import (
    AuthenticationError,
    ChatAimlErnie,
    PermissionDeniedError,
    SpendTracker,
)
from langchain_aimlernie.batch import BatchError, BatchRun, RowFile
from langchain_aimlernie.testing import ErnieServer, Reply

CHAT = "/chat/completions"
LINE_KEYS = {"id", "custom_id", "response", "error", "aimlernie"}
OUR_KEYS = {"key", "usd", "credits", "inference_id", "client_request_id", "attempts", "parsed"}


@pytest.fixture
def server():
    with ErnieServer() as server:
        yield server


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.jsonl"


def chat(server, **settings):
    return ChatAimlErnie(base_url=server.base_url, api_key=server.api_key, **settings)


def prompts(number, start=0):
    return [{"custom_id": f"row-{n}", "prompt": f"Say {n}."} for n in range(start, number)]


def lines(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def errors(out):
    return lines(out.with_name("out.errors.jsonl"))


def calls(server):
    return [request for request in server.requests if request.path.endswith(CHAT)]


def failure(status, message):
    return Reply(body={"message": message, "statusCode": status}, status=status)


def accept_in_flight(server, limit, seconds=0.05):
    """Make the server accept only so many calls at a time, without saying when to come again.

    Returns:
        How many calls were in flight when each one came, and which were rejected.
    """
    started, in_flight, rejected = [], [], []

    def respond(_):
        now = time.monotonic()
        active = sum(now - each < seconds for each in started)
        in_flight.append(active + 1)
        if active >= limit:
            rejected.append(now)
            return failure(429, "Too Many Requests")
        started.append(now)
        return Reply("fine", delay=seconds)

    server.on_request = respond
    return in_flight, rejected


ROWS = [
    {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "baidu/ernie-4.5-300b-a47b",
            "messages": [{"role": "user", "content": "Hi"}],
            "temperature": 0.5,
        },
    },
    {"custom_id": "b", "body": {"messages": [{"role": "user", "content": "Hi"}], "seed": 3}},
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]},
    {"prompt": "Hi", "stop": ["."], "stream": True},
    "Just a prompt",
    [HumanMessage("A message")],
    [("human", "A tuple")],
    ChatPromptTemplate.from_template("A {x}").invoke({"x": "prompt value"}),
]


def test_every_format_becomes_a_call_and_a_line_that_openai_can_read(server, out):
    report = BatchRun(chat(server, temperature=0.1), out).run(ROWS)
    assert (report.rows, report.succeeded, report.exit_code) == (8, 8, 0)
    sent = {request.headers["x-client-request-id"]: request.body for request in calls(server)}
    for line in lines(out):
        assert line.keys() == LINE_KEYS
        assert line["aimlernie"].keys() == OUR_KEYS
        assert line["response"]["status_code"] == 200
        body = ChatCompletion.model_validate(line["response"]["body"], strict=True)
        assert body.choices[0].message.content.startswith("[local ErnieServer, not ERNIE]")
        assert body.usage.total_tokens > 0
        _, key, attempt = line["aimlernie"]["client_request_id"].split(":")
        assert (key, attempt) == (line["aimlernie"]["key"][:16], "1")
        assert isinstance(line["aimlernie"]["usd"], str)
        assert line["aimlernie"]["client_request_id"] in sent
    assert report.usd == sum(Decimal(line["aimlernie"]["usd"]) for line in lines(out)) > 0
    bodies = sorted(sent.values(), key=lambda body: str(body["messages"]))
    assert [body["temperature"] for body in bodies].count(0.1) == 7
    assert not any(body.get("stream") for body in bodies)
    assert {body["model"] for body in bodies} == {
        "baidu/ernie-4.5-21b-a3b",
        "baidu/ernie-4.5-300b-a47b",
    }


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
        ({"body": {"messages": [{}]}, "temperature": 1}, "temperature"),
        (3, "expected a dict"),
    ],
)
def test_a_row_in_no_known_format_is_refused_before_anything_is_sent(server, out, row, problem):
    with pytest.raises(BatchError, match=r"^Row 2: ") as failure:
        BatchRun(chat(server), out).run(["fine", row])
    assert problem in str(failure.value)
    assert not calls(server)


def test_a_run_continues_where_the_last_one_stopped(server, out):
    run = BatchRun(chat(server), out)
    run.run(iter(prompts(5)))
    report = run.run(iter(prompts(8)))
    assert (report.succeeded, report.skipped, report.rows) == (3, 5, 8)
    assert len(calls(server)) == len(lines(out)) == 8
    assert report.total_usd == sum(Decimal(each["aimlernie"]["usd"]) for each in lines(out))
    assert run.run(prompts(8)).exit_code == 0
    assert len(calls(server)) == 8


@pytest.mark.slow
def test_results_come_in_the_order_of_the_input(server, out):
    server.on_request = lambda request: Reply("x", delay=0.2 * ("Say 0" in str(request.body)))
    run = BatchRun(chat(server), out)
    run.run(prompts(6))
    assert lines(out)[-1]["custom_id"] == "row-0"
    assert [each["custom_id"] for each in run.results(ordered=True)] == [
        f"row-{n}" for n in range(6)
    ]
    assert {each["custom_id"] for each in run.results()} == {f"row-{n}" for n in range(6)}


@pytest.mark.parametrize("is_lazy", [False, True])
@pytest.mark.parametrize("same", ["custom_id", "everything"])
def test_a_duplicate_is_refused_before_it_is_sent(server, out, is_lazy, same):
    again = prompts(1) if same == "custom_id" else [{"prompt": "Say it."}]
    rows = [*prompts(3), *again, *prompts(9, 3), *again]
    with pytest.raises(BatchError, match="duplicate"):
        BatchRun(chat(server), out).run(iter(rows) if is_lazy else rows)
    assert len(calls(server)) == len(lines(out))
    assert len(calls(server)) <= (10 if is_lazy else 0)


@pytest.mark.parametrize(
    "change",
    [
        {"row": {"custom_id": "row-0", "prompt": "Another prompt"}},
        {"row": {"custom_id": "row-0", "prompt": "Say 0.", "seed": 2}},
        {"model": {"temperature": 1.0}},
        {"model": {"model": "baidu/ernie-4.5-0.3b"}},
        {"schema": {"title": "A", "type": "object", "properties": {}}},
    ],
)
def test_a_row_that_has_changed_is_refused(server, out, change):
    BatchRun(chat(server), out).run(prompts(1))
    llm = chat(server, **change.get("model", {}))
    with pytest.raises(BatchError, match="row-0' has changed"):
        BatchRun(llm, out, schema=change.get("schema")).run([change.get("row", prompts(1)[0])])
    assert len(calls(server)) == 1


@pytest.mark.slow
def test_an_output_that_another_run_uses_is_refused(server, out):
    server.reply("slow", delay=0.3, times=1)
    first = threading.Thread(target=BatchRun(chat(server), out).run, args=[prompts(1)])
    first.start()
    while not server.requests:
        time.sleep(0.01)
    with pytest.raises(BatchError, match="in use by another run"):
        BatchRun(chat(server), out).run(prompts(2))
    first.join()
    assert len(lines(out)) == 1


@pytest.mark.slow
def test_failed_rows_go_to_a_file_of_their_own(server, out):
    server.fail(400, "Nobody can answer this", code="bad")
    llm = chat(server, max_retries=0)
    BatchRun(llm, out).run([{"custom_id": "http", "prompt": "x"}])
    server.reply("late", delay=0.6)
    hasty = chat(server, max_retries=0, timeout=0.3)
    report = BatchRun(hasty, out).run([{"custom_id": "slow", "prompt": "x"}])
    assert (report.failed, report.failed_before, report.exit_code) == (1, 1, 2)
    rows = [{"custom_id": "range", "prompt": "x", "temperature": 9}, *prompts(1)]
    report = BatchRun(llm, out).run(rows)
    assert (report.succeeded, report.failed, report.exit_code) == (1, 1, 2)
    http, slow, bad = errors(out)
    error = http["response"]["body"]["error"]
    assert http["response"]["status_code"] == 400
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"] == "Nobody can answer this"
    assert (http["error"], slow["response"], bad["response"]) == (None, None, None)
    assert slow["error"]["code"] == "timeout"
    assert bad["error"]["code"] == "invalid_request"
    assert "temperature must be" in bad["error"]["message"]
    assert [line["custom_id"] for line in lines(out)] == ["row-0"]


@pytest.mark.parametrize(
    ("retry", "again"), [("none", []), ("transient", ["row-1"]), ("all", ["row-0", "row-1"])]
)
def test_failed_rows_are_run_again_on_demand(server, out, retry, again):
    rows = prompts(3)
    server.on_request = lambda request: {
        "Say 0.": failure(400, "no"),
        "Say 1.": failure(500, "later"),
    }.get(request.body["messages"][0]["content"])
    llm = chat(server, max_retries=0)
    assert BatchRun(llm, out).run(rows).exit_code == 2
    server.on_request = None
    sent = len(calls(server))
    report = BatchRun(llm, out, retry_failed=retry).run(rows)
    assert len(calls(server)) - sent == report.succeeded == len(again)
    assert sorted(each["custom_id"] for each in errors(out)) == [
        each for each in ("row-0", "row-1") if each not in again
    ]
    assert report.exit_code == (0 if len(again) == 2 else 2)
    assert report.failed_before == 2 - len(again)


@pytest.mark.slow
def test_a_server_that_accepts_four_calls_at_a_time_gets_about_four(server, out):
    in_flight, rejected = accept_in_flight(server, 4)
    report = BatchRun(chat(server), out, max_in_flight=64).run(prompts(100))
    assert (report.succeeded, report.failed) == (100, 0)
    assert 2.5 < statistics.mean(in_flight) < 5
    assert len(rejected) < 50


@pytest.mark.slow
def test_a_retry_after_holds_all_calls(server, out):
    server.fail(429, headers={"retry-after": "1"})
    begin = time.monotonic()
    report = BatchRun(chat(server), out, max_in_flight=1).run(prompts(3))
    assert report.succeeded == 3
    assert time.monotonic() - begin > 1
    assert len(calls(server)) == 4


@pytest.mark.slow
@pytest.mark.parametrize("limits", [{"rpm": 600}, {"tpm": 120_000}])
def test_the_rates_hold(server, out, limits):
    usage = {"prompt_tokens": 100, "completion_tokens": 100, "total_tokens": 200}
    server.on_request = lambda _: Reply("four", usage=usage)
    begin = time.monotonic()
    BatchRun(chat(server), out, max_in_flight=1, **limits).run(prompts(6))
    assert 0.45 < time.monotonic() - begin < 5


@pytest.mark.slow
def test_errors_that_may_pass_are_tried_again_with_another_id(server, out):
    server.fail(500, times=2)
    report = BatchRun(chat(server), out).run(prompts(1))
    assert report.succeeded == 1
    ids = [request.headers["x-client-request-id"] for request in calls(server)]
    assert [id_[-2:] for id_ in ids] == [":1", ":2", ":3"]
    assert len({id_[:-2] for id_ in ids}) == 1
    assert lines(out)[0]["aimlernie"]["attempts"] == 3


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [(401, "bad key", AuthenticationError), (403, "wrong scope", PermissionDeniedError)],
)
def test_a_refused_key_ends_the_run_and_keeps_what_is_done(server, out, status, message, error):
    server.reply("done", times=3)
    server.fail(status, message, times=50)
    with pytest.raises(error):
        BatchRun(chat(server), out, max_in_flight=1).run(prompts(50))
    assert len(lines(out)) == 3
    assert not errors(out)
    assert len(calls(server)) == 4


def test_a_run_without_credits_stops_and_can_be_continued(server, out):
    server.reply("done", times=3)
    server.fail(403, "You've run out of credits", times=1)
    run = BatchRun(chat(server), out, max_in_flight=1)
    report = run.run(prompts(9))
    assert (report.stopped, report.exit_code, report.succeeded) == ("credits", 3, 3)
    assert not errors(out)
    assert run.run(prompts(9)).exit_code == 0
    assert len(calls(server)) == 10


@pytest.mark.slow
def test_the_budget_is_that_of_the_whole_job(server, out):
    server.on_request = lambda _: Reply("five", delay=0.02)
    price = BatchRun(chat(server), out).run(prompts(1)).usd
    for limit, done in ((price * 4, 4), (price * 4, 4), (price * 7, 7)):
        report = BatchRun(chat(server), out, limit_usd=limit, max_in_flight=16).run(prompts(30))
        assert (report.stopped, report.exit_code) == ("budget", 3)
        assert len(lines(out)) == done
        assert report.total_usd == price * done
    assert len(calls(server)) == 7


def test_a_response_without_a_price_is_no_response_for_nothing(server, out):
    server.reply("x", meta=None)
    assert BatchRun(chat(server), out).run(prompts(1)).usd == 0
    facts = lines(out)[0]["aimlernie"]
    assert (facts["usd"], facts["credits"]) == (None, None)


class City(BaseModel):
    """A city."""

    name: str
    population: int


def test_a_schema_gives_objects_and_keeps_the_completions(server, out):
    server.reply('{"name": "Rome", "population": 2800000}')
    server.reply('{"name": "Rome"}')
    run = BatchRun(chat(server), out, schema=City, max_in_flight=1)
    report = run.run(prompts(2))
    assert (report.succeeded, report.failed) == (1, 1)
    assert lines(out)[0]["aimlernie"]["parsed"] == {"name": "Rome", "population": 2_800_000}
    ChatCompletion.model_validate(lines(out)[0]["response"]["body"])
    failed = errors(out)[0]
    assert failed["error"]["code"] == "output_parsing_failed"
    message = failed["response"]["body"]["choices"][0]["message"]
    assert json.loads(message["content"]) == {"name": "Rome"}
    assert Decimal(failed["aimlernie"]["usd"]) > 0
    assert report.usd == sum(Decimal(e["aimlernie"]["usd"]) for e in (*lines(out), failed))


def test_completions_are_parsed_again_without_a_call(server, out):
    class Strict(BaseModel):
        name: str

        def model_post_init(self, _):
            if self.name == "Rome" and not patched:
                raise ValueError("not yet")

    patched = False
    server.reply('{"name": "Rome"}')
    run = BatchRun(chat(server), out, schema=Strict)
    assert run.run(prompts(1)).exit_code == 2
    patched = True
    report = run.run(prompts(1))
    assert (report.exit_code, report.skipped) == (0, 1)
    assert lines(out)[0]["aimlernie"]["parsed"] == {"name": "Rome"}
    assert not errors(out)
    assert len(calls(server)) == 1


def test_any_runnable_can_be_run(server, out):
    chain = ChatPromptTemplate.from_template("Say {word}.") | chat(server) | (lambda m: m.text)
    rows = [{"custom_id": "a", "word": "one"}, {"word": "two"}, {"input": {"word": "three"}}]
    report = BatchRun(chain, out).run(rows)
    assert report.succeeded == 3
    ends = {line["response"]["body"]["output"][-4:] for line in lines(out)}
    assert ends == {"one.", "two.", "ree."}
    assert all(Decimal(line["aimlernie"]["usd"]) > 0 for line in lines(out))
    assert BatchRun(chain, out).run(rows).skipped == 3
    estimate = BatchRun(chain, out).estimate(rows)
    assert (estimate.rows, estimate.usd) == (3, None)
    assert "unknown" in str(estimate)
    with pytest.raises(ValueError, match="with_structured_output"):
        BatchRun(chain, out, schema=City)


def test_a_structured_output_gives_json(server, out):
    structured = chat(server).with_structured_output(City)
    assert BatchRun(structured, out).run(["Where?"]).succeeded == 1
    assert lines(out)[0]["response"]["body"]["output"].keys() == {"name", "population"}


@pytest.mark.slow
def test_the_pace_of_a_chain_follows_the_errors_that_it_raises(out):
    class BusyError(Exception):
        status_code = 429

    tries = []

    async def busy(row):
        tries.append(row["n"])
        if tries.count(row["n"]) < 3:
            raise BusyError
        if row["n"] == 2:
            raise ConnectionError("gone")
        return {"n": row["n"], "set": {1, 2}, "not": float("nan")}

    report = BatchRun(RunnableLambda(busy), out).run([{"n": n} for n in range(5)])
    assert (report.succeeded, report.failed) == (4, 1)
    assert lines(out)[0]["response"]["body"]["output"]["not"] is None
    assert errors(out)[0]["error"] == {"code": "ConnectionError", "message": "gone"}


ODD = ["\u2028 and \u0085", "\ud800 alone", "nul \x00", "x" * 1_000_000, "\r\n", "🎉", "\\u2028"]


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_any_text_ends_up_in_one_of_the_files(server, out, text):
    server.on_request = lambda _: Reply(text)
    run = BatchRun(chat(server), out)
    rows = [{"custom_id": f"{text[:50]}", "prompt": text}]
    report = run.run(rows)
    assert report.succeeded + report.failed == 1
    saved = [*lines(out), *errors(out)]
    assert [each["custom_id"] for each in saved] == [text[:50]]
    assert len((out.read_text() if lines(out) else "x").splitlines()) == 1
    assert run.run(rows).skipped + report.failed == 1


@pytest.mark.slow
def test_the_last_line_may_be_cut_anywhere(server, out):
    run = BatchRun(chat(server), out)
    run.run(prompts(3))
    data = out.read_bytes()
    last = data[:-1].rfind(b"\n") + 1
    for cut in {*range(last, len(data), 29), last + 1, len(data) - 1}:
        out.write_bytes(data[:cut])
        assert run.run([]).exit_code == 0
        assert out.read_bytes() == data[:last]
    out.write_bytes(data[:-1])  # the whole line, but not its newline
    run.run(prompts(3))
    assert len(lines(out)) == 3
    assert len(calls(server)) == 4


def test_an_invalid_line_is_named(server, out):
    run = BatchRun(chat(server), out)
    run.run(prompts(2))
    first, second = out.read_bytes().splitlines(keepends=True)
    for bad in (b"{}\n", b"\n", b"no json\n", first[:40] + b"\n"):
        out.write_bytes(first + bad + second)
        with pytest.raises(BatchError, match=r"out\.jsonl, line 2"):
            run.run(prompts(2))


def test_an_async_source_is_read_as_it_comes(server, out):
    sent_when_third_came = []

    async def rows():
        for row in prompts(2):
            yield row
        while len(calls(server)) < 2:  # noqa: ASYNC110  what the server has received sets no event
            await asyncio.sleep(0.01)
        sent_when_third_came.append(len(calls(server)))
        yield prompts(3)[2]

    report = asyncio.run(BatchRun(chat(server), out).arun(rows()))
    assert (report.succeeded, report.rows) == (3, 3)
    assert sent_when_third_came == [2]


async def test_run_works_while_a_loop_runs(server, out):
    assert BatchRun(chat(server), out).run(prompts(2)).succeeded == 2


@pytest.mark.parametrize("is_async", [False, True])
def test_an_error_of_the_source_is_raised_when_what_is_in_flight_is_saved(server, out, is_async):
    def rows():
        yield from prompts(4)
        raise RuntimeError("the database is gone")

    async def arows():
        for row in rows():
            yield row

    with pytest.raises(RuntimeError, match="the database"):
        BatchRun(chat(server), out).run(arows() if is_async else rows())
    assert len(lines(out)) == len(calls(server)) == 4


def test_estimate_sends_no_row(server, out):
    run = BatchRun(chat(server), out)
    estimate = run.estimate(prompts(10))
    assert estimate.rows == 10
    assert estimate.output_tokens == 5_000
    assert estimate.usd > 0
    assert "$" in str(estimate)
    assert BatchRun(chat(server, max_tokens=5), out).estimate(prompts(10)).usd < estimate.usd
    assert not calls(server)
    with pytest.raises(BatchError, match="duplicate"):
        run.estimate(prompts(1) * 2)


FILES = {
    "rows.jsonl": '{"prompt": "One\u2028"}\n\n{"custom_id": "x", "messages": [{"role": "user", "content": "Two"}]}\n',
    "bom.jsonl": '\ufeff{"prompt": "One"}\n{"body": {"messages": [{"role": "system", "content": "S"}]}}',
    "long.csv": f"text\n{'x' * 1_000_000}\n",
    "table.csv": 'custom_id,text\na,"One, two"\nb,"Li\nne"\n',
}


@pytest.mark.parametrize(
    ("name", "settings", "rows"),
    [
        ("rows.jsonl", {}, ["One\u2028", "Two"]),
        ("rows.jsonl", {"system": "Be brief."}, ["Be brief.", "One\u2028", "Be brief.", "Two"]),
        ("bom.jsonl", {"system": "X"}, ["X", "One", "S"]),
        ("table.csv", {"template": "Sum: {text}"}, ["Sum: One, two", "Sum: Li\nne"]),
        ("table.csv", {"template": "{text}", "shard": (2, 2)}, ["Li\nne"]),
        ("long.csv", {"template": "{text}"}, ["x" * 1_000_000]),
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
        ("a.jsonl", "[" * 100_000, {}, "line 1: no JSON"),
        ("a.jsonl", '{"prompt": "x"}\n[1]\n', {}, "line 2: expected an object"),
        ("a.jsonl", '{"prompt": "x"}\n{"pro\n', {}, "line 2: no JSON"),
        ("a.jsonl", '{"prompt": "\xe4"}\n', {}, r"a\.jsonl is not encoded in UTF-8"),
    ],
)
def test_an_invalid_file_of_rows_is_named(tmp_path, name, text, settings, problem):
    (tmp_path / name).write_text(text, encoding="latin-1")
    with pytest.raises(BatchError, match=problem):
        list(RowFile(tmp_path / name, **settings))


only_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and signals")


@only_posix
@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost_and_little_is_paid_twice(server, out):
    from tests.support.batch_process import start_batch

    server.on_request = lambda _: Reply("fine", delay=0.03)
    kills, rows = 8, 200
    for _ in range(kills):
        before = len(server.requests)
        process = start_batch(server, out, rows)
        while len(server.requests) == before and process.is_alive():
            time.sleep(0.005)
        time.sleep(random.uniform(0, 0.15))
        process.kill()
        process.join()
    process = start_batch(server, out, rows)
    process.join()
    assert process.exitcode == 0
    ids = [line["custom_id"] for line in lines(out)]
    assert sorted(ids) == sorted(f"row-{n}" for n in range(rows))
    assert len(calls(server)) <= rows + kills * 8
    saved = {line["aimlernie"]["client_request_id"] for line in lines(out)}
    assert saved <= {request.headers["x-client-request-id"] for request in calls(server)}


class FullDisk:
    """A disk that takes two rows more.

    Attributes:
        is_full: Whether it is full, or soon will be.
        has_failed: Set when a row could not be written.
    """

    def __init__(self):
        self.is_full = True
        self.has_failed = threading.Event()
        self._write, self._left = os.write, 2

    def write(self, descriptor, data):
        if data.startswith(b'{"id": "batch_req') and self.is_full:
            if not self._left:
                self.has_failed.set()
                raise OSError(errno.ENOSPC, "No space left on device")
            self._left -= 1
        return self._write(descriptor, data)


@pytest.fixture
def full_disk(monkeypatch):
    disk = FullDisk()
    monkeypatch.setattr(os, "write", disk.write)
    return disk


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_loses_nothing(server, out, full_disk):
    with pytest.raises(OSError, match="No space left") as failure:
        BatchRun(chat(server), out).run(prompts(30))
    assert len(lines(out)) == 2
    (note,) = failure.value.__notes__
    rescued = Path(re.search("paid for are in (.*): append", note)[1])
    with out.open("ab") as whole:
        whole.write(rescued.read_bytes())
    rescued.unlink()
    sent = len(calls(server))
    assert len(lines(out)) == sent < 30
    full_disk.is_full = False
    assert BatchRun(chat(server), out).run(prompts(30)).exit_code == 0
    assert len(calls(server)) == len(lines(out)) == 30


@pytest.mark.slow
def test_what_a_full_disk_did_not_take_is_written_when_it_has_room_again(server, out, full_disk):
    server.on_request = lambda request: Reply(
        "x", delay=0.4 if "Say 7" in str(request.body) else None
    )

    def make_room():
        full_disk.has_failed.wait()
        full_disk.is_full = False

    thread = threading.Thread(target=make_room)
    thread.start()
    with pytest.raises(OSError, match="No space left"):
        BatchRun(chat(server), out).run(prompts(8))
    thread.join()
    assert len(lines(out)) == len(calls(server)) == 8


@pytest.mark.slow
@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_saves_what_is_in_flight_and_the_second_one_does_not(server, out, times):
    server.on_request = lambda _: Reply("fine", delay=0.7)

    def interrupt():
        while len(server.requests) < 8:
            time.sleep(0.01)
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)

    run = BatchRun(chat(server), out)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run.run(prompts(30))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert len(calls(server)) == 8
    assert len(lines(out)) == run.report.succeeded == (8 if times == 1 else 0)
    assert (run.report.stopped, run.report.exit_code) == ("interrupt", 130)
    assert "run again to continue" in str(run.report)


def test_a_bound_model_keeps_its_parameters_and_its_config(server, out):
    seen = []
    bound = chat(server).bind(temperature=0.3).with_config(callbacks=[SpendTracker()], tags=["t"])
    run = BatchRun(bound, out, on_progress=seen.append)
    assert run.run([{"prompt": "x", "seed": 4}]).succeeded == 1
    assert (calls(server)[0].body["temperature"], calls(server)[0].body["seed"]) == (0.3, 4)
    with pytest.raises(BatchError, match="has changed"):
        BatchRun(chat(server), out).run(
            [{"custom_id": lines(out)[0]["custom_id"], "prompt": "x", "seed": 4}]
        )


def test_an_error_of_the_callers_progress_ends_the_run(server, out):
    def fail(_):
        raise LookupError("no screen")

    with pytest.raises(LookupError, match="no screen"):
        BatchRun(chat(server), out, on_progress=fail).run(prompts(20))
    assert len(lines(out)) == len(calls(server)) < 20


def test_what_was_paid_and_not_saved_is_reported(server, out):
    run = BatchRun(chat(server), out)
    run.run(prompts(5))
    kept = out.read_bytes().splitlines(keepends=True)[:3]
    lost = sum(Decimal(each["aimlernie"]["usd"]) for each in lines(out)[3:])
    out.write_bytes(b"".join(kept) + b'{"id": "batch')
    report = run.run(prompts(5))
    assert report.unsaved_usd == lost > 0
    assert "paid for responses that were lost" in str(report)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"max_in_flight": 0}, "max_in_flight"),
        ({"rpm": 0}, "rpm"),
        ({"tpm": -1}, "tpm"),
        ({"limit_usd": -1}, "limit_usd"),
        ({"retry_failed": "some"}, "retry_failed"),
    ],
)
def test_invalid_settings_are_refused(server, out, settings, problem):
    with pytest.raises(ValueError, match=problem):
        BatchRun(chat(server), out, **settings)


def test_progress_and_report(server, out):
    seen = []
    run = BatchRun(chat(server), out, on_progress=lambda report: seen.append(report.succeeded))
    report = run.run(prompts(3))
    assert seen == [1, 2, 3]
    assert run.report is report
    assert str(report).startswith("3 rows done, 0 failed, ")
    assert f"${report.usd.normalize():f}" in str(report)
