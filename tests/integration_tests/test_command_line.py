import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from contextlib import ExitStack
from pathlib import Path

import pytest

import langchain_aimlernie
from langchain_aimlernie.__main__ import main
from tests.support.byte_server import ByteServer, wait_until
from tests.support.response_bytes import response
from tests.support.terminal import PASTE, Terminal

SWITCHABLE_MODEL = "baidu/ernie-5.0"
REASONING_MODEL = "baidu/ernie-4.5-21b-a3b-thinking"
PROMPT = "\x1b[?2004h> "
"""The chat's prompt, after the request to mark pastes."""


@pytest.fixture
def chat(api_server):
    """A chat in a terminal, at its first prompt; after the test, Ctrl-D ends it."""
    variables = {name: os.environ[name] for name in ("AIMLAPI_API_KEY", "AIMLAPI_API_BASE")}
    with Terminal(**variables) as terminal:
        terminal.read_until(PROMPT)
        yield terminal
        if terminal.process.is_alive():
            terminal.send("\x04")
            assert terminal.read_to_end()[1] == 0
            assert terminal.is_restored


@pytest.fixture
def stdin(request, monkeypatch, tmp_path):
    """A standard input with the content that a parameter of the test says."""
    (tmp_path / "input").write_bytes(request.param)
    with (tmp_path / "input").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        yield


def last_prompts(server):
    return [message["content"] for message in server.last_request.body["messages"]]


def say(chat, keys):
    """Send a message of the chat; return what is printed up to the next prompt."""
    chat.send(keys)
    return chat.read_until("[baidu/") + chat.read_until(PROMPT)


ENDLESS = itertools.repeat(b": wait\n\n")
"""The events of a stream that has no end, and no text."""


@pytest.mark.parametrize(
    ("arguments", "prompt"),
    [
        (["hi"], "hi"),
        (["match"], "match"),
        (["sage"], "sage"),
        (["why", "is", "--model", REASONING_MODEL, "it"], "why is it"),
        (["--", "models"], "models"),
        (["--", "modles"], "modles"),
        (["modles", "?"], "modles ?"),
        (["--", "doctor", "--json"], "doctor --json"),
        (["hi", "--", "-x"], "hi -x"),
        (["models are fine"], "models are fine"),
        (["what", "models"], "what models"),
        (["caf\udce9"], "caf\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_all_that_is_no_command_is_the_prompt(api_server, arguments, prompt):
    assert main(arguments) == 0
    assert last_prompts(api_server) == [prompt]


WRONG = (
    *("--bogus hi", "--temperature 3 hi", "--temperature warm hi", "--max-tokens 0 hi"),
    *("--period 7d hi", "usage --period 99999999d", "models of thought", "models --system x", "--"),
    *("modles", "usgae", "Doctor --model x", "bacth", "bath"),
)


@pytest.mark.parametrize(
    "arguments", [*map(str.split, WRONG), ["--model", "", "hi"], [""], [" \n"]]
)
def test_a_usage_error_sends_nothing(api_server, capsys, arguments):
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert "error: " in output.err
    assert output.out == ""
    assert not api_server.requests


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"aimlernie {langchain_aimlernie.__version__}\n"


def test_the_settings_are_sent(api_server):
    options = ["--model", REASONING_MODEL, "--system", "Be brief."]
    assert main([*options, "--temperature", "0", "--max-tokens", "50", "hi"]) == 0
    system = {"role": "system", "content": "Be brief."}
    sent = {"model": REASONING_MODEL, "temperature": 0, "max_tokens": 50, "stream": True}
    sent["messages"] = [system, {"role": "user", "content": "hi"}]
    assert api_server.last_request.body.items() >= sent.items()


@pytest.mark.parametrize(
    ("arguments", "stdin", "prompt"),
    [
        ([], b"one\n\ntwo\n", "one\n\ntwo\n"),
        (["-"], b"one\n\ntwo\n", "one\n\ntwo\n"),
        (["sum up"], b"one\n\ntwo\n", "sum up\n\none\n\ntwo\n"),
        (["sum up"], b" \n", "sum up"),
        ([], b"caf\xe9", "caf\N{REPLACEMENT CHARACTER}"),
        *((arguments, stdin, None) for arguments in ([], ["-"], [""]) for stdin in (b"", b" \n\n")),
    ],
    indirect=["stdin"],
)
def test_piped_input_is_one_message_unless_it_is_blank(api_server, stdin, arguments, prompt):
    assert main(arguments) == (2 if prompt is None else 0)
    sent = [request.body["messages"] for request in api_server.requests]
    assert sent == ([] if prompt is None else [[{"role": "user", "content": prompt}]])


def test_reasoning_goes_to_stderr_when_stdout_is_no_terminal(api_server, capsys):
    api_server.reply("the answer", reasoning="a thought")
    assert main(["--model", REASONING_MODEL, "hi"]) == 0
    output = capsys.readouterr()
    assert output.out == "the answer\n"
    assert output.err.startswith("a thought\n\n[baidu/")
    assert all(word in output.err for word in ("tokens", "credits", "$"))


@pytest.mark.parametrize(
    ("no_color", "term", "is_dimmed"),
    [("", "xterm", True), ("1", "xterm", False), ("", "dumb", False)],
)
def test_reasoning_is_dimmed_on_a_terminal(api_server, monkeypatch, no_color, term, is_dimmed):
    out = io.StringIO()
    out.isatty = lambda: True
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "stdout", out)
    api_server.reply("the \x1b]0;title\x07answer", reasoning="a \x1b[31mthought")
    assert main(["--model", REASONING_MODEL, "hi"]) == 0
    thought = "\x1b[2ma [31mthought\x1b[0m" if is_dimmed else "a [31mthought"
    assert out.getvalue() == f"{thought}\n\nthe ]0;titleanswer\n"


def test_what_a_server_says_cannot_control_a_terminal(api_server, monkeypatch, capsys):
    evil = "\x1b]52;c;eA==\x07\x9b2J"
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    for reply in ({"status": 400, "body": {"error": {"message": f"no {evil}"}}}, {"model": evil}):
        api_server.reply("fine", **reply)
        main(["hi"])
        assert "]52;c;eA==" in (shown := "".join(capsys.readouterr()))
        assert not {*shown} & {*evil[:1], "\x07", "\x9b"}


@pytest.mark.parametrize(
    ("model", "sent"), [(SWITCHABLE_MODEL, False), (REASONING_MODEL, None), ("unknown", None)]
)
def test_no_reasoning(api_server, capsys, model, sent):
    api_server.reply("the answer", reasoning="a thought")
    main(["--model", model, "--no-reasoning", "hi"])
    assert "a thought" not in capsys.readouterr().err
    assert api_server.requests[0].body.get("enable_thinking") is sent


def test_json_is_one_object(api_server, capsys):
    api_server.reply("the answer, 答", reasoning="a thought")
    assert main(["--json", "--model", REASONING_MODEL, "hi"]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert "答" in output.out
    found = json.loads(output.out)
    assert (found["text"], found["reasoning"]) == ("the answer, 答", "a thought")
    assert all((found["usage"]["input_tokens"], *found["cost"].values(), *found["ids"].values()))


def test_errors_are_printed_in_one_line(api_server, capsys):
    assert main(["--model", "nope", "hi"]) == 1
    assert main(["--json", "--model", "nope", "hi"]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert [line[:7] for line in output.err.splitlines()] == ["error: "] * 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("BASE", value) for value in ("example.org", "https://user:secret@example.org")),
        *(("KEY", value) for value in ("not-a-kéy", "")),
    ],
)
@pytest.mark.parametrize("command", ["hi", "balance", "doctor"])
def test_an_invalid_environment_variable_is_named(monkeypatch, capsys, name, value, command):
    monkeypatch.setenv(f"AIMLAPI_API_{name}", value)
    assert main([command]) == 1
    output = capsys.readouterr().err
    assert output.startswith("error: ")
    assert f"AIMLAPI_API_{name}" in output
    assert not re.search("Value error|secret", output)


@pytest.mark.slow
def test_a_server_without_encryption_is_a_warning_in_one_line(monkeypatch, capsys):
    monkeypatch.setenv("AIMLAPI_API_BASE", "http://example.invalid/v1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["hi"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["warning", "error"]


@pytest.mark.parametrize(
    "case",
    [
        ("stdout", None, ["hi"], 1, "error: standard output is closed."),
        ("stdout", "/dev/full", ["hi"], 1, "error: cannot write to standard output: No space left"),
        ("stdout", "/dev/full", ["models"], 1, "error: cannot write to standard output: No space"),
        ("stdout", "/dev/full", ["--version"], 0, ""),
        ("stderr", None, ["hi"], 0, ""),
        ("stderr", "/dev/full", ["hi"], 0, ""),
        ("stdin", None, ["hi"], 0, "[baidu/"),
        ("stdin", None, [], 2, "error: the prompt is empty"),
        ("stdin", None, ["-"], 2, "error: the prompt is empty"),
    ],
)
def test_a_closed_or_full_stream(api_server, monkeypatch, capsys, case):
    name, stream, arguments, code, error = case
    with ExitStack() as files:
        stream = stream and files.enter_context(Path(stream).open("w"))
        monkeypatch.setattr(sys, name, stream)
        assert main(arguments) == code
        monkeypatch.undo()
    assert capsys.readouterr().err.startswith(error)


@pytest.mark.parametrize(
    ("arguments", "expected"), [(["hi"], b"a ? b\n"), (["hi", "--json"], b'"text": "a \\u7b54 b"')]
)
def test_a_character_that_stdout_lacks(api_server, monkeypatch, arguments, expected):
    api_server.reply("a 答 b")
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    assert main(arguments) == 0
    assert expected in stdout.buffer.getvalue()


def test_a_reader_that_has_read_enough(api_server, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["hi"]) == 0
        monkeypatch.undo()


def test_models(api_server, capsys):
    assert main(["models"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["model", "context", "output"]
    assert rows[0].split() == ["baidu/ernie-4.5-21b-a3b", "120,000", "8,192", "text", "0.1", "0.4"]
    (deprecated,) = (row for row in rows if "8k-preview" in row)
    assert deprecated.endswith("deprecated, until 2027-06-01, use baidu/ernie-4-5-turbo-128k")
    assert main(["models", "--json"]) == 0
    first, *_ = json.loads(capsys.readouterr().out)
    assert (first["id"], first["input_price"]) == ("baidu/ernie-4.5-21b-a3b", 0.1)
    assert "raw" not in first


def test_prices_of_models_are_plain_numbers(monkeypatch, capsys):
    prices = {"input": (2.8e-7, 1), "output": (2, 1e3)}
    units = [
        {"name": "token", "measure": measure, "price": price, "per": per}
        for measure, (price, per) in prices.items()
    ]
    card = {"id": "x", "pricing": {"kind": "fixed", "units": units}}
    with ByteServer(response(json.dumps({"data": [card]}).encode())) as server:
        monkeypatch.setenv("AIMLAPI_API_BASE", server.base_url)
        assert main(["models"]) == 0
    assert capsys.readouterr().out.split()[-3:] == ["x", "0.28", "2,000"]


def test_balance(api_server, capsys):
    assert main(["balance"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["balance", "$100.00"]
    assert main(["balance", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["balance"] == {"current_balance": 100, "currency": "USD"}
    assert found["key"]["monthly_usage"] == 0


def test_usage(api_server, capsys):
    main(["hi"])
    assert main(["usage", "--period", "24h"]) == 0
    assert api_server.last_request.query == {"period": ["24h"]}
    rows = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines()[1:])
    assert rows["requests"] == "1"
    assert rows["spent"].startswith("$0.0000")
    assert main(["usage", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["requests"] == 1
    assert main(["usage", "--period", "week"]) == 2
    assert "--period must be" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["balance", "usage", "doctor"])
def test_the_account_needs_a_key(api_server, monkeypatch, capsys, command):
    api_server.api_key = "another-key"
    assert main([command]) == 1
    assert capsys.readouterr().err.startswith("error: ")


LOCAL = "AIMLAPI_API_KEY= {} -m langchain_aimlernie --local"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shell", "stdout", "stderr"),
    [
        (f"{LOCAL} hi | head -c 3", "[lo", ""),
        (f"{LOCAL} hi >&- <&-; echo $?", "1\n", "error: standard output is closed.\n"),
        (f"{LOCAL} hi >/dev/full; echo $?", "1\n", "error: cannot write to standard output: N"),
        (f"{LOCAL} hi 2>/dev/full; echo $?", "[local ErnieServer, not ERNIE] You said: hi\n0", ""),
    ],
)
def test_a_process_with_unusable_streams_prints_no_traceback(shell, stdout, stderr):
    shell = shell.format(sys.executable)
    streams = {"shell": True, "capture_output": True, "text": True}
    done = subprocess.run(shell, **streams, timeout=100, check=False)
    assert done.stdout.startswith(stdout)
    assert done.stderr.startswith(stderr)
    assert not re.search("Traceback|Exception", done.stderr)


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_a_question(api_server):
    api_server.reply(events=ENDLESS, interval=0.05)
    command = [sys.executable, "-m", "langchain_aimlernie", "hi"]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **streams) as process:
        assert wait_until(lambda: api_server.requests, 60)
        process.send_signal(signal.SIGINT)
        _, output = process.communicate(timeout=60)
    assert process.returncode == 130
    assert output == b"\n"


@pytest.mark.slow
def test_a_conversation(chat, api_server):
    for line in ("\r", "  \r", PASTE.format("\r\r") + "\r"):
        chat.send(line)
        chat.read_until(PROMPT)
    assert not api_server.requests, "an empty line sends nothing"
    api_server.fail(400, message="Not this one")
    chat.send("none\r")
    assert "error: Not this one" in chat.read_until(PROMPT)
    api_server.reply("eins")
    say(chat, "one\r")
    assert "You said: two" in say(chat, "two\r")
    assert last_prompts(api_server) == ["one", "eins", "two"]
    say(chat, "\x1b[A\x1b[A\x1b[D\x1b[D\x1b[D\x1b[3~p\r")  # up twice, left, delete: "pne"
    assert last_prompts(api_server)[-1] == "pne"
    os.write(chat.fd, b"caf\xe9")
    say(chat, "\r")
    assert last_prompts(api_server)[-1].startswith("caf")  # readline may leave invalid bytes out


LINES = "first\r\r\ttouch second\r\rthird"
LONG = "\r".join(f"line {number} of many" for number in range(1000))
"""More than a terminal buffers."""


@pytest.mark.slow
@pytest.mark.parametrize("keys", [PASTE.format(LINES), PASTE.format(LINES + "\r"), LINES, LONG])
def test_a_paste_is_one_message(chat, api_server, keys):
    writing = threading.Thread(target=chat.send, args=(keys + "\r",), daemon=True)
    writing.start()
    chat.read_until("[baidu/")
    chat.read_until(PROMPT)
    writing.join()
    assert last_prompts(api_server) == [(LONG if keys is LONG else LINES).replace("\r", "\n")]
    assert len(api_server.requests) == 1


@pytest.mark.slow
def test_no_colour_in_a_chat(api_server):
    with Terminal("--local", "--model", REASONING_MODEL, NO_COLOR="1") as terminal:
        terminal.read_until(PROMPT)
        terminal.send(PASTE.format("one\rtwo") + "\r")
        output = terminal.read_until(PROMPT)
    assert "The user says: one" in output
    assert not re.search("\x1b\\[[27]m", output)


@pytest.mark.slow
def test_ctrl_c_clears_the_line_or_stops_the_response(chat, api_server):
    chat.send("not this")
    chat.read_until("not this")
    chat.wait_until_idle()
    chat.send("\x03")
    chat.read_until("Ctrl-D or exit ends the chat")
    say(chat, "this\r")
    assert last_prompts(api_server) == ["this"]
    api_server.reply(events=ENDLESS, interval=0.05)
    chat.send("one\r")
    assert wait_until(lambda: len(api_server.requests) == 2)
    chat.repeat_until(lambda: chat.send("\x03"), PROMPT)
    api_server.reply("t " * 1000, interval=0.05)
    chat.send("two\r")
    chat.read_until("t t t")
    chat.repeat_until(lambda: chat.send("\x03"), PROMPT)
    say(chat, "three\r")
    user, partial, last = last_prompts(api_server)[2:]
    assert (user, partial[:5], last) == ("two", "t t t", "three")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_restores_the_terminal(chat, number):
    assert not chat.is_restored
    chat.wait_until_idle()
    os.kill(chat.process.pid, number)
    assert chat.read_to_end()[1] == 128 + number
    assert chat.is_restored


@pytest.mark.slow
@pytest.mark.parametrize("end", ["\x04", "exit\n", "quit \n"])
def test_a_chat_into_a_file(api_server, tmp_path, end):
    api_server.reply("eins")
    with Terminal("--local", stdout=str(tmp_path / "log")) as terminal:
        terminal.read_until("> ")
        terminal.send("one\n\ntwo\n")
        terminal.read_until("> ")
        terminal.send(end)
        assert terminal.read_to_end()[1] == 0
    expected = "[local ErnieServer, not ERNIE] You said: one\n\ntwo\n"
    assert (tmp_path / "log").read_text() == expected


@pytest.mark.slow
def test_a_chat_within_a_shell(tmp_path):
    """The shell would execute what the chat leaves over, and needs its terminal meanwhile."""
    command = f"{sys.executable} -m langchain_aimlernie --local"
    with Terminal(command=["/bin/sh", "-i"]) as terminal:
        terminal.send(f"cd {tmp_path}; {command}\n")
        terminal.read_until(PROMPT)
        terminal.send("one\r\rtouch executed\r")
        terminal.read_until(PROMPT)
        terminal.wait_until_idle()
        terminal.send("\x1a")
        terminal.read_until("Stopped")
        terminal.read_until("$ ")
        assert terminal.is_restored
        terminal.send("fg\n")
        terminal.read_until("--local")
        terminal.send("two\r")
        terminal.read_until("You said: two")
        terminal.read_until(PROMPT)
        terminal.send("\x04")
        terminal.read_until("$ ")
        terminal.send("echo d''one\n")
        terminal.read_until("done")
    assert not (tmp_path / "executed").exists()
