"""What happens to units over time: versions, supersession, archiving."""

from pipelines.lifecycle.versions import live, new_versions

__all__ = ["live", "new_versions"]
