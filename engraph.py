"""Engraph for notebooks and agents.

import engraph
store = engraph.open("store")
for hit in store.recall("When does the lease end?", k=5):
    print(hit.event_time, hit.text, hit.source)
store.connect().execute("SELECT granularity, count(*) FROM memory_units GROUP BY ALL").fetchall()
"""

from jobs.store.reader import Store
from jobs.store.reader import open_store as open
from pipelines.recall import Hit, Query
from schemas.errors import EngraphError

__all__ = ["EngraphError", "Hit", "Query", "Store", "open"]
