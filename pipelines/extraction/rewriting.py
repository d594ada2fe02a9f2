"""First person made third: a clause rewritten so that it stands alone.

`I went to the zoo with my kids` by Caroline becomes `Caroline went to the zoo with their kids`: the first first-person word
becomes the speaker's name (with the verb agreeing), later ones singular they, since nobody's gender is known; `we` is the name
`and others`. Words inside double quotes are somebody's own and stay. Cost is linear in the tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines.extraction.words import Token, third_person

FIRST_PERSON = frozenset(["i", "me", "my", "mine", "myself", "we", "us", "our", "ours", "ourselves"])
SINGULAR = frozenset(["i", "me", "my", "mine", "myself"])
_SUBJECTS = frozenset(["i", "we"])
_LATER = {
    "i": "they", "we": "they", "me": "them", "us": "them", "my": "their", "our": "their", "mine": "theirs", "ours": "theirs",
    "myself": "themselves", "ourselves": "themselves",
}  # fmt: skip
_AGREEING = {"am": "is", "have": "has", "do": "does", "don't": "doesn't", "haven't": "hasn't", "gonna": "is going to"}
_PLURAL = {"am": "are", "was": "were", "wasn't": "weren't"}
_ENDINGS = {"m": "is", "ve": "has", "ll": "will", "re": "are"}


def person(token: Token) -> str:
    """The first-person word in a token (`i` of "I'm"), "" when there is none."""
    base = token.lower.partition("'")[0]
    return base if base in FIRST_PERSON and token.tag in "PDXM" and not (base == "us" and token.text == "US") else ""


def rewrite(
    text: str, tokens: Sequence[Token], name: str | None, notes: Mapping[int, str], *, elliptic: bool = False
) -> str:
    """The clause that `tokens` cover, in the third person when `name` is given.

    `elliptic` clauses leave out their `I` (`Went to the zoo`): the name is put before them.
    `notes` maps an offset in `text` to words put in brackets there (the date that `yesterday` was).
    """
    replaced = _third_person(tokens, name, named=elliptic) if name else {}
    parts, at = [], tokens[0].start
    for i, token in enumerate(tokens):
        parts.append(text[at : token.start])
        parts.append(replaced.get(i, token.text))
        if token.end in notes:
            parts.append(f" ({notes[token.end]})")
        at = token.end
    written = "".join(parts)
    if elliptic and name:
        written = f"{name} {written[0].lower()}{written[1:]}"
    return written[:1].upper() + written[1:]


def _third_person(tokens: Sequence[Token], name: str, *, named: bool) -> dict[int, str]:
    """Token number -> what stands there instead."""
    changed: dict[int, str] = {}
    quoted = False
    if named and tokens[0].lower in _AGREEING:
        changed[0] = _AGREEING[tokens[0].lower]
    for i, token in enumerate(tokens):
        quoted ^= token.text in '"“”'
        who = person(token)
        if not who or quoted:
            continue
        subject = _named(who, name) if not named else _LATER[who]
        plural = named or who == "we" or _joins_subjects(tokens, i)
        changed[i] = subject + _contracted(token, tokens[i + 1 : i + 3], plural)
        if who in _SUBJECTS and "'" not in token.lower:
            changed |= _agreement(tokens, i + 1, plural)
        named = True
    return changed


def _joins_subjects(tokens: Sequence[Token], i: int) -> bool:
    """`Anna and I`: an `and` before, and no verb before that."""
    return i > 0 and tokens[i - 1].lower in ("and", "&") and not any(t.tag in "VX" for t in tokens[:i])


def _named(who: str, name: str) -> str:
    if who in ("my", "mine", "our", "ours"):
        return name + "'s"
    if who in ("we", "us"):
        return f"{name} and others"
    return name


def _contracted(token: Token, following: Sequence[Token], plural: bool) -> str:
    """What the ending of a contraction becomes, with a space before it."""
    ending = token.lower.partition("'")[2]
    if ending == "d":
        after = next((t for t in following if t.tag != "R"), None)
        return (
            " had"
            if after is not None and (after.lower in ("been", "better") or after.lower.endswith("ed"))
            else " would"
        )
    verb = _ENDINGS.get(ending, "")
    if plural:
        verb = {"is": "are", "has": "have"}.get(verb, verb)
    return f" {verb}" if verb else ""


def _agreement(tokens: Sequence[Token], at: int, plural: bool) -> dict[int, str]:
    """The form of the verb that follows the subject, past the adverbs between."""
    while at < len(tokens) and tokens[at].tag == "R":
        at += 1
    if at == len(tokens):
        return {}
    verb = tokens[at].lower
    if plural:
        return {at: _PLURAL[verb]} if verb in _PLURAL else {}
    if verb in _AGREEING:
        return {at: _AGREEING[verb]}
    form = third_person(verb) if tokens[at].tag == "V" else None
    return {at: form} if form else {}
