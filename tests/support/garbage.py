"""A collection of garbage that has happened."""

import gc
import threading
import time


def collect():
    """Collect all garbage; `gc.collect` alone does nothing while another thread collects."""
    this_thread, generations = threading.get_ident(), []

    def note(phase, info):
        if phase == "stop" and threading.get_ident() == this_thread:
            generations.append(info["generation"])

    gc.callbacks.append(note)
    try:
        while 2 not in generations:
            gc.collect()
            time.sleep(0)  # lets the other thread finish
    finally:
        gc.callbacks.remove(note)
