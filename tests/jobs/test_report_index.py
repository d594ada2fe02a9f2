"""Figures of a real ANN index, as the report shows them."""

from __future__ import annotations

import numpy as np

from jobs.report_index import figures
from pipelines import ann


def test_an_index_tells_its_lists_its_bytes_and_its_speed_along_the_curve(tmp_path):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3000, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ann.build(vectors, tmp_path / "turn", params=ann.AnnParams(nlist=24))
    index = ann.open(tmp_path / "turn")
    found = figures("turn in shard-0000", index, tmp_path / "turn", vectors[:20])
    assert found.vectors == 3000 and len(found.lists) == 24 and 3000 <= sum(found.lists) <= 6000
    on_disk = sum(f.stat().st_size for f in (tmp_path / "turn").iterdir() if f.name not in ("manifest.json", ".lock"))
    assert found.memory + found.mapped == on_disk and 0 < found.memory < found.mapped
    assert 2 <= len(found.speeds) <= 8 and all(s.qps > 0 for s in found.speeds)
    recalls = [s.recall for s in found.speeds]
    assert recalls[0] == min(recalls) and recalls[-1] == max(recalls) > recalls[0]


def test_a_flat_index_has_neither_lists_nor_a_curve(tmp_path):
    vectors = np.eye(64, dtype=np.float32)
    ann.build(vectors, tmp_path / "turn")
    found = figures("turn", ann.open(tmp_path / "turn"), tmp_path / "turn", vectors[:4])
    assert (found.lists, found.speeds, found.kind) == ([], [], "exact scan")
