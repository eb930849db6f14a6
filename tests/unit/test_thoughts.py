from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_aimlernie._thoughts import ThoughtSplitter, split_thoughts

CASES = [
    ("", ("", "")),
    ("\n", ("", "\n")),
    ("plain", ("", "plain")),
    ("<think>a</think>b", ("a", "b")),
    ("\n <think>a\n</think>\n\nb", ("a\n", "\n\nb")),
    ("<think></think>b", ("", "b")),
    ("<think>never closed", ("never closed", "")),
    ("<think>a < b </thin", ("a < b </thin", "")),
    ("<thinking>no tag", ("", "<thinking>no tag")),
    ("later <think>a</think>", ("", "later <think>a</think>")),
    ("<think>a</think>b<think>c</think>", ("a", "b<think>c</think>")),
    ("  <thi", ("", "  <thi")),
]


@pytest.mark.parametrize(("text", "parts"), CASES)
def test_a_block_that_opens_the_text_is_reasoning(text, parts):
    assert split_thoughts(text) == parts


@given(st.data())
def test_any_split_of_the_text_gives_the_same_parts(data):
    text = data.draw(
        st.one_of(
            st.sampled_from([text for text, _ in CASES]),
            st.text(alphabet="<think/> a\n", max_size=40),
        )
    )
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=8).map(sorted))
    splitter = ThoughtSplitter()
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    told = [*map(splitter.feed, pieces), splitter.close()]
    assert ("".join(r for r, _ in told), "".join(t for _, t in told)) == split_thoughts(text)
