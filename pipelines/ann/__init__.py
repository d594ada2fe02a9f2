"""The memory-disk hybrid ANN index: vectors in, a self-describing folder out, recall with a promise.

`build` writes the folder, `open` maps it, `Index.search` answers. Closure-replicated inverted lists with 4-bit product
quantisation find candidates (SPANN, Chen et al., NeurIPS 2021; fast-scan, Andre et al., VLDB 2015), exact distances over
the mapped vectors rank them. Small collections are scanned exactly. The one thing to know: effort is chosen from a recall
curve that `build` measured on held-out rows, so `recall_target` means something on *this* data.
"""

from pipelines.ann.build import build
from pipelines.ann.index import Index, open
from pipelines.ann.params import AnnParams

__all__ = ["AnnParams", "Index", "build", "open"]
