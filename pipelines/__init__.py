"""What is computed: pure functions from Arrow tables to Arrow tables. No clock, no randomness, no network, no engine."""

import os

# How long threads of OpenMP look for work before they sleep, read when the first library that brings OpenMP is loaded. A question's
# batch is split over the cores, and at each of a hundred steps its threads wait for each other. By default they look for
# milliseconds; beside an ingest they then hold the core that the one they wait for wants, at every step. Some microseconds are as
# fast on an idle machine and steady on a busy one.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
