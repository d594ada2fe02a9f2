"""What starts quickly because it loads nothing that it does not need."""

import subprocess
import sys

import pytest

HEAVY = {
    "torch",
    "transformers",
    "faiss",
    "polars",
    "pyarrow",
    "duckdb",
    "scipy",
    "sklearn",
    "prefect",
    "ray",
    "pyspark",
    "wordfreq",
}


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("flows.command_line", set()),
        ("flows.serving.laptop", {"prefect"}),
        ("flows.build", HEAVY - {"torch", "transformers", "sklearn", "prefect", "ray", "pyspark"}),
    ],
)
def test_a_module_loads_no_library_that_it_does_not_need_at_once(module, allowed):
    """The command line as a whole; what refuses a second `engraph serve`; every ingest."""
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert HEAVY & set(loaded) <= allowed
