"""Retrieval metrics and labelled question sets: what `evaluate` and the publishing gate measure recall with.

`questions` says what a labelled question is, `loaders` reads four public forms of them, `metrics` holds the formulas,
`score` applies them to ranked hits, `confidence` and `spread` say how far figures can be trusted, `baselines` are published methods
to compare with. But for those nothing here retrieves: rankings come in, numbers go out.
"""

from pipelines.evaluation.loaders import load_questions, load_unanswerable
from pipelines.evaluation.questions import Question
from pipelines.evaluation.score import Ranked, Scores, compare, score

__all__ = ["Question", "Ranked", "Scores", "compare", "load_questions", "load_unanswerable", "score"]
