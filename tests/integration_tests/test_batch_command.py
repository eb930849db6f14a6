"""`aimlernie batch`: what it reads, writes, prints and exits with."""

import json
import sys

import pytest
from filelock import FileLock

from langchain_aimlernie.__main__ import main
from langchain_aimlernie.batch import BatchRun
from langchain_aimlernie.testing import Reply
from tests.support.byte_server import refusing_port

SCHEMA = {
    "title": "Word",
    "type": "object",
    "properties": {"word": {"type": "string"}},
    "required": ["word"],
}


@pytest.fixture
def server(monkeypatch, api_server, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.jsonl").write_text('{"prompt": "One"}\n{"custom_id": "b", "prompt": "Two"}\n')
    (tmp_path / "in.csv").write_text("id,text\n1,One\n2,Two\n3,Three\n")
    (tmp_path / "number.jsonl").write_text('{"custom_id": 0, "text": "One"}\n')
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "folder.errors.jsonl").mkdir()
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    return api_server


RUN = ["batch", "in.jsonl", "-o", "out.jsonl"]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def bodies(server):
    return [request.body for request in server.requests if request.method == "POST"]


def test_a_file_is_run_and_then_continued(server, tmp_path, capsys):
    assert main(RUN) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("2 rows done, 0 failed")
    assert "$" in printed.err
    assert main(["--max-tokens", "9", *RUN]) == 1  # these would be other calls
    assert "has changed" in capsys.readouterr().err
    assert main(RUN) == 0
    assert "0 rows done, 0 failed, 2 done before" in capsys.readouterr().err
    assert len(lines(tmp_path / "out.jsonl")) == len(bodies(server)) == 2


def test_every_option_reaches_the_requests(server, tmp_path):
    server.reply('{"word": "yes"}')
    options = "--model baidu/ernie-5.0 --temperature 0.5 --max-tokens 50 --no-reasoning"
    more = ["--system", "Be brief.", "--template", "Say: {text}", "--schema", "schema.json"]
    rates = "--rpm 6000 --tpm 1000000 --max-in-flight 2 --limit-usd 1 --shard 2/2"
    run = [*options.split(), "batch", "in.csv", "-o", "out.jsonl", *more, *rates.split()]
    assert main(run) == 0
    (body,) = bodies(server)
    assert body["model"] == "baidu/ernie-5.0"
    assert (body["temperature"], body["max_tokens"], body["enable_thinking"]) == (0.5, 50, False)
    assert [message["content"] for message in body["messages"]] == ["Be brief.", "Say: Two"]
    (line,) = lines(tmp_path / "out.jsonl")
    assert line["aimlernie"]["parsed"] == {"word": "yes"}


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--dry-run"], 1)])
@pytest.mark.usefixtures("server")
def test_a_closed_standard_output_matters_only_to_what_is_printed(monkeypatch, options, code):
    monkeypatch.setattr(sys, "stdout", None)
    assert main([*RUN, *options]) == code


@pytest.mark.slow
@pytest.mark.parametrize(("retry", "code"), [("none", 2), ("transient", 0), ("all", 0)])
def test_failed_rows_and_their_exit_code(server, tmp_path, retry, code):
    server.fail(500, headers={"retry-after-ms": "1"}, times=6)
    assert main(RUN) == 2
    assert len(lines(tmp_path / "out.errors.jsonl")) == 2
    assert main([*RUN, "--retry-failed", retry]) == code


@pytest.mark.parametrize(
    ("status", "message", "code"), [(403, "You've run out of credits", 3), (401, "no", 1)]
)
def test_a_refused_account_ends_the_run(server, capsys, status, message, code):
    server.fail(status, message, times=2)
    assert main([*RUN, "--max-in-flight", "1"]) == code
    assert ("out of credits" if code == 3 else "error: ") in capsys.readouterr().err


def test_a_spent_budget_ends_the_run_and_can_be_raised(server, tmp_path):
    server.on_request = lambda _: Reply("fine")
    assert main([*RUN, "--limit-usd", "0.000001"]) == 3
    assert len(lines(tmp_path / "out.jsonl")) == 1
    assert main([*RUN, "--limit-usd", "1"]) == 0


@pytest.mark.slow
def test_a_dry_run_sends_no_row_and_needs_no_server_and_no_key(
    server, tmp_path, monkeypatch, capsys
):
    dry = [*RUN, "--dry-run"]
    assert main(dry) == 0
    assert capsys.readouterr().out.startswith("2 rows, about ")
    monkeypatch.delenv("AIMLAPI_API_KEY")
    with refusing_port() as port:
        monkeypatch.setenv("AIMLAPI_API_BASE", f"http://127.0.0.1:{port}/v1")
        assert main(dry) == 0
    assert "$" in capsys.readouterr().out
    assert not bodies(server)
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("missing.jsonl -o out.jsonl", "missing.jsonl: No such file or directory"),
        ("in.csv -o out.jsonl", "needs a template"),
        ("schema.json -o out.jsonl", 'expected "messages"'),
        ("- -o out.jsonl", "must be a file"),
        ("in.jsonl -o -", "output must be a file"),
        ("in.jsonl -o out.jsonl --schema deep.json", "deep.json: invalid JSON"),
        ("in.jsonl -o missing/out.jsonl", "No such file or directory"),
        ("in.jsonl -o out.jsonl --temperature 9", "--temperature must be"),
        ("in.jsonl -o out.jsonl --max-in-flight 0", "max_in_flight must be"),
        ("in.jsonl -o out.jsonl --limit-usd x", "limit_usd"),
        ("in.jsonl -o out.jsonl --schema in.csv", "in.csv: invalid JSON"),
        ("in.jsonl -o out.jsonl --schema list.json", "must be an object"),
        ("in.jsonl -o out.jsonl --shard 3/2", "must be like 3/16"),
        ("in.jsonl -o out.jsonl --shard 1/1e9", "must be like 3/16"),
        ("in.jsonl -o out.jsonl --rpm nan", "rpm must be more than 0"),
        ("in.jsonl -o out.jsonl --limit-usd inf", "limit_usd"),
        ("in.jsonl -o out.jsonl --temperature nan", "--temperature must be"),
        ("in.jsonl -o out.jsonl --retry-failed some", "invalid choice"),
        ("in.jsonl", "required: -o"),
        ("in.jsonl -o /dev/full", "not a regular file"),
        ("in.jsonl -o folder.jsonl", "folder.errors.jsonl is not a regular file"),
        ("in.jsonl -o out.jsonl --template {nothing}", "no value for nothing"),
        ("number.jsonl -o out.jsonl --template {text}", "custom_id must be a string"),
    ],
)
def test_a_run_that_is_refused_exits_with_1_and_says_why(server, capfd, arguments, problem):
    assert main(["batch", *arguments.split()]) == 1
    printed = capfd.readouterr()
    assert problem in printed.err
    assert "Traceback" not in printed.err
    assert not bodies(server)


def test_an_output_in_use_is_refused(server, capsys):
    with FileLock("out.jsonl.lock"):
        assert main(RUN) == 1
    assert "error: out.jsonl is in use by another run." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "printed"),
    [
        (KeyboardInterrupt(), 130, "0 rows done"),
        (
            OSError(28, "No space left on device", "out.jsonl"),
            1,
            "out.jsonl: No space left on device",
        ),
    ],
)
@pytest.mark.usefixtures("server")
def test_a_run_that_is_interrupted_or_cannot_write_exits_and_reports(
    monkeypatch, capsys, error, code, printed
):
    def run(*_):
        raise error

    monkeypatch.setattr(BatchRun, "run", run)
    assert main(RUN) == code
    assert printed in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_shows_progress(server, tmp_path):
    import termios

    from tests.support.terminal import Terminal

    arguments = ["batch", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl")]
    variables = {"AIMLAPI_API_KEY": server.api_key, "AIMLAPI_API_BASE": server.base_url}
    with Terminal(*arguments, **variables) as terminal:
        termios.tcsetwinsize(terminal.fd, (24, 100))
        printed, code = terminal.read_to_end()
    assert code == 0, printed
    assert "2/2" in printed
    assert "tokens, $" in printed
    assert "row/s" in printed
