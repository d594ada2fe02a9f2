"""Sentence boundaries: golden cuts, and that no character is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.segmentation.sentences import split_sentences

GOLDEN = {
    "Dr. Ada Byron paid 3.50 at 5 p.m. yesterday. She left.": ["Dr. Ada Byron paid 3.50 at 5 p.m. yesterday.", "She left."],
    "J. R. Smith Jr. came. No. 5 is alive. I said no. Then I left.": ["J. R. Smith Jr. came.", "No. 5 is alive.", "I said no.",
        "Then I left."],
    "It was... fine. Hmm... We know.": ["It was... fine.", "Hmm...", "We know."],
    '"Is it?" she said. "Go." Then he left.': ['"Is it?" she said.', '"Go."', "Then he left."],
    "See https://a.b/c?Id=1.x. Or www.x.org! Ok": ["See https://a.b/c?Id=1.x.", "Or www.x.org!", "Ok"],
    "Shopping:\n- oat milk\n- eggs\n\nSee you": ["Shopping:", "- oat milk", "- eggs", "See you"],
    "1. Boil water.\n2. Add tea.": ["1. Boil water.", "2. Add tea."],
    "A line that is wrapped by hand goes on in\nthe next line. End.": [
        "A line that is wrapped by hand goes on in\nthe next line.", "End."],
    "# Title\nText under it.": ["# Title", "Text under it."],
    "今天天气很好。我去了公园！真的吗？是": ["今天天气很好。", "我去了公园！", "真的吗？", "是"],
    "यह अच्छा है। हाँ": ["यह अच्छा है।", "हाँ"],
    "هل أنت بخير؟ نعم. شكرا": ["هل أنت بخير؟", "نعم.", "شكرا"],
    "i went home. then i slept": ["i went home.", "then i slept"],
    "I love it 😊 Let's go! 🎉 Yes!That too": ["I love it 😊", "Let's go! 🎉", "Yes!", "That too"],
    "The U.S. Army left the U.S. He stayed.": ["The U.S. Army left the U.S.", "He stayed."],
    "Wir fuhren am 7. Mai nach Köln. Schön!": ["Wir fuhren am 7. Mai nach Köln.", "Schön!"],
    " \n\t ": [],
}  # fmt: skip


@pytest.mark.parametrize(("text", "sentences"), GOLDEN.items())
def test_a_text_is_cut_where_a_reader_would(text: str, sentences: list[str]) -> None:
    assert [text[a:b] for a, b in split_sentences(text)] == sentences


@given(st.one_of(st.text(), st.text(alphabet="aB .!?\n\"'’。-1)\r\u2028😊\x1c\u200b", max_size=60)))
def test_sentences_tile_everything_that_is_not_white_space(text: str) -> None:
    end = 0
    for start, stop in split_sentences(text):
        assert text[end:start].strip() == ""
        piece = text[start:stop]
        assert piece and piece == piece.strip()
        end = stop
    assert text[end:].strip() == ""
