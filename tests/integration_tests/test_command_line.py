from __future__ import annotations

import io
import os
import signal
import subprocess
import sys

import pytest

from langchain_aimlernie.__main__ import main

REASONING_MODEL = "baidu/ernie-4.5-21b-a3b-thinking"


@pytest.fixture
def api_server(monkeypatch, ernie_server):
    monkeypatch.setenv("AIMLAPI_API_KEY", ernie_server.api_key)
    monkeypatch.setenv("AIMLAPI_API_BASE", ernie_server.base_url)
    return ernie_server


def run(*arguments, **settings):
    command = [sys.executable, "-m", "langchain_aimlernie", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, **settings
    )


@pytest.mark.slow
def test_local_streams_a_marked_completion_and_prints_the_cost():
    done = run("--local", "Why is the sky blue?", env={**os.environ, "AIMLAPI_API_KEY": ""})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[local ErnieServer, not ERNIE]")
    assert "tokens" in done.stderr
    assert "credits" in done.stderr
    assert "$" in done.stderr


def test_a_missing_key_is_an_error(monkeypatch, capsys):
    monkeypatch.delenv("AIMLAPI_API_KEY", raising=False)
    assert main(["hi"]) == 1
    output = capsys.readouterr()
    assert "AIMLAPI_API_KEY" in output.err
    assert output.out == ""


def test_model_and_system_are_sent(api_server, capsys):
    assert main(["--model", REASONING_MODEL, "--system", "Be brief.", "hi"]) == 0
    body = api_server.last_request.body
    assert body["model"] == REASONING_MODEL
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
    ]
    assert body["stream"] is True


def test_reasoning_comes_before_the_answer(api_server, capsys):
    api_server.reply("the answer", reasoning="a thought")
    assert main(["--model", REASONING_MODEL, "hi"]) == 0
    out = capsys.readouterr().out
    assert out == "a thought\n\nthe answer\n"


def test_reasoning_is_dimmed_on_a_terminal(api_server, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    api_server.reply("the answer", reasoning="a thought")
    assert main(["--model", REASONING_MODEL, "hi"]) == 0
    assert out.getvalue() == "\x1b[2ma thought\x1b[0m\n\nthe answer\n"


def test_a_dash_reads_standard_input(api_server, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("from a pipe\n"))
    assert main(["-"]) == 0
    assert api_server.last_request.body["messages"] == [
        {"role": "user", "content": "from a pipe\n"}
    ]


def test_without_a_prompt_it_is_a_conversation(api_server, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo\n"))
    assert main([]) == 0
    roles = [message["role"] for message in api_server.last_request.body["messages"]]
    assert roles == ["user", "assistant", "user"]


def test_a_conversation_survives_an_error(api_server, monkeypatch, capsys):
    api_server.fail(400, message="Not this one")
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo\n\n"))
    assert main([]) == 0
    assert "Not this one" in capsys.readouterr().err
    assert api_server.last_request.body["messages"] == [{"role": "user", "content": "two"}]


def test_errors_are_printed_in_one_line(api_server, monkeypatch, capsys):
    assert main(["--model", "nope", "hi"]) == 1
    output = capsys.readouterr().err
    assert output.startswith("error: ")
    assert "Traceback" not in output
    monkeypatch.setenv("AIMLAPI_API_KEY", "not a key")
    assert main(["hi"]) == 1
    assert "api_key" in capsys.readouterr().err


@pytest.mark.slow
def test_a_closed_pipe_is_not_an_error():
    done = subprocess.run(
        f"{sys.executable} -m langchain_aimlernie --local hi | head -c 3",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_exits_without_a_traceback(api_server):
    api_server.reply(events=("data: {}\n\n" for _ in iter(int, 1)), interval=0.05)
    command = [sys.executable, "-m", "langchain_aimlernie", "hi"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        while not api_server.requests:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, output = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in output
