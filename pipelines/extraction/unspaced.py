"""Words of text written without spaces: strings of Han characters that a group repeats.

A run of Han characters is a clause, not a word, and no dictionary is at hand. What recurs in the group and neither begins nor
ends with a function character is taken for a word (the substring statistics of Sproat & Shih 1990 without their corpus). Runs
of up to four characters, Katakana and Latin are words already. Cost: five substrings per character.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

RawToken = tuple[str, int, int]

HAN_FUNCTION = frozenset(
    "的了是在我你他她它们這这那和就也都不有很与與及或而但把被让讓给給去来來到说說要会會能想着过過吗嗎呢吧啊几幾个個每上下里裡中为為以从從對对"
)
_RUN = re.compile("[\u3400-\u9fff\uf900-\ufaff々]{2,}")
_SHORTEST, _LONGEST, _WORD = 2, 6, 4


def is_han(word: str) -> bool:
    """Whether a token is two or more Han characters."""
    return _RUN.fullmatch(word) is not None


def recurring_words(sentences: Sequence[Sequence[RawToken]]) -> re.Pattern[str] | None:
    """A pattern of the strings that recur in the Han runs of these sentences, longest first; None when there are none."""
    runs = [t[0] for tokens in sentences for t in tokens if _RUN.fullmatch(t[0])]
    if all(len(run) <= _WORD for run in runs):
        return None
    counts = Counter(
        run[i : i + n] for run in runs for n in range(_SHORTEST, _LONGEST + 1) for i in range(len(run) - n + 1)
    )
    often = {s: c for s, c in counts.items() if c > 1 and s[0] not in HAN_FUNCTION and s[-1] not in HAN_FUNCTION}
    inside = {long[i:j] for long, c in often.items() for i in range(len(long)) for j in range(i + 2, len(long) + 1)
              if j - i < len(long) and often.get(long[i:j]) == c}  # fmt: skip
    words = sorted(often.keys() - inside, key=lambda s: (-len(s), s))
    return re.compile("|".join(map(re.escape, words))) if words else None


def cut_runs(tokens: Sequence[RawToken], words: re.Pattern[str]) -> list[RawToken]:
    """The tokens with long Han runs cut around the words of the pattern."""
    cut: list[RawToken] = []
    for text, start, end in tokens:
        if len(text) <= _WORD or not _RUN.fullmatch(text):
            cut.append((text, start, end))
            continue
        at = 0
        for m in words.finditer(text):
            if m.start() > at:
                cut.append((text[at : m.start()], start + at, start + m.start()))
            cut.append((m.group(), start + m.start(), start + m.end()))
            at = m.end()
        if at < len(text):
            cut.append((text[at:], start + at, end))
    return cut
