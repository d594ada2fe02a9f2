"""Facts: clauses worth remembering alone, made to stand alone.

The offline stand-in for the fact extraction of LongMemEval (arXiv 2410.10813) and Mem0 (arXiv 2504.19413), section 3.7 of the
design's algorithms: clauses in the first person and declarative ones, with something specific in them; greetings, questions,
requests and clauses that begin with an unresolved pronoun are none. `yesterday` keeps its words and gains its ISO date in
brackets. Linear in the tokens. The one thing to know: nothing is inferred; a fact says what one clause says, and its span is it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.extraction.dates import DateMention
from pipelines.extraction.params import ExtractParams
from pipelines.extraction.reading import Group, Leaf, Sentence, local_time
from pipelines.extraction.rewriting import FIRST_PERSON, SINGULAR, person, rewrite
from pipelines.extraction.words import VAGUE, Token, lemmas, past_only, rarity, word_set

_OPENERS = word_set(
    "so and but well also plus anyway actually honestly anyways though besides then or yet because basically frankly yeah yes no"
    " just"
)
_FILLERS = (
    ("by", "the", "way"),
    ("you", "know"),
    ("i", "mean"),
    ("of", "course"),
    ("in", "fact"),
    ("to", "be", "honest"),
)
_WITH_SUBJECT_LATER = word_set("when after before since while if although though once whenever as because")
_PREFERENCES = word_set(
    "like love prefer hate enjoy want need plan hope buy move start join win lose adopt marry visit work study live learn make"
    " paint play write read cook bake teach graduate volunteer sign finish decide become grow open sell build create get dream"
)
_SPLITTERS = frozenset([";", "-", "–", "—"])
_MIN_WORDS = 4
_PLATITUDE = 0.7
_TRUST = 0.9
_TRUST_ASSISTANT = 0.7


@dataclass(frozen=True)
class Fact:
    """A clause of leaf number `leaf`: characters [start, end) of its text, as rewritten, and when it happened."""

    leaf: int
    start: int
    end: int
    text: str
    score: float
    event_time: datetime | None
    trust: float


def find_facts(group: Group, params: ExtractParams) -> list[Fact]:
    """The best `max_facts_per_leaf` facts of each leaf, in order of place."""
    found: list[Fact] = []
    for leaf in group.leaves:
        facts = [f for s in leaf.sentences if not s.caption for f in _of_sentence(leaf, s, group.language)]
        facts = [f for f in facts if f.score >= params.min_fact_score]
        facts.sort(key=lambda f: (-f.score, f.start))
        found += sorted(facts[: params.max_facts_per_leaf], key=lambda f: f.start)
    return found


def _of_sentence(leaf: Leaf, sentence: Sentence, language: str) -> list[Fact]:
    if any(t.text in "?？؟" for t in sentence.tokens):
        return []
    if language != "en":
        return _quoted(leaf, sentence)
    facts = []
    for clause in _clauses(leaf.text, sentence.tokens):
        clause = _without_frame(clause)
        if _is_fact(leaf, clause):
            facts.append(_fact(leaf, sentence, clause))
    return facts


def _quoted(leaf: Leaf, sentence: Sentence) -> list[Fact]:
    """Outside English a fact is a whole sentence with a date or a number, as it stands."""
    specific = bool(sentence.dates) or any(t.tag == "M" for t in sentence.tokens)
    if not specific or sum(t.tag != "." for t in sentence.tokens) < _MIN_WORDS:
        return []
    text = leaf.text[sentence.start : sentence.end]
    score = _score(sentence.tokens, sentence.dates, first_person=False)
    return [Fact(sentence.leaf, sentence.start, sentence.end, text, score, _when(leaf, sentence.dates), _trust(leaf))]


def _clauses(text: str, tokens: Sequence[Token]) -> list[Sequence[Token]]:
    """The sentence cut at semicolons, spaced dashes and before `, and I`."""
    cuts = [0]
    for i in range(1, len(tokens) - 1):
        token = tokens[i]
        spaced = token.text == ";" or (text[token.start - 1].isspace() and text[token.end : token.end + 1].isspace())
        joined = token.text == "," and tokens[i + 1].lower in ("and", "but", "so") and i + 2 < len(tokens)
        if (token.text in _SPLITTERS and spaced) or (joined and person(tokens[i + 2])):
            cuts.append(i)
    pieces = [tokens[a:b] for a, b in zip(cuts, [*cuts[1:], len(tokens)], strict=True)]
    return [p[1:] if n else p for n, p in enumerate(pieces)]


def _without_frame(clause: Sequence[Token]) -> Sequence[Token]:
    """Without leading interjections, connectives and vocatives, and without a vocative at the end."""
    at = 0
    if clause and clause[0].lower in ("thanks", "thank"):
        at = next((i for i, t in enumerate(clause) if t.text in ",-–!"), len(clause))
    while at < len(clause):
        token, after = clause[at], clause[at + 1].text if at + 1 < len(clause) else ""
        filler = next((f for f in _FILLERS if tuple(t.lower for t in clause[at : at + len(f)]) == f), None)
        opener = token.lower in _OPENERS and not (token.lower == "just" and after != ",")
        if filler:
            at += len(filler)
        elif (
            (token.tag in "U." and token.text not in "\"“‘'«([$€£#@")
            or opener
            or (token.tag == "E" and after in (",", "!"))
        ):
            at += 1
        else:
            break
    clause = clause[at + _since_we_met(clause[at:]) :]
    marks = 0
    while marks < len(clause) and clause[-1 - marks].tag == ".":
        marks += 1
    words = clause[: len(clause) - marks]
    if len(words) > 2 and words[-1].tag == "E" and words[-2].text == ",":
        return words[:-2]
    return words if any(t.text not in ".!…\"”')" for t in clause[len(words) :]) else clause


def _since_we_met(clause: Sequence[Token]) -> int:
    """Length of an opening `Since we last spoke, `: it dates nothing."""
    lowers = [t.lower for t in clause[:8]]
    return lowers.index(",") + 1 if lowers[:3] == ["since", "we", "last"] and "," in lowers else 0


def _is_fact(leaf: Leaf, clause: Sequence[Token]) -> bool:
    words = [t for t in clause if t.tag != "."]
    if len(words) < _MIN_WORDS or not any(_carries_verb(t) for t in words):
        return False
    mine = [p for t in clause if (p := person(t))]
    if leaf.assistant and mine:
        return False
    return _subject_stands(leaf, words) and any(_says_something(t) for t in words)


def _carries_verb(token: Token) -> bool:
    return token.tag in "VX" or (token.tag == "P" and "'" in token.lower)


def _says_something(token: Token) -> bool:
    if token.tag in "EM":
        return True
    return token.tag in "NV" and token.lower not in VAGUE and rarity(token.lower) >= 0.2


def _subject_stands(leaf: Leaf, words: Sequence[Token]) -> bool:
    """Whether the clause begins with something that can be understood without what came before."""
    first, second = words[0], words[1]
    if person(first):
        return leaf.name is None or person(first) in SINGULAR | {"we", "our"}
    if _leaves_out_subject(words):
        return leaf.name is not None and not leaf.assistant
    if first.lower in _WITH_SUBJECT_LATER:
        return any(person(t) for t in words[1:4])
    if first.tag in "PWXUTC" or first.lower in (
        "there",
        "here",
        "this",
        "that",
        "these",
        "those",
        "such",
        "not",
        "your",
        "like",
        "as",
    ):
        return False
    if first.lower in ("his", "her", "their", "its", "same", "another"):
        return False
    if _is_bare_verb(first) and (first.tag == "V" or second.tag in "DPTIAR" or second.lower.endswith(("ed", "ing"))):
        return False
    if first.tag == "A" and second.tag in "PT":
        return False  # "Glad you liked it"
    if first.tag == "V" and not first.lower.endswith("ing"):
        return any(person(t) == "i" for t in words)  # "Inspired by the race, I joined a club"
    return first.tag in "DNEAMI" or (first.tag == "V" and first.lower.endswith("ing"))


def _is_bare_verb(token: Token) -> bool:
    return token.lower in lemmas(token.lower).get("VERB", ())


def _leaves_out_subject(words: Sequence[Token]) -> bool:
    """`Went to the zoo`, `Finished my book`, `Gonna paint`: a past tense without its `I`; not `Inspired by you, ...`."""
    first, second = words[0], words[1]
    if first.lower == "gonna":
        return True
    known = lemmas(first.lower)
    if set(known) != {"VERB"} or first.lower in known["VERB"] or first.lower.endswith(("ing", "s")):
        return False
    return second.tag in "DNEM" or past_only(first.lower)


def _fact(leaf: Leaf, sentence: Sentence, clause: Sequence[Token]) -> Fact:
    start, end = clause[0].start, clause[-1].end
    dates = [d for d in sentence.dates if start <= d.start and d.end <= end]
    notes = {d.end: d.iso(" to ") for d in dates if d.relative}
    mine = any(person(t) for t in clause)
    elliptic = leaf.name is not None and _leaves_out_subject(clause)
    name = leaf.name if mine or elliptic else None
    text = rewrite(leaf.text, clause, name, notes, elliptic=elliptic)
    score = _score(clause, dates, first_person=mine or elliptic)
    return Fact(sentence.leaf, start, end, text, score, _when(leaf, dates), _trust(leaf))


def _score(clause: Sequence[Token], dates: Sequence[DateMention], *, first_person: bool) -> float:
    """How much a clause says: its five rarest content words, plus dates, numbers and a verb of doing or liking."""
    content = {t.lower.partition("'")[0] for t in clause if t.tag in "NVAE"} - VAGUE - FIRST_PERSON
    score = sum(sorted((rarity(w) for w in content), reverse=True)[:5])
    score += 0.6 * min(2, len(dates)) + 0.3 * any(t.tag == "M" for t in clause)
    if first_person:
        verbs = {v for t in clause if t.tag == "V" for v in lemmas(t.lower).get("VERB", ())}
        score += 0.3 + 0.4 * (not verbs.isdisjoint(_PREFERENCES))
    elif not dates and not any(t.tag in "EM" for t in clause):
        score -= _PLATITUDE  # "Art brings joy" is about nobody
    addressed = any(t.lower.partition("'")[0] in ("you", "your", "yours") for t in clause)
    return score * 0.5 if addressed else score


def _when(leaf: Leaf, dates: Sequence[DateMention]) -> datetime | None:
    """Midnight UTC of the one past or explicit date that is given; else when it was said."""
    if len(dates) != 1 or leaf.event_time is None:
        return leaf.event_time
    said = local_time(leaf.event_time, leaf.zone).date()
    day = dates[0].first
    if dates[0].relative and day > said:
        return leaf.event_time
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _trust(leaf: Leaf) -> float:
    return _TRUST_ASSISTANT if leaf.assistant else _TRUST
