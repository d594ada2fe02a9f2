"""Labelled sets on tiny files written here, and, where the test data is at hand, on the real ones."""

import json
import os
from pathlib import Path

import pytest

from pipelines.evaluation import load_questions, load_unanswerable
from pipelines.evaluation.loaders import dialogue_ids
from schemas.errors import UsageError


def written(folder, content, name="set.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def test_data():
    folder = os.environ.get("ENGRAPH_TEST_DATA")
    if not folder:
        pytest.skip("ENGRAPH_TEST_DATA names no folder with real labelled sets")
    return Path(folder)


def locomo_sample(*qa):
    turns = {n: [{"speaker": "A", "dia_id": f"D{n}:{i}", "text": "hi"} for i in (1, 2, 3)] for n in (1, 2, 12)}
    conversation = {"speaker_a": "A", "speaker_b": "B"}
    for n, said in turns.items():
        conversation |= {f"session_{n}": said, f"session_{n}_date_time": "1:56 pm on 8 May, 2023"}
    return [{"sample_id": "c-1", "conversation": conversation, "qa": list(qa)}]


def qa(evidence, category=4):
    return {"question": "Who?", "answer": "A", "evidence": evidence, "category": category}


@pytest.mark.parametrize(
    ("evidence", "ids"),
    [
        (["D3:12"], ["D3:12"]),
        (["D8:6; D9:17"], ["D8:6", "D9:17"]),
        (["D9:1 D4:4 D9:1", "D4:4"], ["D9:1", "D4:4"]),
        (["D:11:26"], ["D11:26"]),
        (["D30:05"], ["D30:5"]),
        (["D", "", "none"], []),
        ("D1:1, D2:3", ["D1:1", "D2:3"]),
        (None, []),
        ([None, 3], []),
    ],
)
def test_dialogue_ids_are_found_in_untidy_evidence(evidence, ids):
    assert dialogue_ids(evidence) == ids


def test_locomo_evidence_becomes_qualified_turns_and_sessions(tmp_path):
    path = written(tmp_path, locomo_sample(qa(["D12:3", "D1:2; D12:1"], category=1)))
    (question,) = load_questions("locomo", [path])
    assert question.query_id == "c-1/q1" and question.namespace == "c-1" and question.category == "multi-hop"
    assert question.gold_refs == ("c-1/D12:3", "c-1/D1:2", "c-1/D12:1")
    assert question.gold_sessions == ("c-1/session_12", "c-1/session_1")


def test_locomo_keeps_only_evidence_that_exists_and_leaves_out_questions_without_any(tmp_path):
    path = written(tmp_path, locomo_sample(qa(["D1:99"]), qa(["D2:1", "D7:1", "D"]), qa([]), qa(["D1:1"], 2)))
    questions = load_questions("locomo", [path])
    assert [(q.query_id, q.gold_refs, q.category) for q in questions] == [
        ("c-1/q2", ("c-1/D2:1",), "single-hop"),
        ("c-1/q4", ("c-1/D1:1",), "temporal"),
    ]


def test_adversarial_questions_come_only_when_they_are_named(tmp_path):
    path = written(tmp_path, locomo_sample(qa(["D1:1"], 5), qa(["D1:1"], 3)))
    assert [q.category for q in load_questions("locomo", [path])] == ["open-domain"]
    assert [q.category for q in load_questions("locomo", [path], categories=["adversarial"])] == ["adversarial"]


def longmemeval_record(question_id="0a1b", **changes):
    record = {
        "question_id": question_id,
        "question_type": "multi-session",
        "question": "How many?",
        "question_date": "2023/05/30 (Tue) 23:40",
        "answer_session_ids": ["answer_77_1", "answer_77_2", "answer_lost"],
        "haystack_session_ids": ["x1", "answer_77_1", "answer_77_2"],
        "haystack_sessions": [
            [{"role": "user", "content": "a"}],
            [
                {"role": "user", "content": "a", "has_answer": False},
                {"role": "assistant", "content": "b", "has_answer": True},
                {"role": "user", "content": "c", "has_answer": True},
            ],
            [{"role": "assistant", "content": "d", "has_answer": True}],
        ],
    }
    return record | changes


def test_longmemeval_gold_is_stripped_of_the_word_that_gives_it_away(tmp_path):
    (question,) = load_questions("longmemeval", [written(tmp_path, [longmemeval_record()])])
    assert question.namespace == question.query_id == "0a1b" and question.category == "multi-session"
    assert question.gold_sessions == ("0a1b/77_1", "0a1b/77_2")
    assert question.gold_refs == ("0a1b/77_1_3",)
    assert question.asked_at == "2023-05-30T23:40"


def test_longmemeval_abstentions_are_skipped(tmp_path):
    path = written(tmp_path, [longmemeval_record("0a1b_abs"), longmemeval_record("2c")])
    assert [q.query_id for q in load_questions("longmemeval", [path])] == ["2c"]


def test_musique_gold_is_the_text_of_the_supporting_passages(tmp_path):
    paragraphs = [
        {"idx": i, "title": f"T{i}", "paragraph_text": f"text {i}", "is_supporting": i in (1, 3)} for i in range(5)
    ]
    record = {"id": "2hop__1_2", "question": "Who?", "paragraphs": paragraphs}
    lines = json.dumps(record) + "\n" + json.dumps(record | {"id": "3hop1__1_2"}) + "\n"
    for path in (written(tmp_path, [record]), written(tmp_path, lines, "set.jsonl")):
        question = load_questions("multihop", [path])[0]
        assert question.gold_texts == ("text 1", "text 3") and question.gold_refs == ()
        assert question.category == "2hop" and question.granularity == "passage" and question.namespace is None
    assert len(load_questions("multihop", [tmp_path / "set.jsonl"])) == 2


def test_hotpotqa_gold_is_the_paragraphs_of_the_supporting_facts_in_both_layouts(tmp_path):
    context = [["A", ["One. ", "Two."]], ["B", ["Three."]], ["C", ["Four."]]]
    pairs = {"_id": "5a", "question": "Who?", "type": "bridge", "context": context}
    pairs["supporting_facts"] = [["C", 0], ["A", 1], ["A", 0]]
    columns = {"id": "5b", "question": "Who?", "supporting_facts": {"title": ["C", "A"], "sent_id": [0, 1]}}
    columns["context"] = {"title": ["A", "B", "C"], "sentences": [sentences for _, sentences in context]}
    first, second = load_questions("multihop", [written(tmp_path, [pairs, columns])])
    assert first.gold_texts == second.gold_texts == ("One. Two.", "Four.")
    assert first.category == "bridge" and first.query_id == "5a"


def test_jsonl_lines_carry_their_fields_and_sensible_defaults(tmp_path):
    full = {"query_id": "a", "text": "Who?", "namespace": "n", "refs": ["n/1", "n/1", "n/2"], "sessions": ["n/s"]}
    full |= {"category": "c", "asked_at": "2031-05-01", "granularity": "turn", "k": 3}
    golden = {"query": "What?", "refs": ["guide.md"]}
    path = written(tmp_path, f"{json.dumps(full)}\n\n{json.dumps(golden)}\n", "gold.jsonl")
    first, second = load_questions("jsonl", [path])
    assert first.gold_refs == ("n/1", "n/2") and first.gold_sessions == ("n/s",)
    assert (first.asked_at, first.granularity, first.k, first.category) == ("2031-05-01", "turn", 3, "c")
    assert (second.query_id, second.text, second.namespace) == ("gold.jsonl:3", "What?", None)
    assert second.category == "all" and second.gold_sessions == ()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{not json", "is not JSON"),
        ("[]", "not a JSON object"),
        ('{"text": "?"}', r"lacks refs \(list\)"),
        ('{"text": "?", "refs": []}', "nothing can be found"),
        ('{"text": "?", "refs": [3]}', "list of strings"),
        ('{"text": " ", "refs": ["a"]}', "text must be the question"),
        ('{"text": "?", "refs": ["a"], "namespce": "n"}', "unknown fields"),
    ],
)
def test_a_bad_jsonl_line_is_named_by_file_and_line(tmp_path, line, says):
    path = written(tmp_path, '{"text": "?", "refs": ["a"]}\n' + line, "gold.jsonl")
    with pytest.raises(UsageError, match=rf"gold\.jsonl:2.*{says}"):
        load_questions("jsonl", [path])


@pytest.mark.parametrize("dataset", ["locomo", "longmemeval", "multihop"])
@pytest.mark.parametrize("content", [[{"question": "?"}], [3], "plain words", {"a": 1}])
def test_a_file_of_another_form_is_refused_by_name(tmp_path, dataset, content):
    with pytest.raises(UsageError, match=r"set\.json"):
        load_questions(dataset, [written(tmp_path, content)])


def test_a_missing_file_an_unknown_set_and_an_empty_one_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        load_questions("jsonl", [tmp_path / "none.jsonl"])
    with pytest.raises(UsageError, match="use one of locomo"):
        load_questions("trivia", [])
    with pytest.raises(UsageError, match="no locomo question with evidence"):
        load_questions("locomo", [written(tmp_path, locomo_sample(qa(["D1:1"], 5)))])


def test_a_query_id_that_comes_twice_is_refused_across_files(tmp_path):
    line = '{"query_id": "a", "text": "?", "refs": ["r"]}'
    paths = [written(tmp_path, line, name) for name in ("one.jsonl", "two.jsonl")]
    with pytest.raises(UsageError, match="'a' comes twice"):
        load_questions("jsonl", paths)


def test_the_real_locomo_file_gives_every_answerable_question_with_evidence(test_data):
    questions = load_questions("locomo", [test_data / "locomo" / "locomo_dev.json"])
    # 762 questions in the four categories, two of them (conv-26, open-domain) with no evidence at all.
    assert len(questions) == 760
    slipped = [q for q in questions if "conv-43/D11:26" in q.gold_refs]
    double = [q for q in questions if {"conv-26/D8:6", "conv-26/D9:17"} <= set(q.gold_refs)]
    assert slipped and double
    assert all(q.gold_refs and q.gold_sessions for q in questions)


def test_the_real_musique_file_gives_100_questions_whose_passages_are_in_its_corpus(test_data):
    questions = load_questions("multihop", [test_data / "musique" / "musique_train.json"])
    corpus = json.loads((test_data / "musique" / "musique_train_corpus.json").read_text(encoding="utf-8"))
    texts = {passage["text"] for passage in corpus}
    assert len(questions) == 100
    assert all(set(q.gold_texts) <= texts and len(q.gold_texts) >= 2 for q in questions)


def test_what_memory_cannot_answer_is_loaded_apart(tmp_path):
    locomo = written(tmp_path, locomo_sample(qa(["D1:1"], category=5), qa(["D1:2"])), "locomo.json")
    assert [q.query_id for q in load_unanswerable("locomo", [locomo])] == ["c-1/q1"]
    records = [longmemeval_record(), longmemeval_record("0a1c_abs")]
    longmemeval = written(tmp_path, records, "longmemeval.json")
    (abstention,) = load_unanswerable("longmemeval", [longmemeval])
    assert abstention.query_id == abstention.namespace == "0a1c_abs"
    assert load_unanswerable("jsonl", [tmp_path / "any"]) == []
