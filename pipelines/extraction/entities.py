"""Entities of a group's sentences by span rules: names, people, places, dates, quantities, titles, addresses and noun phrases.

The offline stand-in for HippoRAG's NER call (arXiv 2405.14831), section 2.6 of the design's algorithms: capitalised spans,
quoted titles, dates, numbers with units, addresses, and noun phrases that a group repeats. Rules claim tokens in that order, so
no token belongs to two entities. Cost is linear in the tokens. The one thing to know: a capital at the start of a sentence
proves nothing, so a lone first word is a name only if the lexicon has no such word or the group capitalises it elsewhere too.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace

from pipelines.extraction.normal import normal_form
from pipelines.extraction.params import ExtractParams
from pipelines.extraction.reading import Group, Sentence
from pipelines.extraction.unspaced import is_han
from pipelines.extraction.words import VAGUE, Token, closed_class, lemmas, rarity, word_set

_ADDRESS = re.compile(
    r"https?://[^\s<>\"']+[\w/]|www\.[^\s<>\"']+[\w/]|(?<![\w.+\-])[\w.+\-]{1,64}@[\w\-]{1,63}(?:\.[\w\-]{1,63}){1,8}|(?<!\w)[@#]\w{2,}"
)
# A title touches its quotation marks: what lies between the end of one and the beginning of the next does not.
_QUOTED = re.compile(r"[\"“”]([^\"“”\s][^\"“”\n]{0,58}[^\"“”\s])[\"“”]|[«「『《]([^»」』》\n]{2,60})[»」』》]")
_UNIT = (
    "%|percent|per cent"
    "|km|kilomet(?:er|re)s?|miles?|met(?:er|re)s?|cm|mm|feet|foot|inch(?:es)?|yards?|acres?|kg|kilos?|grams?|kilograms?"
    "|lbs?|pounds?|tons?|ounces?|lit(?:er|re)s?|gallons?|cups?|hours?|hrs?|minutes?|mins?|seconds?|days?|weeks?|months?|years?"
    "|dollars?|bucks|euros?|cents?|yen|degrees?|°[CF]?|mph|gb|mb|tb|calories|pages?|people|points?"
)
_WORD_NUMBER = "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty"
_MONEY = re.compile(r"([$€£¥₹])\s?(\d[\d,]*(?:\.\d+)?)(?:\s?(k|m|bn|thousand|million|billion)\b)?", re.IGNORECASE)
_QUANTITY = re.compile(rf"(?<![\w.,])(\d[\d,]*(?:\.\d+)?|{_WORD_NUMBER})[\s\-]?({_UNIT})(?!\w)", re.IGNORECASE)
_INITIALS = re.compile(r"(?:[A-Z]\.)*[A-Z]")
_CURRENCY = {"$": "usd", "€": "eur", "£": "gbp", "¥": "jpy", "₹": "inr"}
_SCALE = {"k": 1e3, "thousand": 1e3, "m": 1e6, "million": 1e6, "bn": 1e9, "billion": 1e9}
_NUMBER = {w: str(n) for n, w in enumerate(_WORD_NUMBER.split("|")[:11], 2)} | {
    w: str(n * 10) for n, w in enumerate(_WORD_NUMBER.split("|")[11:], 2)
}
_JOINERS = word_set("of the de la le van von der den del da di bin al &")
_KIN = word_set("mom mum mommy dad daddy grandma grandpa granny mama papa auntie uncle sir madam god i")
_CALENDAR = word_set(
    "monday tuesday wednesday thursday friday saturday sunday january february march april may june july august september october"
    " november december mon tue wed thu fri sat sun jan feb mar apr jun jul aug sep sept oct nov dec"
)
_PLACE = word_set(
    "city park street avenue road beach lake mountain mountains island islands river valley square bridge bay "
    "coast falls canyon forest desert county airport station castle village town hill hills harbor harbour"
)
_ORGANISATION = word_set(
    "inc ltd llc corp company university college school museum bank club foundation institute hospital clinic "
    "agency association society church council committee team party department ministry gallery library "
    "theatre theater records studio studios"
)
_TITLED = word_set("mr mrs ms dr prof professor sir aunt uncle president king queen")
_RELATIVES = word_set(
    "friend friends husband wife partner brother sister son daughter boss colleague neighbor neighbour cousin "
    "mother father mom dad girlfriend boyfriend hey hi hello thanks dear"
)
_SAYING = word_set("said says told tells asked thinks thought went loves likes wants knows lives works married")
_EVALUATIVE = word_set(
    "great good new nice amazing awesome wonderful big little small best better important special happy old "
    "young different whole real lovely beautiful incredible fantastic cool perfect huge long short bad hard "
    "easy sure able right ready proud glad similar certain possible favorite favourite own last next first "
    "entire fun super tough main recent past more most latest full strong key many much other such same few "
    "several various next-level excited exciting inspiring powerful interesting rewarding thankful grateful"
)


@dataclass(frozen=True, slots=True)
class Entity:
    """A mention: `surface` at [start, end) of the leaf's text, tokens [first, last) of its sentence, its normal form and kind."""

    start: int
    end: int
    first: int
    last: int
    surface: str
    normal: str
    kind: str


def find_entities(group: Group, params: ExtractParams) -> list[list[Entity]]:
    """Entities of every sentence of `group.sentences()`, in order of place.

    None overlap but a name and the noun phrase that it begins. Noun phrases are all kept here with kind "term";
    `recurring` drops those that too few leaves contain.
    """
    sentences = group.sentences()
    people = _people(group)
    capitalised = _capitalised_inside(sentences)
    found = [_in_sentence(group, s, capitalised) for s in sentences]
    kinds = _kinds(sentences, found, people)
    return [[_settled(e, kinds, people) for e in entities] for entities in found]


def recurring(group: Group, entities: Sequence[Sequence[Entity]], params: ExtractParams) -> list[list[Entity]]:
    """Without the noun phrases that fewer leaves contain than `params` asks for."""
    leaves: dict[str, set[int]] = defaultdict(set)
    for sentence, found in zip(group.sentences(), entities, strict=True):
        for e in found:
            leaves[e.normal].add(sentence.leaf)

    def stays(e: Entity) -> bool:
        if e.kind != "term":
            return True
        single = e.last - e.first == 1
        return len(leaves[e.normal]) >= (params.min_term_leaves if single else params.min_phrase_leaves)

    return [[e for e in found if stays(e)] for found in entities]


def _people(group: Group) -> dict[str, str]:
    """Normal forms that mean a speaker: the name itself, its first word, and short forms that fit one speaker only."""
    speakers = sorted({leaf.named_speaker for leaf in group.leaves if leaf.named_speaker})
    full = {normal_form(s): normal_form(s) for s in speakers}
    firsts = Counter(n.split()[0] for n in full if n)
    return {n.split()[0]: n for n in full if n and firsts[n.split()[0]] == 1} | {n: n for n in full if n}


def speaker_normal(name: str, people: dict[str, str]) -> str | None:
    """`mel` -> `melanie` when exactly one speaker's name begins with it (three letters at least)."""
    if name in people:
        return people[name]
    if len(name) < 3 or " " in name:
        return None
    fits = {full for short, full in people.items() if short.startswith(name)}
    return fits.pop() if len(fits) == 1 else None


def _capitalised_inside(sentences: Iterable[Sentence]) -> frozenset[str]:
    """Lower-case forms of words that the group writes with a capital inside a sentence."""
    seen: set[str] = set()
    for s in sentences:
        if not _is_headline(s.tokens):
            seen.update(
                _bare(t)
                for before, t in zip(s.tokens, s.tokens[1:], strict=False)
                if t.text[0].isupper() and before.tag != "." and not closed_class(_bare(t))
            )
    return frozenset(seen)


def _is_headline(tokens: Sequence[Token]) -> bool:
    """Mostly capitals: a title or shouting, where a capital says nothing."""
    words = [t for t in tokens if t.text[0].isalpha()]
    return len(words) > 3 and sum(t.text[0].isupper() for t in words) > 0.7 * len(words)


def _bare(token: Token) -> str:
    """The word without a possessive or contraction."""
    return token.lower.partition("'")[0]


def _in_sentence(group: Group, sentence: Sentence, capitalised: frozenset[str]) -> list[Entity]:
    text = group.leaves[sentence.leaf].text
    tokens, taken = sentence.tokens, [False] * len(sentence.tokens)
    found: list[Entity] = []
    starts, ends = [t.start for t in tokens], [t.end for t in tokens]
    if sentence.caption and any(t.lower == "of" for t in tokens[:5]):
        taken[:5] = [i <= next(k for k, t in enumerate(tokens) if t.lower == "of") for i in range(len(tokens[:5]))]

    def claim(start: int, end: int, normal: str, kind: str) -> None:
        inside = range(bisect_right(ends, start), bisect_left(starts, end))
        if normal and inside and not any(taken[i] for i in inside):
            for i in inside:
                taken[i] = True
            found.append(Entity(start, end, inside[0], inside[-1] + 1, text[start:end], normal, kind))

    for d in sentence.dates:
        claim(d.start, d.end, d.iso(), "date")
    for start, end, normal, kind in _patterned(text, sentence):
        claim(start, end, normal, kind)
    title = _title(group.leaves[sentence.leaf].speaker, tokens)
    for first, last in title or _names(tokens, taken, capitalised, group.language):
        start, end = tokens[first].start, tokens[last - 1].end
        end -= _possessive(tokens[last - 1])
        claim(start, end, normal_form(text[start:end]), "name")
    named = {e.last: e for e in found if group.language == "en" and e.kind == "name" and _compounds(tokens[e.last - 1])}
    for first, last in noun_phrases(tokens, taken, group.language, named):
        # "LGBTQ support group" is the term although "LGBTQ" is a name too: the one pair of entities that overlap
        start = named[first].start if first in named else tokens[first].start
        first, end = named[first].first if first in named else first, tokens[last - 1].end
        normal = normal_form(text[start:end], term=True)
        if normal:
            found.append(Entity(start, end, first, last, text[start:end], normal, "term"))
    return sorted(found, key=lambda e: (e.start, e.end))


def _compounds(token: Token) -> bool:
    """Whether a name ending in this token can begin a noun phrase: no possessive, no closing quote."""
    return token.tag != "." and not _possessive(token)


def _title(speaker: str | None, tokens: Sequence[Token]) -> list[tuple[int, int]]:
    """A line of a document that is all capitals of words and has no stop: one name."""
    words = [t for t in tokens if t.lower not in _JOINERS]
    if speaker is not None or not 2 <= len(tokens) <= 8 or not all(t.text[0].isupper() for t in words):
        return []
    return [(0, len(tokens))]


def _possessive(token: Token) -> int:
    return 2 if token.lower.endswith("'s") else 0


def _patterned(text: str, sentence: Sentence) -> list[tuple[int, int, str, str]]:
    """Addresses, money, quantities and quoted titles: (start, end, normal form, kind)."""
    a, b = sentence.start, sentence.end
    piece = text[a:b]
    found = []
    if "@" in piece or "#" in piece or "www." in piece or "://" in piece:
        for m in _ADDRESS.finditer(piece):
            found.append(
                (m.start(), m.end(), m.group().casefold().rstrip("/"), "term" if m.group()[0] == "#" else "name")
            )
    if any(t.tag == "M" for t in sentence.tokens):
        found += [(m.start(), m.end(), _money(m), "quantity") for m in _MONEY.finditer(piece)]
        found += [(m.start(), m.end(), _quantity(m), "quantity") for m in _QUANTITY.finditer(piece)]
    for m in _QUOTED.finditer(piece):
        title = m.group(1) or m.group(2)
        if not title[0].islower() and not title.rstrip().endswith((",", "?", "!")):
            found.append((m.start(), m.end(), normal_form(title), "name"))
    return [(a + start, a + end, normal, kind) for start, end, normal, kind in found]


def _plain_number(digits: str, scale: float = 1.0) -> str:
    if scale == 1.0:
        return digits.replace(",", "").lstrip("0") or "0"
    return f"{float(digits.replace(',', '')) * scale:.15g}"


def _money(m: re.Match[str]) -> str:
    return f"{_plain_number(m[2], _SCALE.get((m[3] or '').lower(), 1.0))} {_CURRENCY[m[1]]}"


def _quantity(m: re.Match[str]) -> str:
    amount = m[1].lower()
    unit = {"percent": "%", "per cent": "%", "dollars": "usd", "dollar": "usd", "bucks": "usd"}.get(m[2].lower())
    return f"{_NUMBER.get(amount) or _plain_number(amount)} {unit or normal_form(m[2], term=True)}"


def _names(
    tokens: Sequence[Token], taken: Sequence[bool], capitalised: frozenset[str], language: str
) -> list[tuple[int, int]]:
    """Token ranges of capitalised spans."""
    headline = _is_headline(tokens)
    spans: list[tuple[int, int]] = []
    i = 0
    while i < len(tokens):
        if taken[i] or not _opens_name(tokens, i, capitalised, headline, language):
            i += 1
            continue
        end = i + 1
        while end < len(tokens) and (not _possessive(tokens[end - 1]) or _known_word(tokens[end - 1])):
            step = next((k for k in (0, 1, 2) if _continues(tokens, taken, end, k, capitalised, headline)), None)
            if step is None:
                break
            end += step + 1
        spans.append((i, end))
        i = end
    return spans


def _is_capital(token: Token) -> bool:
    bare = _bare(token)
    return (
        token.text[0].isupper() and not closed_class(bare) and bare not in _KIN and len(bare) > 1 and token.tag != "F"
    )


def _known_word(token: Token) -> bool:
    return bool(lemmas(_bare(token))) if token.text[0].isascii() else False


def _opens_name(tokens: Sequence[Token], i: int, capitalised: frozenset[str], headline: bool, language: str) -> bool:
    token = tokens[i]
    if not _is_capital(token) or _bare(token) in _CALENDAR:
        return False
    if headline or i == 0 or tokens[i - 1].tag == ".":
        if _bare(token) in capitalised:
            return True
        if language != "en":
            return False
        compound = i + 2 < len(tokens) and all(_is_capital(t) and t.tag != "." for t in tokens[i + 1 : i + 3])
        return not _known_word(token) or (compound and not headline and token.tag not in "VR")
    return not (token.text.isupper() and len(token.text) > 3 and _known_word(token) and _bare(token) not in capitalised)


def _continues(
    tokens: Sequence[Token], taken: Sequence[bool], at: int, joiners: int, capitalised: frozenset[str], headline: bool
) -> bool:
    """Whether `joiners` small words and a capital follow at `at` (`Bank of America`)."""
    if at + joiners >= len(tokens) or any(taken[at : at + joiners + 1]):
        return False
    last = tokens[at + joiners]
    if joiners == 1 and tokens[at].text == "." and _INITIALS.fullmatch(tokens[at - 1].text):
        return _is_capital(last)
    if headline and _known_word(last) and _bare(last) not in capitalised:
        return False
    return all(t.lower in _JOINERS for t in tokens[at : at + joiners]) and _is_capital(last)


def noun_phrases(
    tokens: Sequence[Token], taken: Sequence[bool], language: str, named: Container[int] = ()
) -> list[tuple[int, int]]:
    """Token ranges of noun phrases: adjectives and nouns ending in a noun, four tokens at most, that say something.

    `named` are the token numbers where a name has just ended; with it even common words say something.
    """
    spans = []
    i = 0
    while i < len(tokens):
        if taken[i] or tokens[i].tag not in "NA":
            i += 1
            continue
        end = i
        while (
            end < len(tokens) and not taken[end] and tokens[end].tag in "NA" and not _two_words_of_han(tokens, i, end)
        ):
            end += 1
        span = _trimmed(tokens, i, end, language, 0.0 if i in named else 0.25)
        if span:
            spans.append(span)
        i = end
    return spans


def _two_words_of_han(tokens: Sequence[Token], first: int, at: int) -> bool:
    """Two Han words side by side are two words; Han and Katakana (`東京タワー`) are one."""
    return at > first and is_han(tokens[at].text) and is_han(tokens[at - 1].text)


def _trimmed(
    tokens: Sequence[Token], first: int, last: int, language: str, least_rarity: float
) -> tuple[int, int] | None:
    while last > first and (tokens[last - 1].tag != "N" or tokens[last - 1].lower in VAGUE):
        last -= 1
    while first < last and (tokens[first].lower in _EVALUATIVE or tokens[first].lower in VAGUE):
        first += 1
    if language != "en" and last - first > 4:
        return None
    first = max(first, last - 4)
    words = [_bare(t) for t in tokens[first:last]]
    if not words or max(rarity(w) for w in words) < least_rarity:
        return None
    return first, last


def _kinds(sentences: Sequence[Sentence], found: Sequence[Sequence[Entity]], people: dict[str, str]) -> dict[str, str]:
    """The kind of each name, by the first of person, organisation, place that any of its mentions gives evidence for."""
    votes: dict[str, set[str]] = defaultdict(set)
    for sentence, entities in zip(sentences, found, strict=True):
        for e in entities:
            if e.kind == "name":
                votes[e.normal].add(_evidence(sentence.tokens, e))
    order = ("person", "organisation", "place", "name")
    return {n: "person" if n in people else next(k for k in order if k in v) for n, v in votes.items()}


def _evidence(tokens: Sequence[Token], e: Entity) -> str:
    words = e.normal.split()
    before = tokens[e.first - 1].lower if e.first else ""
    after = tokens[e.last].lower if e.last < len(tokens) else ""
    if words[-1] in _ORGANISATION or words[0] in ("university", "bank", "museum"):
        return "organisation"
    if words[-1] in _PLACE or words[0] in ("lake", "mount"):
        return "place"
    if words[0] in _TITLED or before in _RELATIVES or after in _SAYING or before.rstrip(".") in _TITLED:
        return "person" if len(words) <= 3 else "name"
    vocative = before == "," and after in ("!", ".", "?", ",") and e.last - e.first == 1
    if vocative and e.first >= 2 and tokens[e.first - 2].tag == "U":
        return "person"
    return "place" if before == "in" and not e.surface.isupper() else "name"


def _settled(e: Entity, kinds: dict[str, str], people: dict[str, str]) -> Entity:
    if e.kind != "name":
        return e
    speaker = speaker_normal(e.normal, people)
    return replace(e, normal=speaker, kind="person") if speaker else replace(e, kind=kinds[e.normal])
