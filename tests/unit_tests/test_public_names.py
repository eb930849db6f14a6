import asyncio
import inspect
import re
import typing

from langchain_core.runnables import ConfigurableField, Runnable
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool

import langchain_aimlernie
from langchain_aimlernie import (
    ChatAimlErnie,
    account,
    batch,
    errors,
    middleware,
    models,
    profiles,
    spend,
    testing,
    tracing,
)
from langchain_aimlernie._settings.fields import ALIASES, Arguments, Settings

NAMES = {
    *("ChatAimlErnie", "SpendTracker", "__version__", "account", "alist_models", "errors"),
    *("list_models", "APIConnectionError", "APITimeoutError", "AimlErnieError"),
    *("AuthenticationError", "BadRequestError", "BudgetExceededError"),
    *("ContextWindowExceededError", "InsufficientCreditsError", "InternalServerError"),
    *("InvalidResponseError", "NotFoundError", "PermissionDeniedError", "RateLimitError"),
    *("RefusalError", "StreamInterruptedError", "StructuredOutputError"),
}


def test_the_public_names_are_these():
    assert set(langchain_aimlernie.__all__) == NAMES
    assert set(dir(langchain_aimlernie)) == NAMES
    for name in NAMES:
        assert getattr(langchain_aimlernie, name) is not None
    classes = {name: each for name, each in vars(errors).items() if isinstance(each, type)}
    assert {n for n, each in classes.items() if issubclass(each, errors.AimlErnieError)} <= NAMES


MODULES = (
    *(langchain_aimlernie, account, batch, errors, spend, models, profiles, testing),
    *(middleware, tracing),
)


def public_callables():
    """The public functions and the public methods of public classes."""
    public = [getattr(module, name) for module in MODULES for name in module.__all__]
    for found in [*public, *map(type, wrappers_of_a_model())]:
        if inspect.isclass(found):
            yield from methods_of(found)
        elif inspect.isfunction(found):
            yield found.__name__, found


def wrappers_of_a_model():
    """A runnable of each class that the methods of a model return, and their steps."""
    llm = ChatAimlErnie(api_key="k")
    parsed = llm.with_structured_output({"type": "object"})
    yield from (llm.bind(), llm.with_retry(), llm.with_fallbacks([llm]), parsed, *parsed.steps)
    yield llm.with_structured_output(method="json_mode", retry=True)
    yield llm.configurable_fields()
    yield llm.configurable_alternatives(ConfigurableField(id="which"))


def methods_of(cls):
    for name in dir(cls):
        method = inspect.getattr_static(cls, name)
        if isinstance(method, property):
            method = method.fget
        method = getattr(method, "__func__", method)
        is_ours = str(getattr(method, "__module__", "")).startswith("langchain_aimlernie")
        is_public = not name.startswith("_") or name in ("__init__", "__enter__", "__exit__")
        if inspect.isfunction(method) and is_ours and is_public:
            yield f"{cls.__name__}.{name}", method


def test_type_hints_can_be_resolved():
    found = dict(public_callables())
    assert found.keys() > {
        "StructuredOutputWithRetry.astream",
        "list_models",
        "ChatAimlErnie.bind_tools",
    }
    assert len(found) > 40
    for name, function in found.items():
        assert isinstance(typing.get_type_hints(function), dict), name


def test_methods_that_return_a_runnable_are_annotated():
    """RunnableWithFallbacks applies a method to each model if its annotation is a Runnable."""
    for name in ("bind", "bind_tools", "with_structured_output", "with_retry", "with_fallbacks"):
        returned = typing.get_type_hints(getattr(ChatAimlErnie, name))["return"]
        assert issubclass(typing.get_origin(returned), Runnable), name


def test_list_models_can_be_a_tool(ernie_server, monkeypatch):
    monkeypatch.setenv("AIMLAPI_API_BASE", ernie_server.base_url)
    cards = tool(langchain_aimlernie.list_models).invoke({"developer": "Baidu"})
    assert cards
    acards = tool(langchain_aimlernie.alist_models)
    assert asyncio.run(acards.ainvoke({})) == cards
    described = convert_to_openai_tool(langchain_aimlernie.list_models)["function"]
    assert "developer" in described["parameters"]["properties"]


def test_the_typed_dict_lists_exactly_the_fields_and_aliases():
    fields = {*ChatAimlErnie.model_fields}
    assert {*Arguments.__annotations__} == fields | ALIASES.keys()
    assert typing.get_type_hints(Arguments)
    assert typing.get_type_hints(ChatAimlErnie)


def test_help_describes_each_setting_and_no_private_type():
    # Without the indentation, which Python 3.13 removes by itself.
    described = re.findall(r"^ {4}(\w+): ", inspect.getdoc(ChatAimlErnie), re.MULTILINE)
    fields = Settings.model_fields.items()
    assert sorted(described) == sorted(field.alias or name for name, field in fields)
    assert "langchain_aimlernie._" not in ChatAimlErnie.__doc__
    methods = inspect.getmembers(ChatAimlErnie, inspect.isfunction)
    public = [method for name, method in methods if not name.startswith("_")]
    ours = [each for each in public if each.__module__.startswith("langchain_aimlernie")]
    assert not [each.__name__ for each in ours if re.search(r"\b_", str(inspect.signature(each)))]
