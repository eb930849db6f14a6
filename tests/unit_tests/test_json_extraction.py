import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_aimlernie._structured.json_extraction import (
    PartialJsonDecoder,
    extract_json,
    why_no_json,
)

CAT = {"setup": "为什么", "punchline": "because of `}`"}
TEXT = json.dumps(CAT, ensure_ascii=False)
F = "```"
A1, A2 = '{"a": 1}', '{"a": 2}'


def fence(content, info="json", mark=F):
    return f"{mark}{info}\n{content}\n{mark}"


WRAPPED = [
    *(TEXT, json.dumps(CAT, indent=2), f"\n\n  {TEXT}\n", fence(TEXT), fence(TEXT, "")),
    f"Here you are:\n```json\n{TEXT}\n```\nAnything else?",
    f"Sure! {TEXT} I hope it helps {{really}}.",
    f"With {{name}} filled in: {TEXT}",
    f'<think>maybe {{"setup": 1}}?</think>{TEXT}',
    f"<think>\nhm\n</think>\n\n```json\n{TEXT}\n```",
    f'the opening tag is lost {{"setup": 1}}</think>{TEXT}',
    f"<thinking>hm</thinking> {TEXT}",
    f"<response>\n{TEXT}\n</response>",
]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        *((text, [CAT]) for text in WRAPPED),
        ('{"a": "x\ny"}', [{"a": "x\ny"}]),  # raw line breaks within strings
        ('{"a": "</think>"}', [{"a": "</think>"}]),
        # The whole text, else the last fenced value, else the last one at the top level.
        ("According to [1], the numbers are:\n" + fence("[4, 5]"), [[4, 5], [1]]),
        (f"Starting from {{}} we get ```json\n{TEXT}```", [CAT, {}]),
        ('Template: { "name": string }\n' + fence(A1), [{"a": 1}]),
        (fence(A1) + "\nBetter:\n" + fence(A2), [{"a": 2}, {"a": 1}]),
        (f"{fence('[1]')}\n{A1} {A2}", [[1], {"a": 2}, {"a": 1}]),
        ('First {"a": 1}, then {"a": 2}.', [{"a": 2}, {"a": 1}]),
        ('[1] says so: {"a": 1}', [{"a": 1}, [1]]),
        ('Result: {"a": 1}. See [1] and [docs].', [[1], {"a": 1}]),
        ("see [1] and [2, 3]", [[2, 3], [1]]),
        (fence("f()", "py") + '\n{"a": 1} is wrong, right is: {"a": 2}', [{"a": 2}, {"a": 1}]),
        (fence('[{"a": 1}, {"a": 2}]'), [[{"a": 1}, {"a": 2}]]),
        # Scalars are values if nothing stands beside them.
        ("42", [42]),
        ("null", [None]),
        (fence('"x"'), ["x"]),
        (fence("1. Wash\n2. Dry", ""), []),
        # Fences of every kind.
        (fence('{"a": 1}', mark="~~~"), [{"a": 1}]),
        (fence('{"a": "```"}', mark="````"), [{"a": "```"}]),
        (fence('{"a": 1}', "application/json"), [{"a": 1}]),
        (fence('{"a": 1}', "json filename=a.json"), [{"a": 1}]),
        (fence('{"a": 1}', " {.json}"), [{"a": 1}]),
        (f'{F}json {{"a": 1}}{F} Enjoy', [{"a": 1}]),
        (f'{F}{{"a": 1}}{F}', [{"a": 1}]),
        (f'{F}json\n{{"a": 1}}', [{"a": 1}]),  # never closed
        (f'{F}json\n{{"a": 1}}\n\n{F}json\n{{"a": 2}}\n{F}', [{"a": 2}, {"a": 1}]),
        (fence('{"a": 1}\n{"a": 2}', "jsonl"), [{"a": 2}, {"a": 1}]),
        (fence("# Title\n" + fence(A1), "markdown"), [{"a": 1}]),
        (f'Use {F}foo{F} like this: {{"a": 1}}', [{"a": 1}]),
        (fence("ls -l", "bash") + "\n" + A1, [{"a": 1}]),
        (fence('s = "{"', "python") + "\n" + A1, [{"a": 1}]),
        (fence('print({"a": 1})', "python"), [{"a": 1}]),
        (fence(A1) + "\n" + fence('f({"a": 2})', "python"), [{"a": 1}, {"a": 2}]),
        ('好的~~~结果是:{"a": 1}', [{"a": 1}]),
        # What looks like a fence within a string is none.
        (fence('{"code": "```python\\nx\\n```"}'), [{"code": "```python\nx\n```"}]),
        (f'Here: {{"md": "{F}{{}}{F}"}}', [{"md": f"{F}{{}}{F}"}]),
        (fence('{"md": "\n' + fence("[1]") + '\n"}'), [{"md": "\n" + fence("[1]") + "\n"}]),
        # A bracket that holds no JSON does not end the search, and nothing in it counts.
        ('f(x) = {x} and {"a": 1}', [{"a": 1}]),
        ('Let \\(S = \\left\\{ x \\right.\\) and {"a": 1}', [{"a": 1}]),
        ("""[it's] {"a": 1} isn't""", [{"a": 1}]),
        ('{"a": 1,} {"a": 2}', [{"a": 2}, {"a": 1}]),
        ('{"a": [1, ",]",\n ], }', [{"a": [1, ",]"]}]),
        ('{"a": [1 , // one\n# no more\n] ,/* a */ }', [{"a": [1]}]),
        ("[1,,] {,} [,] [1] , ]", [[1]]),
        # What can only mean JSON
        ("{'a': {\"b\": 1}, 'c': '}'} {\"a\": 2}", [{"a": 2}, {"a": {"b": 1}, "c": "}"}]),
        (
            r"""{'it\'s': "\'", 'b"': 'c\"', 'd': '\u0041\n\\'}""",
            [{"it's": "'", 'b"': 'c"', "d": "A\n\\"}],
        ),
        (
            r"""{"a": "\alpha \(C:\Users\\ \/ \u00e9 \u12"}""",
            [{"a": "\\alpha \\(C:\\Users\\ / é \\u12"}],
        ),
        ('{“a”:“b "c" {”, ”d“: 1,}', [{"a": 'b "c" {', "d": 1}]),
        (
            "{a: 1, b_2 : True, 名: [False, None,], True: 'True'}",
            [{"a": 1, "b_2": True, "名": [False, None], "True": "True"}],
        ),
        (
            '{"a": 1, // it\'s [one]\n /* } */ "b": "// # \\" /* */" # 2\n}',
            [{"a": 1, "b": '// # " /* */'}],
        ),
        (
            r"""{"a": "\(\frac{1}{2}\)\nThen\n \beta \\nu"}""",
            [{"a": "\\(\\frac{1}{2}\\)\nThen\n \\beta \\nu"}],
        ),
        # What may mean something else
        (r"""{'a': "\s\b$"}""", [{"a": r"\s\b$"}]),
        *((text, []) for text in (r'{"a": "C:\new\Users"}', r'{"a": "\(\nabla\)"}', "{ /* a */ }")),
        ('{"a": 1} if (x) { // nothing\n}', [{"a": 1}]),
        ('{"a": "the "best" # 1"\n, "b": "x" "y"}', []),
        ('{"a": "the " #1 of "all"\n}', []),
        ("{'a': 'it's'} {'b': 'x 'y' z'}", []),
        (r'{\{"a": 1}', []),
        ('{a: b, "c": Truely, d e: 1}', []),
        *((text, []) for text in ("'a'", "“a”", "'a", "True", "a: 1", '{"a": “b')),
        *(
            (text, [{"a": 1}])
            for text in ('{{"a": 1}}', '{ {"a": 1}', '\\boxed{{"a": 1}}', fence('{{"a": 1}}'))
        ),
        ('{{ a }} {{"a": {"b": 1}, {', []),
        ("Wait [1, 2\n" + fence('{{"a": 1}}') + "\n[2]", [{"a": 1}, [2]]),
        (fence('{"a": [1, 2}') + "\n" + fence(A1), [{"a": 1}]),
        (fence('{"a": "b') + "\nOnce more:\n" + fence('{"a": "c"}'), [{"a": "c"}]),
        (fence('{"a": 1, oops, "b": {"c": 1}}'), []),
        # What follows a bracket that nothing closes is not at the top level.
        ('sad :[ but {"a": 1}', []),
        ("sad :[ but\n" + fence(A1), [{"a": 1}]),
        (f'{F}json\n{{"a": 1}}\n{F}\n{F}json\n{{"items": [{{"a": 2}}, {{"a"', [{"a": 1}]),
    ],
)
def test_the_likeliest_value_comes_first(text, values):
    assert list(extract_json(text)) == values


def test_nothing_is_made_out_of_what_is_no_whole_json():
    for text in (
        *("", "No.", "{x} and {y}", '<think>{"a": 1}', '{"a": 1, oops, "b": {"c": 1}}'),
        *('{"items": [{"a": 1}, {"a": 2}, {"a":', '{"items": [{"a": 1}, {"a": 2},'),
        'So: {"items": [{"a": 1}, {"a": 2}]',
        *('{"a": "x} and [1, 2], then', '{"a": "x} [1, 2] \\', "{'a': 'x} and [1, 2], then"),
        "{'a': '}', 'b': {\"c\": 1}",
        f'{{"code": "{F}json\\n[1]\\n{F}", "b',
        f'{{"md": "x\n{F}json\n[1]\n{F}\n", "b',
        f'{F}json\n{{"items": [{{"a": 1}}, {{"a": 2}}\n{F}',
        *("[" * 100_000, '{"a":' * 100_000, "1" * 5000),
    ):
        assert list(extract_json(text)) == [], text[:50]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("No.", ""),
        ('{"a": 1}', ""),
        ("So: {x}", " (Expecting property name enclosed in double quotes, character 6)"),
        (f"[{'1' * 5000}]", " (numbers too long, or nested too deeply)"),
    ],
)
def test_the_first_fault_of_what_looks_like_json_is_named(text, why):
    assert why_no_json(text) == why


@pytest.mark.parametrize(
    "pattern",
    [
        *("[", "{", "[}", "{x}", "{ ", '{"', "{'", '{"a":', "[1] ", '\\"', "\\", "`", "~~~\n"),
        *("```\n", "```{\n", '```{x "\n', "```a\n{", "```  ", "`{`", '```json\n{"a": 1}\n```\n'),
        *("<think>", "```{[", '{"a": "b"} ', "```\n1\n", "“", "/*", "a", "a: ", "\\'"),
    ],
)
def test_the_work_grows_with_the_length_of_the_text(pattern):
    few, many = (lines_executed(extract_json, "x" + pattern * count) for count in (100, 400))
    assert many < 5 * few


def lines_executed(function, *args):
    """Count the lines of Python that a call executes."""
    count = 0

    def trace(*_):
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function(*args)
    finally:
        sys.settrace(before)
    return count


marks = st.sampled_from([F, "~~~", "json", "\n", "[", "]", "{", "}", '"', "'", "\\", ":", ",", "1"])
texts = st.lists(marks, max_size=8).map("".join)
objects = st.dictionaries(
    texts, texts | st.lists(texts | st.integers(), max_size=2), min_size=1, max_size=3
)


@pytest.mark.slow
@settings(max_examples=50)
@given(objects, st.data(), st.sampled_from(["", "So: ", "> "]))
def test_no_cut_object_is_taken_for_a_whole_one(value, data, before):
    text = json.dumps(value, ensure_ascii=False)
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    assert list(extract_json(before + cut)) == []


WRAPPINGS = ["{}", "Here: {} Done.", "<think>so</think>{}", "[1]: {}"]
WRAPPINGS += [f"So:\n{fence('{}', mark=mark)}\nDone." for mark in (F, "~~~", "````")]


@pytest.mark.slow
@settings(max_examples=50)
@given(objects | st.dictionaries(st.text(), st.text(), min_size=1), st.sampled_from(WRAPPINGS))
def test_any_object_is_found_in_any_wrapping(value, wrapping):
    text = wrapping.replace("{}", json.dumps(value, ensure_ascii=False))
    assert next(iter(extract_json(text))) == value


def _grow(*pieces):
    decoder = PartialJsonDecoder()
    return [decoder.feed(piece) for piece in pieces]


@pytest.mark.parametrize(
    ("pieces", "known"),
    [
        (('{"a": "x', "y", '", "b": [1, ', "2]}"),
         [{"a": "x"}, {"a": "xy"}, {"a": "xy", "b": [1]}, {"a": "xy", "b": [1, 2]}]),
        # Reasoning, prose, a fence.
        (("<think>{", '"a": 0}', "</think>", "Here {it} is ```json\n", '{"a"', ": 1}", "\n```"),
         [None, None, None, None, {}, {"a": 1}, None]),
        (('{"a": "b", ', "oops", "}"), [{"a": "b"}, None, None]),
        (("{", "name", "}"), [None, None, None]),
        (("[", "1", "] says", " so"), [None, None, [1], None]),
        # Numbers, also in quotes, which classes take for numbers.
        (('{"a": 2', "1", "}"), [{}, {}, {"a": 21}]),
        (('{"a": 2', "1 ", "}"), [{}, {"a": 21}, {"a": 21}]),
        (('{"a": "2', "1", '"'), [{}, {}, {"a": "21"}]),
        (('["b", -', "1", ".5", "e1", ", "), [["b"], ["b"], ["b"], ["b"], ["b", -15.0]]),
        (('{"a": tr', "ue", ', "b": nul', "l}"), [{}, {"a": True}, {"a": True}, {"a": True, "b": None}]),
        (('{"a": "in 19', '84"'), [{"a": "in 19"}, {"a": "in 1984"}]),
        # Values within prose wait for the end.
        (('So: {"a": ', '"x"}'), [None, None]),
        (("```python\nf(", '{"a": "x"})\n', "```\n", '{"a": "y"}'), [None, None, None, None]),
        # The last fence counts.
        (('```json\n{"a": "x"}', "\n``", "`\nBetter:\n`", "``json\n", '{"a": ', '"y"}'),
         [{"a": "x"}, None, None, None, {}, {"a": "y"}]),
        ((f'{{x}} {F}json\n{{"a": "x"}}\n{F}\n{F}\n', '{"a": "y"'), [{"a": "x"}, {"a": "y"}]),
        ((f'{F}json {{"c": "{F}py', f'\\nx{F}"}}{F}'), [{"c": f"{F}py"}, {"c": f"{F}py\nx{F}"}]),
        # What Python cannot read: numbers of too many digits, and what is nested too deeply.
        ((f'{{"a": {"1" * 5000}', "}"), [{}, None]),
        (("[" * 100_000, "]" * 100_000), [None, None]),
        # pydantic's parser refuses raw line breaks; at the end the value is known.
        (('{"a": "x\n', 'y", "b": "z"', "}"), [None, None, {"a": "x\ny", "b": "z"}]),
    ],
)  # fmt: skip
def test_an_object_grows_with_its_text(pieces, known):
    assert _grow(*pieces) == known


@pytest.mark.slow
@settings(max_examples=50)
@given(
    st.dictionaries(st.text(), st.text() | st.integers(), min_size=1, max_size=4), st.integers(1, 7)
)
def test_a_growing_object_ends_as_the_whole_one(value, size):
    text = json.dumps(value, ensure_ascii=False)
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    grown = [each for each in _grow(*pieces) if each is not None]
    assert grown[-1] == value
    for each in grown:
        for key, part in each.items():
            whole = value[key]
            assert part == whole if isinstance(whole, int) else whole.startswith(part)


def test_prose_of_any_length_is_passed_over():
    decoder = PartialJsonDecoder()
    for _ in range(2000):
        assert decoder.feed("a long text without any JSON in it, ") is None
    assert decoder.feed('\n```json\n{"a": "x"}') == {"a": "x"}
