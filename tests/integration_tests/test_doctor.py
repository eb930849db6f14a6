import base64
import json
import re

import pytest

from langchain_aimlernie.__main__ import main
from langchain_aimlernie._cli import doctor
from langchain_aimlernie.testing import Reply

CAPABILITIES = ["text", "stream", "tools", "forced tool", "parallel tools", "json_schema"]
CAPABILITIES += ["json_object", "reasoning", "thinking switch", "image", "PDF"]


@pytest.fixture
def diagnose(api_server, capsys):
    """Return a function that runs the command and returns its object and its exit code."""

    def run(*arguments):
        code = main(["doctor", "--json", *arguments])
        return json.loads(capsys.readouterr().out), code

    return run


def results(found, result):
    return {row["capability"] for row in found["capabilities"] if row["result"] == result}


def calls(server):
    return [request.body for request in server.requests if request.method == "POST"]


@pytest.mark.parametrize(
    "model", ["baidu/ernie-4.5-21b-a3b", "baidu/ernie-4.5-vl-28b-a3b", "baidu/ernie-4.5-0.3b"]
)
def test_one_call_for_each_capability(diagnose, api_server, model):
    found, code = diagnose("--model", model)
    assert [row["capability"] for row in found["capabilities"]] == CAPABILITIES
    assert len(calls(api_server)) == len(CAPABILITIES)
    assert (code, found["ok"]) == (0, True)
    assert not results(found, "differs") | results(found, "failed")
    spent = sum(row["usd"] or 0 for row in found["capabilities"])
    assert found["usd"] == pytest.approx(spent)
    assert float(api_server.totals.usd_spent) == pytest.approx(spent)


def test_the_table(api_server, capsys):
    assert main(["doctor"]) == 0
    output = capsys.readouterr().out
    lines = output.splitlines()
    checks = dict(line.split(None, 1) for line in lines[1:4])
    assert lines[0] == f"base URL  {api_server.base_url}, responds"
    assert checks == {
        "model": "baidu/ernie-4.5-21b-a3b, listed",
        "key": "accepted, no limit",
        "balance": "$100.00",
    }
    assert lines[5].split() == ["capability", "profile", "server", "cost", "result"]
    assert [line[:16].strip() for line in lines[6:17]] == CAPABILITIES
    assert lines[18].startswith(
        "The server does what the profile says; all calls together cost $0."
    )
    assert api_server.api_key not in output


def test_models_that_reason(diagnose):
    """The fake model obeys a forced choice, on which the profile does not rely."""
    found, code = diagnose("--model", "baidu/ernie-4.5-21b-a3b-thinking")
    assert (code, results(found, "differs")) == (1, {"forced tool"})
    found, _ = diagnose("--model", "baidu/ernie-5.0")
    assert {"reasoning", "thinking switch"} <= results(found, "ok")


def without(*names):
    """Return a script that ignores fields of the request, as another server might."""

    def respond(request):
        return Reply("Hello.") if any(name in request.body for name in names) else None

    return respond


def streams(**reply):
    """Return a script that gives streams another reply."""
    return lambda request: Reply("Hello.", **reply) if request.body.get("stream") else None


def rejects_schemas(request):
    if request.body.get("response_format", {}).get("type") == "json_schema":
        return Reply(status=400, body={"message": "no such format"})
    return None


@pytest.mark.parametrize(
    ("script", "differs"),
    [
        (without("tools"), {"tools", "forced tool"}),
        (without("tool_choice"), {"forced tool"}),
        (without("response_format"), {"json_schema", "json_object"}),
        (rejects_schemas, {"json_schema"}),
        (streams(usage=None), {"stream"}),
        (streams(meta=None), {"stream"}),
        (
            lambda _: Reply("Hello.", reasoning="Well."),
            {"tools", "forced tool", "json_schema", "json_object", "reasoning"},
        ),
        (lambda _: Reply(" "), {"text", "stream", *CAPABILITIES[2:4], *CAPABILITIES[5:7]}),
    ],
)
def test_differences(diagnose, api_server, script, differs):
    api_server.on_request = script
    found, code = diagnose()
    assert (code, found["ok"], results(found, "differs")) == (1, False, differs)


@pytest.mark.slow
def test_what_could_not_be_checked(diagnose, api_server):
    def respond(request):
        if request.body.get("stream"):
            return Reply(status=500, body={}, headers={"retry-after-ms": "1"})
        is_json = "response_format" in request.body
        return Reply("{", finish_reason="length") if is_json else None

    api_server.on_request = respond
    found, code = diagnose()
    assert (code, results(found, "failed")) == (1, {"stream", "json_schema", "json_object"})


def test_a_model_that_is_not_in_the_table(diagnose, monkeypatch):
    from langchain_aimlernie.testing import ErnieServer

    with ErnieServer(models={"own": "baidu/ernie-4.5-vl-28b-a3b"}, api_key=None) as server:
        monkeypatch.setenv("AIMLAPI_API_BASE", server.base_url)
        monkeypatch.delenv("AIMLAPI_API_KEY")
        found, code = diagnose("--model", "own")
    assert code == 0
    assert results(found, "ok") == {"text", "stream"}
    assert results(found, "not in the profile") == {*CAPABILITIES[2:]}
    assert found["checks"]["key"].startswith("none")


def test_an_image_and_a_pdf_are_seen(diagnose, api_server):
    def respond(request):
        parts = request.body["messages"][-1]["content"]
        kinds = {part["type"] for part in parts} if isinstance(parts, list) else set()
        own = {"meta": None, "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
        if not kinds:
            return None
        text = "Red." if "image_url" in kinds else "I see no document."
        reply = {"choices": [{"message": {"role": "assistant", "content": text}}], **own}
        return Reply(body=reply)

    api_server.on_request = respond
    found, code = diagnose("--model", "baidu/ernie-4.5-vl-28b-a3b")
    assert (code, results(found, "differs")) == (1, {"PDF"})
    assert "image" in results(found, "ok")


@pytest.mark.parametrize(
    ("prepare", "arguments", "error"),
    [
        (lambda server: setattr(server, "api_key", "another-key"), [], "API key is not valid"),
        (lambda server: setattr(server, "balance_usd", 0), [], "no balance left"),
        (lambda server: server.fail(403, "You've run out of credits."), [], "out of credits"),
        (lambda _: None, ["--model", "nope"], "nope"),
    ],
)
def test_it_stops_when_no_call_can_succeed(api_server, capsys, prepare, arguments, error):
    prepare(api_server)
    assert main(["doctor", *arguments]) == 1
    output = capsys.readouterr().err
    assert output.startswith("error: ")
    assert error in output
    assert len(calls(api_server)) <= 1


def test_the_offsets_of_the_pdf():
    mime_type, _, data = doctor.WALNUT_PDF.partition(";base64,")
    document = base64.b64decode(data)
    assert mime_type == "data:application/pdf"
    (table,) = re.findall(rb"startxref\n(\d+)\n%%EOF\n$", document)
    entries = document[int(table) :].split(b"\n")[3:-6]
    numbers = [document[int(entry.split()[0]) :].split()[0] for entry in entries]
    assert numbers == [b"1", b"2", b"3", b"4", b"5", b"6"]
