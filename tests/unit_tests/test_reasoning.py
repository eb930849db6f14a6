import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_aimlernie._response.completion import ThinkTagParser, split_think_tags
from tests.support.splits import split_at

CASES = [
    ("", ("", "")),
    ("\n", ("", "\n")),
    ("plain", ("", "plain")),
    ("<think>a</think>b", ("a", "b")),
    ("\n <think>a\n</think>\n\nb", ("a", "b")),
    ("<think>\nhm\n</think>\n\n<response>\nParis\n</response>", ("hm", "Paris")),
    ("<think>\nhm\n</think>\n\n<response>\nA\n\nB\n</response>\n", ("hm", "A\n\nB")),
    ("<think>hm</think><response>Paris</response>", ("hm", "Paris")),
    ("<think>hm</think>\n<response>\ncut", ("hm", "cut")),
    ("<think>hm</think>\n<response>\na < b </respons", ("hm", "a < b </respons")),
    ("<think>hm</think>\n<resp", ("hm", "<resp")),
    ("<think>hm</think>\n<responses>", ("hm", "<responses>")),
    ("<think>hm</think>\nParis <response>", ("hm", "Paris <response>")),
    ("<think>hm\n", ("hm\n", "")),
    ("<think> hm \n</think>  yes", (" hm ", "  yes")),
    ("<think>\r\nhm\r\n</think>\r\n\r\n    code()", ("hm", "    code()")),
    ("<think>hm</think>\n \n<response>\n  code()\n</response>", ("hm", "  code()")),
    ("<response>\nParis\n</response>", ("", "<response>\nParis\n</response>")),
    ("hm</think>\n<response>Paris</response>", ("", "hm</think>\n<response>Paris</response>")),
    ("\n" * 9 + "<think>a</think>b", ("a", "\nb")),
    ("\n" * 20, ("", "\n" * 20)),
    ("<think>a" + "\n" * 9 + "</think>b", ("a\n", "b")),
    ("<think>a</think>" + "\n" * 99 + "b", ("a", "b")),
    ("<think></think>b", ("", "b")),
    ("\n</think>\n\nb", ("", "b")),
    ("</think>\n<response>\nb\n</response>", ("", "b")),
    ("<think>never closed", ("never closed", "")),
    ("<think>a < b </thin", ("a < b </thin", "")),
    ("<thinking>no tag", ("", "<thinking>no tag")),
    ("later <think>a</think>", ("", "later <think>a</think>")),
    ("<think>a</think>b<think>c</think>", ("a", "b<think>c</think>")),
    ("<think>a</think>\n<think>b</think>\n<response>c</response>", ("ab", "c")),
    ("  <thi", ("", "  <thi")),
]


@pytest.mark.parametrize(("text", "parts"), CASES)
def test_a_block_that_opens_the_text_is_reasoning(text, parts):
    assert split_think_tags(text) == parts


PIECES = [*"<think/> a\n", "<think>", "</think>", "<response>", "</response>", "\n" * 7]
TEXTS = st.sampled_from([text for text, _ in CASES]) | st.lists(
    st.sampled_from(PIECES), max_size=12
).map("".join)


def test_white_space_is_not_held_back_without_bound():
    for before in ("", "<think>a", "<think>a</think><response>b"):
        parser = ThinkTagParser()
        parser.feed(before)
        parts = [parser.feed("\n") for _ in range(100)]
        assert sum(len(reasoning + text) for reasoning, text in parts) == 92


@pytest.mark.slow
@given(TEXTS, st.lists(st.integers(0, 120), max_size=8))
def test_any_split_of_the_text_gives_the_same_parts(text, cuts):
    parser = ThinkTagParser()
    parsed = [*map(parser.feed, split_at(text, cuts)), parser.close()]
    assert tuple(map("".join, zip(*parsed, strict=True))) == split_think_tags(text)
