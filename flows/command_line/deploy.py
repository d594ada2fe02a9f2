"""`engraph deploy`: make a Prefect server know our deployments, queues, limits and automations."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from flows.command_line import options
from schemas.errors import UsageError


@options.with_session
def deploy(
    session: options.Session,
    deployments: Annotated[
        Path | None, typer.Option("--deployments", help="What to deploy; default infra/prefect.yaml.")
    ] = None,
) -> int:
    """Make the Prefect server at PREFECT_API_URL know deployments, queues, limits and automations."""
    from flows.serving.deploy import connect
    from flows.serving.deploy import deploy as apply
    from flows.serving.plan import find_plan, read_plan

    api = os.environ.get("PREFECT_API_URL")
    if not api:
        raise UsageError("set PREFECT_API_URL to the Prefect server's API, such as http://127.0.0.1:4200/api")
    plan = read_plan(find_plan(deployments))

    async def run():
        async with connect(api, os.environ.get("PREFECT_API_AUTH_STRING")) as client:
            return await apply(
                client, plan, session.settings.notify, lambda line: print(f"engraph: {line}", file=sys.stderr)
            )

    changes = asyncio.run(run())
    if session.as_json:
        options.print_json([vars(change) for change in changes])
        return 0
    table = Table("what", "name", "done", "", box=None, pad_edge=False)
    for change in changes:
        table.add_row(change.kind, change.name, change.done, change.detail)
    options.console().print(table)
    return 0
