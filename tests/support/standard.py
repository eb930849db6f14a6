"""The official suites skip in silence what a class says it lacks: nothing else may be skipped."""

from __future__ import annotations

import pytest

NOWHERE = ("test_audio_inputs", "test_stream_time")
"""ERNIE takes no audio; timing runs are recorded against a real server."""

TEXT_ONLY = ("test_pdf_inputs", "test_image_inputs", "test_image_tool_message", "test_pdf_tool")
TEXT_MODELS = ("TestPlainModel", "TestThinkingModel")

FORCED = ("test_tool_choice",)
"""A model that thinks cannot be forced to call a tool; it is left free to."""

THINKING_MODELS = ("TestThinkingModel", "TestErnie5")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if "test_standard" in item.nodeid and report.skipped and not _may_skip(item):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: {report.longrepr}"
    return report


def _may_skip(item):
    model = item.cls.__name__
    names = NOWHERE + TEXT_ONLY * (model in TEXT_MODELS) + FORCED * (model in THINKING_MODELS)
    return item.name.startswith(names)
