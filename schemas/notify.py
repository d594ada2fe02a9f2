"""Settings `[notify]`: who is told when something is wrong, and from when on it is."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Notify(BaseModel):
    """The notification block of Prefect that automations call; secrets lie in the block, never here."""

    block: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9-]+/[a-z0-9-]+$",
        description="TYPE/NAME of a notification block on the Prefect server, such as custom-webhook/ops; none: nobody is told",
    )
    snapshot_age_hours: float = Field(default=26.0, gt=0, description="a newest snapshot older than this is reported")
