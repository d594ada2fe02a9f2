"""The report: what is in a store and how good it is, as one HTML page that needs nothing else."""

from pipelines.report.communities import Node, Picture, draw
from pipelines.report.contents import Contents
from pipelines.report.page import render

__all__ = ["Contents", "Node", "Picture", "draw", "render"]
