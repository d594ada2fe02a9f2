"""Extractions that others made, laid onto the leaves of their sessions and documents: units, mentions and triples like the
rules' own.

A summary, keywords or a note rest on a whole session or document (or on the turns that it cites); a fact rests on the turns that
it cites, in a document on the characters given or else on the sentence that shares most of its rarer words. A triple becomes a
fact with its three parts as text, on the sentence that names both ends; its ends and given entities become mentions there. Facts
in words are read by the rules once more, and what they name is a mention of the turn they rest on: there "he" and "my sister"
have names.

What was given for a session stands in place of the rules' own summary, keywords and triples of it; facts stand beside the rules',
which cover turns that others passed over. Pure and deterministic; cost is that of finding words in the sentences of one document.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from pipelines.extraction.extract import extract_group
from pipelines.extraction.normal import normal_form
from pipelines.extraction.params import ExtractParams
from pipelines.extraction.words import rarity
from schemas.ids import derived_id

GIVEN = "given@1"
REPLACED = ("summary", "keywords", "triple")
"""Of these a session or document keeps only what was given, where something was."""
_WORD = re.compile(r"\w+")
_YEAR = re.compile(r"1\d\d\d|20\d\d")
_NUMBER = re.compile(r"\W*\d[\d,.\s]*\W*")


@dataclass
class GivenExtraction:
    """Rows of drafts, mentions and triples (entities by normal form), and what of the rules' they replace:

    (group, granularity).
    """

    units: list[dict] = field(default_factory=list)
    mentions: list[dict] = field(default_factory=list)
    triples: list[dict] = field(default_factory=list)
    replaced: set[tuple[str, str]] = field(default_factory=set)


def extract_given(leaves: pa.Table, given: pa.Table, rules: ExtractParams | None = None) -> GivenExtraction:
    """Lay `given` (rows of given_extractions) onto `leaves` (as `extract` takes them), group by group."""
    found = GivenExtraction()
    if not given.num_rows:
        return found
    rows: dict[str, list[dict]] = defaultdict(list)
    for row in given.sort_by("extraction_id").to_pylist():
        rows[row["group_id"]].append(row)
    by_group: dict[str, list[dict]] = defaultdict(list)
    for leaf in leaves.to_pylist():
        if leaf["group_id"] in rows:
            by_group[leaf["group_id"]].append(leaf)
    for group, group_leaves in by_group.items():
        _Group(group, group_leaves, found).lay(rows[group], rules)
    return found


class _Group:
    """One session or document with its leaves in order."""

    def __init__(self, group: str, leaves: list[dict], found: GivenExtraction) -> None:
        self.id, self.leaves, self.found = group, leaves, found
        self.words = [Counter(_WORD.findall(leaf["text"].casefold())) for leaf in leaves]
        self.texts = [leaf["text"].casefold() for leaf in leaves]
        self.mentioned: dict[tuple[str, str], dict] = {}
        self.count: Counter[str] = Counter()

    def lay(self, rows: Sequence[dict], rules: ExtractParams | None) -> None:
        worded = []
        for row in rows:
            kind = row["granularity"]
            places = self._places(row)
            if kind == "entity":
                for place in places:
                    self._mention(place, row["text"], self.texts[place].count(row["text"].casefold()) or 1)
                continue
            unit = self._unit(row, places)
            self.found.units.append(unit)
            if kind in REPLACED:
                self.found.replaced.add((self.id, kind))
            if row["subject"]:
                self._triple(row, unit, places[-1])
            elif kind == "fact" and row["refs"]:
                worded.append((row, places[-1]))
        self._read(worded, rules)
        self.found.mentions += self.mentioned.values()

    def _places(self, row: dict) -> list[int]:
        """The leaves that a row rests on, in order."""
        cited = [i for i, leaf in enumerate(self.leaves) if leaf["source_ref"] in row["refs"]]
        cited = cited or list(range(len(self.leaves)))
        if self.leaves[0]["granularity"] == "turn" or row["granularity"] in ("summary", "keywords", "note"):
            return cited
        if row["start"] is not None:
            inside = [i for i in cited if self._end(i) > row["start"] and self.leaves[i]["start"] < row["end"]]
            return inside or cited
        if row["granularity"] == "entity":
            return [i for i in cited if row["text"].casefold() in self.texts[i]] or cited[:1]
        return [self._nearest(row, cited)]

    def _end(self, i: int) -> int:
        return self.leaves[i]["start"] + len(self.leaves[i]["text"])

    def _nearest(self, row: dict, cited: list[int]) -> int:
        """The sentence with most of a fact's ends, then with most of its rarer words; the earlier one of equals."""
        ends = [end.casefold() for end in (row["subject"], row["object"]) if end]
        words = {w: rarity(w) for w in set(_WORD.findall(row["text"].casefold()))}

        def likeness(i: int) -> tuple[int, float, int]:
            return (
                sum(end in self.texts[i] for end in ends),
                sum(weight for word, weight in words.items() if word in self.words[i]),
                -i,
            )

        return max(cited, key=likeness)

    def _unit(self, row: dict, places: list[int]) -> dict:
        kind = "fact" if row["granularity"] == "triple" else row["granularity"]
        whole = kind != "fact" or len(places) == len(self.leaves)
        first = self.leaves[places[0]]
        parent = self.id if whole else self.leaves[places[-1]]["unit_id"]
        self.count[kind] += 1
        plain = kind in ("summary", "keywords") and self.count[kind] == 1
        return {
            "unit_id": derived_id(parent, kind) if plain else f"{parent}#{kind}-given-{row['extraction_id'][:8]}",
            "group_id": self.id,
            "parent_id": parent,
            "granularity": kind,
            "text": row["text"],
            "source_spans": self._spans(row, places),
            "quotes": False,
            "event_time": row["event_time"] or first["event_time"],
            "zone": row["zone"] if row["event_time"] else first["zone"],
            "time_source": "text" if row["event_time"] else first["time_source"],
            "trust": row["trust"],
            "extractor": row["extractor"],
        }

    def _spans(self, row: dict, places: list[int]) -> list[dict]:
        """Each turn whole; in a document the characters given, or from the first sentence to the last."""
        if self.leaves[0]["granularity"] == "turn":
            cited = (self.leaves[i] for i in places)
            return [{"ref": leaf["source_ref"], "start": 0, "end": len(leaf["text"])} for leaf in cited]
        start, end = self.leaves[places[0]]["start"], self._end(places[-1])
        if row["start"] is not None:
            start, end = row["start"], row["end"]
        return [{"ref": self.leaves[places[0]]["source_ref"], "start": start, "end": end}]

    def _triple(self, row: dict, unit: dict, place: int) -> None:
        ends = [self._mention(place, row[part], 1) for part in ("subject", "object")]
        if all(ends):
            self.found.triples.append(
                {
                    "triple_id": f"{unit['unit_id']}#triple",
                    "unit_id": self.leaves[place]["unit_id"],
                    "subject": ends[0],
                    "predicate": row["predicate"],
                    "object": ends[1],
                    "event_time": unit["event_time"],
                    "extractor": row["extractor"],
                }
            )

    def _mention(self, place: int, surface: str, count: int) -> str:
        """A mention of one leaf by its normal form, which may be empty: then it names nothing."""
        named = any(c.isupper() or c.isdigit() for c in surface)
        normal = normal_form(surface, term=not named)
        if normal:
            self._add(self.leaves[place]["unit_id"], surface, normal, _kind(surface, named), count)
        return normal

    def _add(self, unit_id: str, surface: str, normal: str, kind: str, count: int) -> None:
        row = {"unit_id": unit_id, "surface": surface, "normal": normal, "kind": kind, "count": 0}
        self.mentioned.setdefault((unit_id, normal), row)["count"] += count

    def _read(self, facts: list[tuple[dict, int]], rules: ExtractParams | None) -> None:
        """What the rules find in facts that came in words: mentions and triples of the turns they rest on."""
        if not facts:
            return
        found = extract_group(self._as_leaves(facts), None, rules)
        said = {row["extraction_id"]: (row, place) for row, place in facts}
        for mention in found.mentions.to_pylist():
            _, place = said[mention["unit_id"]]
            unit_id = self.leaves[place]["unit_id"]
            self._add(unit_id, mention["surface"], mention["normal"], mention["kind"], mention["count"])
        for triple in found.triples.to_pylist():
            row, place = said[triple["unit_id"]]
            own = {
                "triple_id": f"{self.leaves[place]['unit_id']}#fact-given-{row['extraction_id'][:8]}#triple-{triple['number']}",
                "unit_id": self.leaves[place]["unit_id"],
                "extractor": row["extractor"],
            }
            self.found.triples.append({k: v for k, v in triple.items() if k != "number"} | own)

    def _as_leaves(self, facts: list[tuple[dict, int]]) -> pa.Table:
        rows = []
        for row, place in facts:
            own = {"unit_id": row["extraction_id"], "text": row["text"], "speaker": None, "role": None}
            rows.append(self.leaves[place] | own)
        schema = {name: pa.string() for name in rows[0]} | {
            "start": pa.int32(),
            "event_time": pa.timestamp("us", "UTC"),
        }
        return pa.Table.from_pylist(rows, schema=pa.schema(list(schema.items())))


def _kind(surface: str, named: bool) -> str:
    if _YEAR.fullmatch(surface):
        return "date"
    if _NUMBER.fullmatch(surface):
        return "quantity"
    return "name" if named else "term"


def without_replaced(rows: Sequence[dict], found: GivenExtraction) -> Iterator[dict]:
    """The rules' units but those that something given stands in place of."""
    return (row for row in rows if (row["group_id"], row["granularity"]) not in found.replaced)
