"""Batches in processes of their own, to be killed."""

import multiprocessing
import signal
import sys
from pathlib import Path

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie.batch import BatchRun


def run_batch(base_url, key, out, rows, log):
    """Run a batch; what is printed goes to the file `log`."""
    sys.stdout = sys.stderr = Path(log).open("w", buffering=1)  # noqa: SIM115  until the end
    signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it
    llm = ChatAimlErnie(base_url=base_url, api_key=key)
    prompts = [{"custom_id": f"row-{n}", "prompt": f"Say {n}."} for n in range(rows)]
    BatchRun(llm, out, max_in_flight=8).run(prompts)


def start_batch(server, out, rows):
    """Return the process of a batch. Processes are forked from one that has imported all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    arguments = (server.base_url, server.api_key, str(out), rows, f"{out}.log")
    process = context.Process(target=run_batch, args=arguments)
    process.start()
    return process
