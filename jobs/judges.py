"""What takes a second look at hits where it is configured: a cross-encoder of sentence-transformers, an OpenAI-like endpoint.

Neither is needed. `ENGRAPH_RERANKER` (or `reranker` in engraph.toml) names a cross-encoder, by name or folder; `[llm]` with
`base_url` and `model` an endpoint that filters hits and, with `recall --iterate`, says what to look for next.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from functools import lru_cache

from pipelines.recall import Judges
from schemas.errors import EngraphError
from schemas.settings import LlmSettings, Settings

TIMEOUT_S = 60.0
SHOWN_CHARACTERS = 1_200

_KEPT = {
    "type": "object",
    "properties": {"kept": {"type": "array", "items": {"type": "integer"}}},
    "required": ["kept"],
    "additionalProperties": False,
}
_THOUGHT = {
    "type": "object",
    "properties": {"look_for": {"type": "string"}},
    "required": ["look_for"],
    "additionalProperties": False,
}


def judges(settings: Settings) -> Judges:
    """Those that the settings name; none of them by default."""
    score = cross_encoder(settings.reranker) if settings.reranker else None
    if not settings.llm.base_url:
        return Judges(score)
    return Judges(score, llm_filter(settings.llm), llm_thought(settings.llm))


@lru_cache(maxsize=1)
def cross_encoder(name: str) -> Callable[[str, list[str]], Sequence[float]]:
    """Scores of (question, text) pairs by a cross-encoder, loaded at the first question."""

    @lru_cache(maxsize=1)
    def model():
        from sentence_transformers import CrossEncoder

        try:
            return CrossEncoder(name)
        except (OSError, ValueError) as problem:
            first = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
            raise EngraphError(f"no cross-encoder {name!r}: {first}; check ENGRAPH_RERANKER") from None

    def score(question: str, texts: list[str]) -> Sequence[float]:
        return (
            model().predict([(question, text) for text in texts], show_progress_bar=False).reshape(len(texts), -1)[:, 0]
        )

    return score


def llm_filter(llm: LlmSettings) -> Callable[[str, list[str]], list[int]]:
    """Places of the texts that help to answer, as a language model sees it."""

    def keep(question: str, texts: list[str]) -> list[int]:
        told = (
            "Which of these memories help to answer the question? Give the numbers of those that do, none if none does.\n\n"
            f"Question: {question}\n\n{_numbered(texts)}"
        )
        kept = _chat(llm, "kept_memories", _KEPT, told).get("kept")
        if not isinstance(kept, list) or not all(isinstance(n, int) for n in kept):
            raise EngraphError("the language model gave no list of numbers")
        return [n - 1 for n in kept]

    return keep


def llm_thought(llm: LlmSettings) -> Callable[[str, list[str]], str]:
    """What is still to be looked for, in a few words, given what was found."""

    def think(question: str, texts: list[str]) -> str:
        told = (
            "To answer the question more memories may be needed. Given those found, name in one short phrase the person, thing or "
            f"event to look for next.\n\nQuestion: {question}\n\n{_numbered(texts)}"
        )
        return str(_chat(llm, "next_search", _THOUGHT, told).get("look_for") or "")

    return think


def _numbered(texts: list[str]) -> str:
    return "\n".join(f"{n}. {' '.join(text.split())[:SHOWN_CHARACTERS]}" for n, text in enumerate(texts, 1))


def _chat(llm: LlmSettings, name: str, schema: dict, told: str) -> dict:
    """One completed reply, read as the JSON object that was asked for.

    Raises:
        EngraphError: the endpoint is out of reach, refuses, or answers something else.
    """
    body = {
        "model": llm.model,
        "temperature": 0,
        "stream": False,
        "messages": [{"role": "user", "content": told}],
        "response_format": {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}},
    }
    headers = {"Content-Type": "application/json"}
    if llm.api_key:
        headers["Authorization"] = f"Bearer {llm.api_key.get_secret_value()}"
    request = urllib.request.Request(
        f"{str(llm.base_url).rstrip('/')}/chat/completions", json.dumps(body).encode(), headers, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
            content = json.load(reply)["choices"][0]["message"]["content"]
        found = json.loads(content)
    except urllib.error.HTTPError as problem:
        raise EngraphError(f"the language model's endpoint answered {problem.code}") from None
    except (OSError, ValueError, KeyError, IndexError, TypeError) as problem:
        raise EngraphError(f"the language model gave no usable answer ({type(problem).__name__})") from None
    if not isinstance(found, dict):
        raise EngraphError("the language model gave no JSON object")
    return found
