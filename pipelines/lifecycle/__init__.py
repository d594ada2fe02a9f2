"""What happens to units over time: versions, supersession, archiving."""

from pipelines.lifecycle.retention import RETENTION
from pipelines.lifecycle.versions import live, new_versions

__all__ = ["RETENTION", "live", "new_versions"]
