from __future__ import annotations

import io
import os
import signal
import subprocess
import sys

import pytest

from langchain_aimlernie.__main__ import main

THINKING = "baidu/ernie-4.5-21b-a3b-thinking"


@pytest.fixture
def keyed(monkeypatch, ernie_server):
    monkeypatch.setenv("AIMLAPI_API_KEY", ernie_server.api_key)
    monkeypatch.setenv("AIMLAPI_API_BASE", ernie_server.base_url)
    return ernie_server


def run(*arguments, **settings):
    command = [sys.executable, "-m", "langchain_aimlernie", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, **settings
    )


@pytest.mark.slow
def test_the_local_answer_streams_and_says_what_it_is():
    done = run("--local", "Why is the sky blue?", env={**os.environ, "AIMLAPI_API_KEY": ""})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[local ErnieServer, not ERNIE]")
    assert "tokens" in done.stderr
    assert "credits" in done.stderr
    assert "$" in done.stderr


def test_without_a_key_nothing_stands_in(monkeypatch, capsys):
    monkeypatch.delenv("AIMLAPI_API_KEY", raising=False)
    assert main(["hi"]) == 1
    told = capsys.readouterr()
    assert "AIMLAPI_API_KEY" in told.err
    assert told.out == ""


def test_model_and_system_are_sent(keyed, capsys):
    assert main(["--model", THINKING, "--system", "Be brief.", "hi"]) == 0
    body = keyed.last_request.body
    assert body["model"] == THINKING
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
    ]
    assert body["stream"] is True


def test_reasoning_comes_before_the_answer(keyed, capsys):
    keyed.reply("the answer", reasoning="a thought")
    assert main(["--model", THINKING, "hi"]) == 0
    out = capsys.readouterr().out
    assert out == "a thought\n\nthe answer\n"


def test_reasoning_is_dimmed_on_a_terminal(keyed, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    keyed.reply("the answer", reasoning="a thought")
    assert main(["--model", THINKING, "hi"]) == 0
    assert out.getvalue() == "\x1b[2ma thought\x1b[0m\n\nthe answer\n"


def test_a_dash_reads_standard_input(keyed, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("from a pipe\n"))
    assert main(["-"]) == 0
    assert keyed.last_request.body["messages"] == [{"role": "user", "content": "from a pipe\n"}]


def test_without_a_prompt_a_conversation_goes_on(keyed, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo\n"))
    assert main([]) == 0
    roles = [message["role"] for message in keyed.last_request.body["messages"]]
    assert roles == ["user", "assistant", "user"]


def test_a_conversation_survives_an_error(keyed, monkeypatch, capsys):
    keyed.fail(400, message="Not this one")
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo\n\n"))
    assert main([]) == 0
    assert "Not this one" in capsys.readouterr().err
    assert keyed.last_request.body["messages"] == [{"role": "user", "content": "two"}]


def test_errors_are_told_in_a_line(keyed, monkeypatch, capsys):
    assert main(["--model", "nope", "hi"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert "Traceback" not in told
    monkeypatch.setenv("AIMLAPI_API_KEY", "not a key")
    assert main(["hi"]) == 1
    assert "api_key" in capsys.readouterr().err


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error():
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
def test_ctrl_c_ends_it_quietly(keyed):
    keyed.reply(events=("data: {}\n\n" for _ in iter(int, 1)), interval=0.05)
    command = [sys.executable, "-m", "langchain_aimlernie", "hi"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        while not keyed.requests:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in told
