"""Tokens, word classes and background frequencies: what the rules of this package know about words.

Classes come from a closed list of English function words, the NIH SPECIALIST Lexicon as shipped by `lemminflect`, and a dozen
context rules in the manner of Brill (1992); background frequencies are `wordfreq`'s Zipf scale (log10 per billion words:
`the` 7.7, `camping` 4.0). Both ship their data inside the wheel. About 2 us per token, most of it dictionary look-ups. The
one thing to know: outside English every word that is not among the language's most frequent ones is a noun, which turns the
noun phrases below into RAKE's candidates (Rose et al. 2010): runs of words between function words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import lemminflect
import wordfreq

from pipelines.extraction.unspaced import HAN_FUNCTION

_MARKS = "\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0900-\u0963"
_MARKS += "\u0966-\u0dff\u0e31-\u0e4e\u0eb1-\u0ecd\u0f71-\u0f84\u102b-\u103e\u17b4-\u17d3"
_HAN, _HIRAGANA, _KATAKANA = "\u3400-\u9fff\uf900-\ufaff々", "\u3041-\u309f", "\u30a1-\u30ffー"
_LETTER = rf"(?:[^\W{_HAN}{_HIRAGANA}{_KATAKANA}]|[{_MARKS}])"
_TOKEN = re.compile(
    rf"[{_HAN}]+|[{_HIRAGANA}]+|[{_KATAKANA}]+"
    rf"|{_LETTER}+(?:[’'\-.\u200c\u200d]{_LETTER}+)*|[^\w\s]"
)
_CJK = re.compile(rf"[{_HAN}{_KATAKANA}]+$")
_KANA = re.compile(rf"[{_HIRAGANA}]+$")


def word_set(words: str) -> frozenset[str]:
    """The words of a written list."""
    return frozenset(words.split())


# One letter per word class: D determiner, P pronoun, I preposition, T "to", C conjunction, X auxiliary, W question word,
# U interjection, R adverb, M number, F function word of another language, V verb, A adjective, N noun, E proper name, "." other.
_CLOSED = {
    "D": "a an the this that these those my your his her its our their some any every each another either neither both all half"
    " several many much few more most less other such same own",
    "P": "i you he she it we they me him us them mine yours hers ours theirs myself yourself himself herself itself ourselves"
    " yourselves themselves someone anyone everyone somebody anybody everybody nobody none something anything everything nothing"
    " ya y'all",
    "I": "of in on at by for with about against between into through during before after above below from up down out off over"
    " under around among without within along across behind beyond near toward towards upon since until till than per via"
    " despite except as like onto inside outside w/ besides",
    "T": "to",
    "C": "and or but nor so yet because although though while if unless whereas whether cuz cause & plus",
    "X": "am is are was were be been being have has had having do does did done will would shall should can could may might must"
    " gonna wanna gotta cannot isn't aren't wasn't weren't don't doesn't didn't haven't hasn't hadn't won't wouldn't shouldn't"
    " can't couldn't mustn't ain't",
    "W": "who whom whose what which when where why how",
    "U": "hey hi hello wow oh yeah yes yep yup no nope nah ok okay thanks thank please bye goodbye haha hahaha lol aw aww awww ooh"
    " hmm um uh sure absolutely exactly congrats congratulations woah whoa yay ah ha omg phew cheers"
    " welcome sorry kinda sorta lemme gotcha btw imo tbh lmk idk thx ty np hiya yo cool alright woohoo"
    " oof yum mmm mm ouch bummer anyways eek ugh whew yikes hooray bravo lmao",
    "R": "not very really too also just even still already always never often sometimes usually again ever soon now then here"
    " there maybe perhaps quite pretty rather almost only well together away back later today yesterday tomorrow tonight ago"
    " once twice definitely actually probably totally super lately recently finally especially currently much",
    "V": "doing taking making getting going giving keeping putting bringing seeing trying looking",
    "M": "one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty sixty hundred thousand million"
    " dozen couple first second third",
}
_CLASS = {word: tag for tag, words in _CLOSED.items() for word in words.split()}
# Verbs that the lexicon also knows as nouns and that hardly ever are, except after a determiner or an adjective.
_STRONG_VERBS = word_set(
    "take find make get give keep see bring put let tell go stay be know think want meet lose win say buy come feel become seem"
    " sound look hear send wear eat choose try"
)
VAGUE = word_set(
    "thing things lot lots kind kinds sort bit way ways time times stuff guy guys one ones day days week weeks month months year"
    " years moment something end part parts rest case point side place people person hand hour hours minute minutes today"
    " tomorrow yesterday fun idea news look number set reason chance while weekend morning evening night afternoon ton tons bunch"
    " thanks deal sense fact example matter couple luck dude buddy pal bro man gal hubby plenty piece pieces photo picture image"
    " pic pics kid blast vibe vibes feeling feelings moment moments word words summer winter spring autumn fall sec second seconds"
)
_OTHER_LANGUAGES = (  # asked in this order only when English does not fit
    "de",
    "fr",
    "es",
    "it",
    "pt",
    "nl",
    "sv",
    "da",
    "pl",
    "cs",
    "tr",
    "id",
    "ru",
    "uk",
    "ar",
    "fa",
    "he",
    "hi",
    "el",
)
_TOP = 150


@dataclass(frozen=True, slots=True)
class Token:
    """A word or mark with its place in the leaf's text; `tag` is one of the letters above."""

    text: str
    start: int
    end: int
    lower: str
    tag: str


def closed_class(word: str) -> str:
    """The class of an English function word (lower case), "" for any other word."""
    return _CLASS.get(word, "")


@lru_cache(maxsize=1 << 16)
def lemmas(word: str) -> dict[str, tuple[str, ...]]:
    """Lemmas of a lower-case English word by part of speech; empty for words outside the lexicon (names, other languages)."""
    return lemminflect.getAllLemmas(word)


@lru_cache(maxsize=1 << 16)
def zipf(word: str) -> float:
    """Background frequency of a lower-case word, 0 (unknown) to 8; other languages count through their own lists."""
    return float(wordfreq.zipf_frequency(word, "en", wordlist="small")) if word.isascii() else 0.0


@lru_cache(maxsize=1 << 16)
def rarity(word: str) -> float:
    """How much a word says, 0 for function words to 1; a proxy of idf. Words outside the list get 0.65: half are typos."""
    if word in _CLASS or len(word) < 2:
        return 0.0
    known = zipf(word)
    return 0.65 if known == 0.0 else min(1.0, max(0.0, (6.2 - known) / 3.2))


@lru_cache(maxsize=64)
def function_words(language: str) -> frozenset[str]:
    """The most frequent words of a language."""
    return frozenset(wordfreq.top_n_list(language, _TOP, wordlist="small"))


def guess_language(words: Sequence[str]) -> str:
    """ISO code of the language whose function words cover `words` (lower case) best.

    "und" (undetermined) when none covers a seventh of them and they are not all ASCII.

    English is asked first and others only when it fails, so that an English corpus never loads another list.
    """
    words = [w for w in words[:400] if w[:1].isalpha()]
    fallback = "en" if words and all(w.isascii() for w in words) else "und"
    english = function_words("en")
    if len(words) < 4 or sum(w in english or "'" in w for w in words) * 4 >= len(words):
        return fallback if len(words) < 4 else "en"
    share = {code: sum(w in function_words(code) for w in words) for code in ("en", *_OTHER_LANGUAGES)}
    best = max(share, key=lambda code: (share[code], code))
    return best if share[best] * 7 >= len(words) else fallback


def tokenize(text: str, start: int, end: int) -> list[tuple[str, int, int]]:
    """(text, start, end) of words and marks in text[start:end]; runs of Han, Hiragana and Katakana are cut where they change."""
    return [(m.group(), m.start(), m.end()) for m in _TOKEN.finditer(text, start, end)]


def tag(raw: Sequence[tuple[str, int, int]], language: str) -> list[Token]:
    """Word classes for the tokens of one sentence."""
    lowers = [t[0].lower().replace("’", "'") for t in raw]
    if language == "en":
        options = [_options(t[0], low) for t, low in zip(raw, lowers, strict=True)]
        tags = _decide(options, lowers, [t[0] for t in raw])
    else:
        common = function_words(language) if language != "und" else frozenset()
        tags = [_plain_tag(t[0], low, common) for t, low in zip(raw, lowers, strict=True)]
    return [Token(t[0], t[1], t[2], low, g) for t, low, g in zip(raw, lowers, tags, strict=True)]


def _plain_tag(text: str, lower: str, common: frozenset[str]) -> str:
    if not text[0].isalnum():
        return "."
    if text[0].isdigit():
        return "M"
    if lower in common or _KANA.match(text):
        return "F"
    if _CJK.match(text):
        return "N" if 2 <= len(text) <= 6 and HAN_FUNCTION.isdisjoint(text) else "F"
    return "N" if len(text) > 1 else "F"


@lru_cache(maxsize=1 << 16)
def _options(text: str, lower: str) -> str:
    """The classes a word can have, in the lexicon's order of likelihood; a closed-class word has exactly one."""
    if not (text[0].isalnum() or text == "&"):
        return "."
    if text[0].isdigit():
        return "M"
    if lower in _CLASS:
        return _CLASS[lower]
    base, _, ending = lower.partition("'")
    if ending == "t" or (
        ending in ("m", "re", "ve", "ll", "d", "s") and _CLASS.get(base, "") in ("P", "W", "R", "D", "X")
    ):
        return "X" if ending == "t" else "P"
    if base == "let":
        return "P"
    found = lemmas(base)
    kinds = "".join(c for pos, c in (("NOUN", "N"), ("VERB", "V"), ("ADJ", "A"), ("ADV", "R")) if pos in found)
    if text[0].isupper() and not kinds:
        return "E"
    return kinds or _by_ending(base, text)


def _by_ending(base: str, text: str) -> str:
    if _CJK.match(text) or _KANA.match(text) or not base.isascii():
        return _plain_tag(text, base, frozenset())
    if base.endswith("ly"):
        return "R"
    return "NV" if base.endswith(("ing", "ed", "in")) else "N"


def _decide(options: Sequence[str], lowers: Sequence[str], texts: Sequence[str]) -> list[str]:
    tags: list[str] = []
    for i, can in enumerate(options):
        if len(can) == 1:
            tags.append(can)
            continue
        before = tags[-1] if tags else ""
        if before == "P" and "'" in lowers[i - 1]:
            before = "X"  # "I'm keen", "it's great": the contraction holds the verb
        after = options[i + 1] if i + 1 < len(options) else ""
        if texts[i][0].isupper() and i and before != ".":
            tags.append("E")  # a common word capitalised inside a sentence is used as a name
        else:
            pointer = i > 0 and lowers[i - 1] in ("that", "this", "which") and _inflected(lowers[i])
            verbal = before not in ("D", "A") and not _STRONG_VERBS.isdisjoint(lemmas(lowers[i]).get("VERB", ()))
            if "V" in can and (pointer or (verbal and not lowers[i].endswith("ing"))):
                tags.append("V")  # "That sounds great", "take courage"
            else:
                tags.append(_in_context(can, before, after, lowers[i], tags))
    return tags


def _in_context(can: str, before: str, after: str, lower: str, tags: Sequence[str]) -> str:
    """One class out of `can`, from the class before and the possible classes after."""
    nominal = before in ("D", "A", "M", "I") or (before in ("N", "E") and "V" not in can)
    if "A" in can and ("N" in after or "E" in after) and before in ("D", "I", "A", "R", "V", "X", ""):
        return "A"
    if (
        "V" in can
        and before in ("", ".")
        and _inflected(lower)
        and (after[:1] in ("A", "D", "P") or (after == "I" and tags == []))
    ):
        return "V"  # "Sounds great", "Loves her dog"
    if lower.endswith("ing") and before in ("N", "E") and after in ("D", "P"):
        return "V"
    if "R" in can and "A" in can:
        return "R" if before in ("V", "N") else "A"
    if nominal and "N" in can:
        return "N"
    if "V" in can and (before in ("P", "T", "X", "W") or (before == "R" and any(t in "PX" for t in tags[-3:]))):
        return "A" if "A" in can and before == "X" else "V"
    if "V" in can and before in ("E", "N") and _inflected(lower):
        return "V"
    if "A" in can and before in ("X", "R", "P"):
        return "A"
    if "V" in can and before == "C" and any(t in "PV" for t in tags[:-1]):
        return "V" if "N" not in can or _inflected(lower) else "N"
    return "N" if "N" in can else can[0]


def _inflected(lower: str) -> bool:
    """A verb form other than the bare one: it can carry a sentence after a noun (`Rex barks`, `Anna painted`)."""
    return bool(lemmas(lower).get("VERB")) and lower not in lemmas(lower)["VERB"] and not lower.endswith("ing")


@lru_cache(maxsize=1 << 14)
def third_person(verb: str) -> str | None:
    """The -s form of a bare English verb; None when `verb` is no bare form or could be a past form (`put`, `read`)."""
    if lemmas(verb).get("VERB", ()) != (verb,):
        return None  # `found` is also the past of `find`
    if verb in lemminflect.getInflection(verb, "VBD"):
        return None
    forms = lemminflect.getInflection(verb, "VBZ")
    return forms[0] if forms else None


@lru_cache(maxsize=1 << 14)
def past_only(word: str) -> bool:
    """Whether a lower-case word is the past tense of an English verb and not its participle too (`went`, not `walked`)."""
    return any(
        word in lemminflect.getInflection(verb, "VBD") and word not in lemminflect.getInflection(verb, "VBN")
        for verb in lemmas(word).get("VERB", ())
    )


@lru_cache(maxsize=1 << 16)
def singular(word: str) -> str:
    """The singular of a lower-case English noun; any other word unchanged."""
    found = lemmas(word).get("NOUN") if word.isascii() else None
    return found[0] if found else word
