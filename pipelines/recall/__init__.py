"""Recall: a question -> the units that answer it, with their sources and what spoke for them."""

from pipelines.recall.query import Answer, Hit, Query, Recall, RecallParams
from pipelines.recall.shard import RecallShard, build_shard

__all__ = ["Answer", "Hit", "Query", "Recall", "RecallParams", "RecallShard", "build_shard"]
