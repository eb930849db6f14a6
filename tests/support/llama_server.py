"""llama.cpp's server with the tiny model, in a process of its own."""

import contextlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def llama_server(folder: Path):
    """Start the server on a free port; its log and the model are files of `folder`.

    Yields:
        The server's address, such as `http://127.0.0.1:40123`.
    """
    log = folder / "llama.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.tiny_ernie", str(folder / "tiny-ernie.gguf")],
            cwd=ROOT,
            stdin=subprocess.PIPE,  # the server ends with it
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
        ) as process,
    ):
        lines = (line.partition("listening: ") for line in process.stdout)
        address = next((address.strip() for before, _, address in lines if not before), None)
        if address is None:
            raise RuntimeError(f"The server did not start:\n{log.read_text()}")
        try:
            yield address
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
