"""Real worker processes: equal bits, errors that arrive, no hang and no orphan after a kill."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.engines.embedding_pool import EmbeddingPool
from pipelines.embedding import resolve_encoder
from schemas.errors import EngraphError
from schemas.ids import content_hash

ROOT = Path(__file__).resolve().parents[3]
ID = resolve_encoder(None)


def shard_of(texts):
    return pa.table({"content_hash": [content_hash(t) for t in texts], "text": texts})


def shards(n: int):
    for s in range(n):
        yield shard_of([f"shard {s} holds sentence {i} about {'rain and ' * (i % 7)}snow" for i in range(40)])


def gone(pid: int) -> bool:
    """No such process, or a zombie that nobody has collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_processes_give_the_bits_of_one_process_in_order_and_pass_on_errors():
    with EmbeddingPool(ID, 2, processes=False) as pool:
        alone = list(pool.embed(shards(6)))
        assert pool.pids() == []
    with EmbeddingPool(ID, 2, processes=True) as pool:
        together = list(pool.embed(shards(6)))
        pids = pool.pids()
        with pytest.raises(ValueError, match="text 1 of 2 is empty"):
            list(pool.embed([shard_of(["fine", " "])]))
    assert len(pids) == 2 and all(map(gone, pids))
    assert all(a.equals(b) for a, b in zip(alone, together, strict=True))


def test_little_work_starts_no_process_and_none_is_fine():
    with EmbeddingPool(ID, 64) as pool:
        assert [t.num_rows for t in pool.embed(shards(2))] == [40, 40]
        assert pool.pids() == []
        assert list(pool.embed([])) == []


def test_a_killed_worker_is_an_error_not_a_hang():
    with EmbeddingPool(ID, 1, processes=True) as pool:
        tables = pool.embed(shards(50))
        next(tables)
        os.kill(pool.pids()[0], signal.SIGKILL)
        with pytest.raises(EngraphError, match=r"ended by signal SIGKILL.*run with fewer workers"):
            list(tables)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes through /proc")
def test_workers_end_when_their_parent_is_killed():
    script = f"""
import os, signal, threading, time
import pyarrow as pa
from jobs.engines.embedding_pool import EmbeddingPool
from pipelines.embedding import EncoderId
pool = EmbeddingPool(EncoderId.parse({ID.name!r}), 1, processes=True)
shard = pa.table({{"content_hash": ["0" * 32], "text": ["word " * 2000000]}})
threading.Thread(target=lambda: list(pool.embed([shard])), daemon=True).start()
while not pool.pids():
    time.sleep(0.05)
print(pool.pids()[0], flush=True)
time.sleep(1)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-"], input=script, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    worker = int(done.stdout)
    deadline = time.monotonic() + 10
    while not gone(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert gone(worker)
