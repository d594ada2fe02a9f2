"""The long proofs use the fixtures of the flow tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_FLOWS = Path(__file__).resolve().parents[1] / "flows" / "conftest.py"
_spec = importlib.util.spec_from_file_location("engraph_flow_fixtures", _FLOWS)
assert _spec and _spec.loader
_module = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _module
_spec.loader.exec_module(_module)
globals().update({name: value for name, value in vars(_module).items() if not name.startswith("_")})
