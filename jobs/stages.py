"""The stages of a build: their order, their parameters, and how each is run for one day.

What is written here as a literal decides results and is part of their identity; what a machine decides (workers, engines) is not.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jobs.bound_segments import BoundParams, bound_topics
from jobs.bound_segments import stage as bound_stage
from jobs.embed_units import VERSION as EMBED_VERSION
from jobs.embed_units import embed_day
from jobs.engines.partitions import Stage
from jobs.engines.profile import Embedder
from jobs.extract_memories import ExtractionParams, extract_memories
from jobs.extract_memories import stage as extract_stage
from jobs.find_near_duplicates import find_near_duplicates
from jobs.find_near_duplicates import stage as near_duplicates_stage
from jobs.link_units import LinkingParams, link_units
from jobs.link_units import stage as link_stage
from jobs.merge_deliveries import VERSION as READ_VERSION
from jobs.resolve_entities import STAGE as RESOLVE
from jobs.resolve_entities import resolve_mentions
from jobs.run import Run
from jobs.segment_records import SegmentingParams, segment_records
from jobs.segment_records import stage as segment_stage
from pipelines.embedding import EncoderId, TokenCounter
from pipelines.extraction import EXTRACTOR, ExtractParams
from pipelines.graph import LinkParams
from pipelines.graph.near_duplicates import NearDuplicateParams
from pipelines.recall.shard import VERSION as INDEX_VERSION
from pipelines.segmentation import PassageParams, SurpriseParams
from schemas.fingerprint import fingerprint

PASSAGES, SURPRISE, RULES = PassageParams(), SurpriseParams(), ExtractParams()
LINKS, NEAR_DUPLICATES = LinkParams(), NearDuplicateParams()


@dataclass(frozen=True)
class Today:
    """What a stage is run on: one day of a run, the buckets to look at, and what embeds."""

    run: Run
    day: dt.date
    buckets: Sequence[int]
    embedder: Embedder

    @property
    def encoder(self) -> str:
        return self.run.encoder.name

    @property
    def count_tokens(self) -> TokenCounter:
        return TokenCounter(self.run.encoder)


def _segment(today: Today) -> None:
    segment_records(today.run, today.day, today.buckets, PASSAGES, today.count_tokens)


def _embed(today: Today) -> None:
    embed_day(today.run, today.day, "embed", ("segment",), today.embedder)


def _bound(today: Today) -> None:
    bound_topics(today.run, today.day, today.buckets, BoundParams(today.encoder, SURPRISE), today.count_tokens)


def _extract(today: Today) -> None:
    params = ExtractionParams(EXTRACTOR, today.encoder, RULES)
    extract_memories(today.run, today.day, today.buckets, params, today.count_tokens)


def _resolve(today: Today) -> None:
    resolve_mentions(today.run, today.day, today.buckets)


def _embed_derived(today: Today) -> None:
    embed_day(today.run, today.day, "embed_derived", ("bound", "extract"), today.embedder)


def _near_duplicates(today: Today) -> None:
    find_near_duplicates(today.run, today.day, today.buckets, NEAR_DUPLICATES)


def _link(today: Today) -> None:
    link_units(today.run, today.day, today.buckets, LinkingParams(today.encoder, LINKS))


DAILY: dict[str, Callable[[Today], None]] = {
    "segment": _segment,
    "embed": _embed,
    "bound": _bound,
    "extract": _extract,
    "resolve": _resolve,
    "embed_derived": _embed_derived,
    "near_duplicates": _near_duplicates,
    "link": _link,
}
"""Stages that run day by day, in order; each reads what the ones before it wrote."""

STAGES = ("read", *DAILY, "index", "publish")


def daily_stages(encoder: EncoderId) -> dict[str, Stage]:
    """The daily stages as this version would run them, by name."""
    embedding = {"encoder": encoder.name}
    return {
        "segment": segment_stage(SegmentingParams(encoder.name, PASSAGES)),
        "embed": Stage("embed", EMBED_VERSION, ("embeddings",), embedding),
        "bound": bound_stage(BoundParams(encoder.name, SURPRISE)),
        "extract": extract_stage(ExtractionParams(EXTRACTOR, encoder.name, RULES)),
        "resolve": RESOLVE,
        "embed_derived": Stage("embed_derived", EMBED_VERSION, ("embeddings",), embedding),
        "near_duplicates": near_duplicates_stage(NEAR_DUPLICATES),
        "link": link_stage(LinkingParams(encoder.name, LINKS)),
    }


def identity(encoder: EncoderId) -> str:
    """What decides all outputs but the sources: names, versions and parameters of all stages. When it changes, all is looked at."""
    stages = daily_stages(encoder)
    return fingerprint(
        *(stages[name] for name in stages if not name.startswith("embed")),
        {"encoder": encoder.name, "read": READ_VERSION, "embed": EMBED_VERSION, "index": INDEX_VERSION},
    )
