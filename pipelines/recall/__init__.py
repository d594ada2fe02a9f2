"""Recall: a question -> the units that answer it, with their sources and what spoke for them."""

from pipelines.recall.params import Answer, Hit, Query, RecallParams
from pipelines.recall.query import Recall
from pipelines.recall.second_stage import Judges
from pipelines.recall.shard import RecallShard, build_shard

__all__ = ["Answer", "Hit", "Judges", "Query", "Recall", "RecallParams", "RecallShard", "build_shard"]
