"""Cuts conversations and documents into memory units of every structural granularity, with exact source spans."""

from pipelines.segmentation.conversations import segment_conversations
from pipelines.segmentation.documents import PassageParams, segment_documents
from pipelines.segmentation.surprise import SurpriseParams, bound_segments

__all__ = ["PassageParams", "SurpriseParams", "bound_segments", "segment_conversations", "segment_documents"]
