"""Other formats: what a snapshot's tables become for graph tools, vector stores, Hugging Face datasets."""

from pipelines.export.cards import dataset_card, vectors_card
from pipelines.export.graphml import write_graphml

__all__ = ["dataset_card", "vectors_card", "write_graphml"]
