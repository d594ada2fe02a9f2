"""Ranges spelled out, against a loop."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.ranges import numbers_in

RANGES = st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 9)))


@given(RANGES, st.sampled_from([np.int32, np.int64]))
def test_every_number_of_every_range_in_order(ranges, dtype):
    low = np.array([a for a, _ in ranges], dtype)
    high = np.array([a + n for a, n in ranges], dtype)
    assert numbers_in(low, high).tolist() == [i for a, n in ranges for i in range(a, a + n)]
