from __future__ import annotations

import subprocess
import sys

import langchain_aimlernie
from langchain_aimlernie import errors, testing

NAMES = {
    "ChatAimlErnie",
    "SpendTracker",
    "__version__",
    "alist_models",
    "errors",
    "list_models",
    "APIConnectionError",
    "APITimeoutError",
    "AimlErnieError",
    "AuthenticationError",
    "BadRequestError",
    "ContextWindowExceededError",
    "InsufficientCreditsError",
    "InternalServerError",
    "InvalidResponseError",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
    "RefusalError",
    "StreamInterruptedError",
    "StructuredOutputError",
}


def test_the_public_names_are_these():
    assert set(langchain_aimlernie.__all__) == NAMES
    assert set(dir(langchain_aimlernie)) == NAMES
    for name in NAMES:
        assert getattr(langchain_aimlernie, name) is not None


def test_every_error_class_is_public():
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.AimlErnieError)
    }
    assert classes <= NAMES


def test_the_local_server_is_public():
    assert "ErnieServer" in testing.__all__


def test_the_pytest_plugin_does_not_load_langchain():
    code = (
        "import sys; import langchain_aimlernie.testing.fixtures; "
        "sys.exit('langchain_core' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
