"""Fail a test of the official suites that is skipped without being listed here.

The suites silently skip whatever a test class claims not to support.
"""

import pytest

UNSUPPORTED = ("test_audio_inputs", "test_stream_time")
"""ERNIE does not support audio; timing runs are recorded against a real server."""

TEXT_ONLY = ("test_pdf_inputs", "test_image_inputs", "test_image_tool_message", "test_pdf_tool")
TEXT_MODELS = ("TestPlainModel", "TestReasoningModel")

TOOL_CHOICE = ("test_tool_choice",)
"""A model that reasons cannot be forced to call a tool."""

REASONING_MODELS = ("TestReasoningModel", "TestErnie5")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if "test_standard" in item.nodeid and report.skipped and not _may_skip(item):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: {report.longrepr}"
    return report


def _may_skip(item):
    model = item.cls.__name__
    names = (
        UNSUPPORTED + TEXT_ONLY * (model in TEXT_MODELS) + TOOL_CHOICE * (model in REASONING_MODELS)
    )
    return item.name.startswith(names)
