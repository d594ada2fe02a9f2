"""What the rules extract from small texts of our own, and what holds for any text."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from time import process_time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.extraction import (
    MENTIONS,
    TRIPLES,
    UNITS,
    Extraction,
    ExtractParams,
    extract,
    extract_group,
    normal_form,
)
from pipelines.extraction.summary import centrality
from schemas.errors import UsageError
from schemas.table import TIME

SAID = datetime(2023, 5, 8, 13, 56, tzinfo=UTC)
LEAVES = pa.schema(
    [
        (name, pa.string())
        for name in ("unit_id", "namespace", "group_id", "granularity", "speaker", "role", "text", "source_ref")
    ]
    + [("start", pa.int32()), ("event_time", TIME), ("zone", pa.string())]
)


def leaves(
    *said: tuple[str | None, str], group: str = "talk", role: str | None = None, zone: str | None = None
) -> pa.Table:
    """Turns of one session from (speaker, words); a null speaker makes document sentences, cut from one source."""
    rows, start = [], 0
    for i, (speaker, words) in enumerate(said):
        turn = speaker is not None
        row = {
            "unit_id": f"{group}/{i}",
            "namespace": "n",
            "group_id": group,
            "granularity": "turn" if turn else "sentence",
        }
        row |= {"speaker": None if role else speaker, "role": role, "text": f"{speaker}: {words}" if turn else words}
        row |= {
            "source_ref": f"{group}/{i}" if turn else group,
            "start": 0 if turn else start,
            "event_time": SAID,
            "zone": zone,
        }
        rows.append(row)
        start += len(words) + 1
    return pa.Table.from_pylist(rows, schema=LEAVES)


def facts(table: pa.Table) -> list[dict]:
    return [u for u in extract_group(table).units.to_pylist() if u["granularity"] == "fact"]


def unit(found: Extraction, granularity: str) -> dict:
    (row,) = [u for u in found.units.to_pylist() if u["granularity"] == granularity]
    return row


FACTS = {
    "I went to a LGBTQ support group yesterday and it was so powerful.": (
        "Ada went to a LGBTQ support group yesterday (2023-05-07) and it was so powerful."
    ),
    "Yeah, I painted that lake sunrise last year!": "Ada painted that lake sunrise last year (2022)!",
    "Hey Bea, I'm keen on counseling in Leeds": "Ada is keen on counseling in Leeds",
    "I really love hiking with my two dogs.": "Ada really loves hiking with their two dogs.",
    "I've had a parrot since 2016.": "Ada has had a parrot since 2016.",
    "My brother Tom moved to Lisbon.": "Ada's brother Tom moved to Lisbon.",
    "We're adopting a kitten next month": "Ada and others are adopting a kitten next month (2023-06)",
    "The shelter gave me a terrier on 3 May 2023.": "The shelter gave Ada a terrier on 3 May 2023.",
    "My sister and I baked sourdough bread.": "Ada's sister and they baked sourdough bread.",
    "Went to the pottery class with Tom.": "Ada went to the pottery class with Tom.",
    "Finished my thesis on lichens.": "Ada finished their thesis on lichens.",
    "Last week, I found old notebooks!": "Last week (2023-05-01 to 2023-05-07), Ada found old notebooks!",
    "Thanks for asking, I bought a violin in Vienna.": "Ada bought a violin in Vienna.",
    "Inspired by the marathon, I joined a running club.": "Inspired by the marathon, Ada joined a running club.",
    "So I don't eat peanuts anymore, Bea.": "Ada doesn't eat peanuts anymore",
    "I was a nurse when I was in Kenya.": "Ada was a nurse when they were in Kenya.",
    'My coach said "I love this team" after the tournament.': 'Ada\'s coach said "I love this team" after the tournament.',
}
NO_FACTS = [
    "Hey Bea! Good to see you!", "How was the marathon in Boston?", "Thanks so much, Bea!", "It was a wonderful concert in Vienna.",
    "That sounds like a great museum.", "They moved to Portugal in May.", "Yeah, totally!", "I totally agree.",
    "Take a look at this painting.",
    "Wow, what a gorgeous lighthouse!", "Glad you liked the sculpture.", "", "😊🎉", "...", "Ok",
]  # fmt: skip


@pytest.mark.parametrize(("said", "fact"), FACTS.items())
def test_a_clause_is_rewritten_to_stand_alone(said: str, fact: str) -> None:
    assert [f["text"] for f in facts(leaves(("Ada", said)))] == [fact]


@pytest.mark.parametrize("said", NO_FACTS)
def test_questions_greetings_and_dangling_pronouns_are_no_facts(said: str) -> None:
    assert facts(leaves(("Ada", said))) == []


def test_a_fact_is_dated_by_its_one_past_or_explicit_date() -> None:
    def day(said: str) -> str:
        return str(facts(leaves(("Ada", said)))[0]["event_time"].date())

    assert day("I visited the aquarium last Friday.") == "2023-05-05"
    assert day("I'm visiting the aquarium next month.") == "2023-05-08"
    assert day("I moved here in March 2019 and left the choir in 2021.") == "2023-05-08"


def test_yesterday_is_counted_in_the_zone_of_the_speaker() -> None:
    late = leaves(("Ada", "I visited the aquarium yesterday."), zone="+11:00")
    assert "(2023-05-08)" in facts(late)[0]["text"]
    assert "(2023-05-07)" in facts(leaves(("Ada", "I visited the aquarium yesterday."), zone="no such zone"))[0]["text"]


def test_a_user_is_the_user_and_an_assistant_speaks_of_the_world_only() -> None:
    said = "I bought a Honda Civic for my daughter."
    assert facts(leaves(("user", said), role="user"))[0]["text"] == "The user bought a Honda Civic for their daughter."
    assert facts(leaves(("assistant", said), role="assistant")) == []
    world = facts(leaves(("assistant", "The Honda Civic was introduced in 1972."), role="assistant"))
    assert [(f["text"], f["quotes"]) for f in world] == [("The Honda Civic was introduced in 1972.", True)]


def test_a_facts_span_is_its_clause_in_the_turn() -> None:
    table = leaves(("Ada", "Wow! I ran a charity race last Saturday - it was rewarding. [a photo of a medal]"))
    (fact,) = facts(table)
    (span,) = fact["source_spans"]
    assert table["text"][0].as_py()[span["start"] : span["end"]] == "I ran a charity race last Saturday"
    assert fact["parent_id"] == "talk/0" and not fact["quotes"]


TALK = (
    ("Ada", "Hey Bea! I joined a pottery class in Leeds last week."),
    ("Bea", "Wow, a pottery class! Did Tom Hardy come along?"),
    ("Ada", "Yes, Tom Hardy made a blue vase for $1,500. I like the pottery class."),
    ("Bea", "I ran 5 km to the Natural History Museum and read “The Hobbit” there. [a photo of a blue vase]"),
)


def test_mentions_of_a_conversation() -> None:
    found = {
        (m["unit_id"][-1], m["normal"], m["kind"], m["count"])
        for m in extract_group(leaves(*TALK)).mentions.to_pylist()
    }
    assert found >= {
        ("0", "ada", "person", 1), ("0", "bea", "person", 1), ("0", "leeds", "place", 1), ("0", "pottery class", "term", 1),
        ("0", "2023-05-01/2023-05-07", "date", 1), ("1", "bea", "person", 1), ("1", "tom hardy", "name", 1),
        ("2", "1500 usd", "quantity", 1), ("2", "blue vase", "term", 1), ("3", "5 km", "quantity", 1),
        ("3", "natural history museum", "organisation", 1), ("3", "hobbit", "name", 1), ("3", "blue vase", "term", 1),
    }  # fmt: skip
    assert not any(normal in ("wow", "did", "yes", "hey") for _, normal, _, _ in found)


def test_what_lies_between_two_quoted_titles_is_no_title() -> None:
    table = leaves(("Ada", 'I read "X", and "The Hobbit" , and "Dune" last week.'))
    named = {m["normal"] for m in extract_group(table).mentions.to_pylist() if m["kind"] == "name"}
    assert {"hobbit", "dune"} <= named
    assert not any("," in n or n.startswith("and") for n in named)


def test_triples_join_entities_by_the_words_between_and_i_is_the_speaker() -> None:
    found = {(t["subject"], t["predicate"], t["object"]) for t in extract_group(leaves(*TALK)).triples.to_pylist()}
    assert found >= {
        ("ada", "joined", "pottery class"), ("ada", "like", "pottery class"), ("tom hardy", "made", "blue vase"),
        ("pottery class", "in", "leeds"), ("bea", "ran", "5 km"),
    }  # fmt: skip


def test_a_short_form_of_one_speakers_name_means_the_speaker() -> None:
    table = leaves(("Melanie", "I paint."), ("Caroline", "Lovely, Mel! Did Mel paint Oslo?"))
    assert ("talk/1", "melanie", 2) in {
        (m["unit_id"], m["normal"], m["count"]) for m in extract_group(table).mentions.to_pylist()
    }


def test_keywords_put_the_subject_first_and_leave_the_speakers_out() -> None:
    words = unit(extract_group(leaves(*TALK)), "keywords")["text"].split("; ")
    assert set(words[:3]) == {"pottery class", "blue vase", "Tom Hardy"}
    assert not {"Ada", "Bea"} & set(words)


def test_a_summary_quotes_its_central_sentences_in_order_and_skips_greetings() -> None:
    summary = unit(extract_group(leaves(*TALK)), "summary")
    assert summary["quotes"] and "Hey Bea" not in summary["text"]
    assert summary["text"].splitlines()[0] == "I joined a pottery class in Leeds last week."


def test_vectors_decide_which_sentences_are_central() -> None:
    table = leaves(
        *[
            ("Ada", f"The {thing} stands in the quiet garden of Tom.")
            for thing in ("violin", "trombone", "oboe", "banjo")
        ]
    )
    near = np.array([[1, 0, 0], [0.8, 0.6, 0], [0.8, -0.6, 0], [0, 0, 1]], dtype=np.float32)
    one = ExtractParams(summary_sentences=1)
    assert "violin" in unit(extract_group(table, near, one), "summary")["text"]
    assert "trombone" in unit(extract_group(table, near[[1, 0, 2, 3]], one), "summary")["text"]


def test_centrality_is_lexrank() -> None:
    near = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]], dtype=np.float32)
    middle, end = 0.05 + 0.85 * 2 * 0.2568, 0.2568
    np.testing.assert_allclose(centrality(near, 0.85), [end, middle, end], atol=1e-3)
    assert centrality(np.zeros((4, 4), dtype=np.float32), 0.85).tolist() == [0.25] * 4


def test_a_document_keeps_its_sentences_as_facts_at_their_place_in_the_source() -> None:
    sentences = ("Lisbon Tram Museum", "The museum was opened in 1999.", "It shows 20 trams.")
    source = " ".join(sentences)
    found = extract_group(leaves(*[(None, s) for s in sentences]))
    (fact,) = [u for u in found.units.to_pylist() if u["granularity"] == "fact"]
    (span,) = fact["source_spans"]
    assert source[span["start"] : span["end"]] == fact["text"] == "The museum was opened in 1999."
    assert fact["quotes"] and fact["event_time"].year == 1999
    assert ("lisbon tram museum", "organisation") in {(m["normal"], m["kind"]) for m in found.mentions.to_pylist()}


@pytest.mark.parametrize(
    ("surface", "normal"),
    [
        ("The Lion King", "lion king"), ("Ada's", "ada"), ("  “STRASSE” ", "strasse"), ("Straße", "strasse"), ("ｃａｆé", "café"),
        ("北京大学", "北京大学"), ("القاهرة", "القاهرة"), ("दिल्ली", "दिल्ली"), ("a.b@c.org", "a.b@c.org"), ("?!", ""),
        ("the", "the"),
    ],
)  # fmt: skip
def test_normal_forms_keep_the_letters_of_every_script(surface: str, normal: str) -> None:
    assert normal_form(surface) == normal == normal_form(normal)


def test_only_terms_lose_their_plural() -> None:
    assert normal_form("my short stories", term=True) == "short story"
    assert normal_form("The Beatles") == "beatles"


OTHER_LANGUAGES = [
    "Ich bin gestern mit meiner Freundin nach Berlin gefahren. Wir haben am 7. Mai 2023 das Museum besucht.",
    "我昨天去了北京大学。2023年5月7日我在北京大学学习了机器学习。", "東京でラーメンを食べました。ラーメンが好きです。",
    "ذهبت أمس إلى القاهرة مع صديقي أحمد. القاهرة مدينة كبيرة جدا.", "मैं कल दिल्ली गया था। दिल्ली बहुत बड़ी है।",
]  # fmt: skip


@pytest.mark.parametrize("text", OTHER_LANGUAGES)
def test_other_languages_give_a_summary_and_are_never_rewritten(text: str) -> None:
    found = extract_group(leaves(("Ada", text)))
    assert unit(found, "summary")["quotes"]
    assert all(u["quotes"] for u in found.units.to_pylist() if u["granularity"] == "fact")


def test_chinese_words_are_what_a_text_repeats() -> None:
    found = extract_group(leaves(("Ada", OTHER_LANGUAGES[1] + "机器学习很有意思！")))
    assert {m["normal"] for m in found.mentions.to_pylist() if m["kind"] != "term"} == {"ada", "2023-05-07"}
    assert unit(found, "keywords")["text"].split("; ") == ["北京大学", "机器学习"]


def assert_sound(table: pa.Table, found: Extraction) -> None:
    """What holds for any input: schemas, exact quotes, spans inside their texts, numbering, mentions behind every triple."""
    assert (found.units.schema, found.mentions.schema, found.triples.schema) == (UNITS, MENTIONS, TRIPLES)
    sources = {r["source_ref"]: r["text"] for r in table.to_pylist()}
    numbers: dict[tuple[str, str], int] = {}
    for u in found.units.to_pylist():
        assert u["text"].strip() and u["source_spans"]
        for span in u["source_spans"]:
            assert 0 <= span["start"] < span["end"] <= len(sources[span["ref"]])
        quoted = "\n".join(sources[s["ref"]][s["start"] : s["end"]] for s in u["source_spans"])
        assert u["quotes"] == (quoted == u["text"])
        key = (u["group_id"], u["granularity"])
        numbers[key] = numbers.get(key, 0) + 1
        assert u["number"] == numbers[key] and (u["granularity"] == "fact" or u["number"] == 1)
    mentioned = [(m["unit_id"], m["normal"]) for m in found.mentions.to_pylist()]
    assert len(mentioned) == len(set(mentioned))
    assert all(m["normal"] and m["surface"] and m["count"] > 0 for m in found.mentions.to_pylist())
    for t in found.triples.to_pylist():
        assert {(t["unit_id"], t["subject"]), (t["unit_id"], t["object"])} <= set(mentioned)
        assert t["predicate"] and t["subject"] != t["object"]


ODD = "aIé 日本語العربيةדג😊‍\u202e\x00\x0c.!?,'’\"[]();:-–@#$%57/\nमैंStTom "
TEXTS = st.one_of(
    st.text(max_size=80), st.text(alphabet=ODD, max_size=80), st.sampled_from([*FACTS, *NO_FACTS, *OTHER_LANGUAGES])
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["Ada", "Zoë", "user", "李", ""]), TEXTS), min_size=1, max_size=6))
def test_any_text_gives_sound_tables(said: list[tuple[str, str]]) -> None:
    table = leaves(*said)
    vectors = np.eye(len(said), 8, dtype=np.float32)
    assert_sound(table, extract_group(table))
    assert extract_group(table, vectors).units.equals(extract_group(table, vectors).units)


def test_the_order_of_groups_changes_nothing() -> None:
    one, two = leaves(*TALK, group="one"), leaves(*[(s, f) for s, f in zip("AB" * 9, FACTS, strict=False)], group="two")
    forth, back = extract(pa.concat_tables([one, two])), extract(pa.concat_tables([two, one]))
    for name in ("units", "mentions", "triples"):
        key = "group_id" if name == "units" else "unit_id"
        rows = [sorted(getattr(e, name).to_pylist(), key=lambda r: r[key].split("/")[0]) for e in (forth, back)]
        assert rows[0] == rows[1]


def test_no_leaves_give_empty_tables_and_lengths_must_agree() -> None:
    assert extract(LEAVES.empty_table()).units.num_rows == extract_group(LEAVES.empty_table()).units.num_rows == 0
    with pytest.raises(UsageError, match="3 vectors for 4 leaves"):
        extract(leaves(*TALK), np.zeros((3, 2), dtype=np.float32))
    with pytest.raises(UsageError, match="speaker"):
        extract_group(leaves(*TALK).drop_columns(["speaker"]))


@pytest.mark.parametrize("piece", ["May 7 ", "a.b@", "\n", "@x", "[ ", '"A', "www.", "1,", "I "])
def test_long_repetitive_texts_cost_linear_time(piece: str) -> None:
    began = process_time()
    extract_group(leaves(("Ada", piece * (60_000 // len(piece)))))
    assert process_time() - began < 5


def locomo_turns(path: Path) -> pa.Table:
    rows = []
    for n, conversation in enumerate(json.loads(path.read_text(encoding="utf-8"))):
        talk, number = conversation["conversation"], 1
        while turns := talk.get(f"session_{number}"):
            said = datetime.strptime(talk[f"session_{number}_date_time"], "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)
            for t in turns:
                caption = f" [{t['blip_caption']}]" if t.get("blip_caption") else ""
                ref = f"{n}/{t['dia_id']}"
                row = {
                    "unit_id": ref,
                    "namespace": str(n),
                    "group_id": f"{n}/{number}",
                    "granularity": "turn",
                    "role": None,
                }
                row |= {"speaker": t["speaker"], "text": f"{t['speaker']}: {t['text']}{caption}", "source_ref": ref}
                rows.append(row | {"start": 0, "event_time": said, "zone": None})
            number += 1
    return pa.Table.from_pylist(rows, schema=LEAVES)


@pytest.mark.skipif("ENGRAPH_TEST_DATA" not in os.environ, reason="ENGRAPH_TEST_DATA names no folder with locomo/")
def test_real_conversations_give_sound_tables() -> None:
    table = locomo_turns(Path(os.environ["ENGRAPH_TEST_DATA"]) / "locomo" / "locomo_dev.json")
    found = extract(table)
    assert_sound(table, found)
    per_turn = sum(g == "fact" for g in found.units["granularity"].to_pylist()) / table.num_rows
    print(f"{per_turn:.2f} facts/turn, {found.mentions.num_rows} mentions, {found.triples.num_rows} triples")
    assert 0.5 <= per_turn <= 1.5
