"""The explorer's pages: whole documents made on the server, so that every view has an address and needs no script.

FastAPI and Jinja, which are here already. Interface libraries that keep a page and a Python process in step (NiceGUI, Streamlit,
Gradio) bring a socket for each visitor, megabytes of script and their own pins of FastAPI and Starlette beside Prefect's; asking,
reading and following links needs none of that. It answers only requests that name this machine, so that a page elsewhere on the web
cannot read the memory through the visitor's browser (DNS rebinding).
"""

import datetime as dt
from collections.abc import Callable
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse, Response
from starlette.middleware.trustedhost import TrustedHostMiddleware

from jobs.explore_store import Asked, Explorer
from pipelines import recall
from pipelines.report.page import explorer_page, timeline_chart
from schemas.errors import EngraphError, UsageError
from schemas.table import GRANULARITIES

HOSTS = ["127.0.0.1", "localhost", "[::1]"]
SHOWN_NAMESPACES = 500
Text = Annotated[str, Query(max_length=2000)]
Number = Annotated[str, Query(pattern=r"^\d{0,12}$")]


def make_app(explorer: Explorer) -> FastAPI:
    """All pages of one store."""
    app = FastAPI(title="Engraph", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)

    def page(template: str, here: str, status: int = 200, **values: Any) -> HTMLResponse:
        text = explorer_page(template, here=here, store=explorer.lake.url, **values)
        return HTMLResponse(text, status, headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})

    def choices(snapshot: int | None) -> dict[str, Any]:
        names = explorer.namespaces(snapshot)[:SHOWN_NAMESPACES]
        return {"namespaces": names, "granularities": GRANULARITIES, "numbers": explorer.numbers()}

    @app.exception_handler(EngraphError)
    def refused(request: Request, problem: Exception) -> HTMLResponse:
        return page("problem", "", 404, title="That is not there", problem=str(problem))

    @app.get("/", response_class=HTMLResponse)
    def ask(q: Text = "", namespace: Text = "", granularity: Text = "", k: Number = "10", snapshot: Number = ""):
        form = _form(q, namespace, granularity, k) | {"snapshot": _number(snapshot)}
        asked, problem = _answered(lambda: explorer.ask(_query(form), form["snapshot"]), q)
        return page("ask", "/", form=form, asked=asked, problem=problem, **choices(form["snapshot"]))

    @app.get("/compare", response_class=HTMLResponse)
    def compare(
        q: Text = "", namespace: Text = "", granularity: Text = "", k: Number = "10", a: Number = "", b: Number = ""
    ):
        numbers = explorer.numbers()
        newest, older = (numbers[0], numbers[min(1, len(numbers) - 1)]) if numbers else (None, None)
        form = _form(q, namespace, granularity, k) | {"a": _number(a) or older, "b": _number(b) or newest}
        before, problem = _answered(lambda: explorer.ask(_query(form), form["a"]), q)
        after, again = _answered(lambda: explorer.ask(_query(form), form["b"]), q)
        found = _difference(before, after) if before and after else {}
        return page(
            "compare",
            "/compare",
            form=form,
            before=before,
            after=after,
            problem=problem or again,
            **found,
            **choices(None),
        )

    @app.get("/unit", response_class=HTMLResponse)
    def unit(id: Text, snapshot: Number = ""):
        number = _number(snapshot)
        return page("unit", "", view=explorer.unit(id, number), snapshot=number)

    @app.get("/entity", response_class=HTMLResponse)
    def entity(id: Text, snapshot: Number = ""):
        view = explorer.entity(id, _number(snapshot))
        chart = timeline_chart(view.timeline) if view.timeline.counts else None
        return page("entity", "", view=view, chart=chart, snapshot=_number(snapshot))

    @app.get("/entities", response_class=HTMLResponse)
    def entities(q: Text = ""):
        return page("entities", "/entities", q=q, entities=explorer.entities(q))

    @app.get("/favicon.ico", status_code=204)
    def icon() -> Response:
        return Response(status_code=204)

    @app.get("/report", response_class=HTMLResponse)
    def report():
        return HTMLResponse(explorer.report(dt.datetime.now(dt.UTC)), headers={"Cache-Control": "no-store"})

    return app


def serve_pages(explorer: Explorer, host: str, port: int, up: Callable[[], None]) -> None:
    """Serve until a signal; calls `up` once pages are answered."""

    class Server(uvicorn.Server):
        async def startup(self, sockets: list | None = None) -> None:
            await super().startup(sockets)
            up()

    config = uvicorn.Config(
        make_app(explorer), host, port, log_level="warning", access_log=False, timeout_graceful_shutdown=3
    )
    Server(config).run()


def _form(q: str, namespace: str, granularity: str, k: str) -> dict[str, Any]:
    return {"q": q, "namespace": namespace, "granularity": granularity, "k": min(max(int(k or 10), 1), 50)}


def _number(text: str) -> int | None:
    return int(text) if text else None


def _query(form: dict[str, Any]) -> recall.Query:
    names = (form["namespace"],) if form["namespace"] else None
    return recall.Query(form["q"], form["k"], names, form["granularity"] or None)


def _answered(ask: Callable[[], Asked], question: str) -> tuple[Asked | None, str | None]:
    """The answer, or what is wrong with the question; neither where none was asked."""
    if not question.strip():
        return None, None
    try:
        return ask(), None
    except UsageError as problem:
        return None, str(problem)


def _difference(before: Asked, after: Asked) -> dict[str, Any]:
    """How the second answer differs from the first, hit by hit. A unit keeps its id when its source changes its words."""
    was = {h.unit_id: h for h in before.answer.hits}
    now = {h.unit_id: h for h in after.answer.hits}
    changed = {id_ for id_ in was.keys() & now.keys() if was[id_].text != now[id_].text}
    return {
        "notes": {id_: _moved(was.get(id_), hit, id_ in changed) for id_, hit in now.items()},
        "gone_notes": {
            id_: "gone" if id_ not in now else "says something else now" if id_ in changed else "same" for id_ in was
        },
        "same": len(was.keys() & now.keys()) - len(changed),
        "changed": len(changed),
        "new": len(now.keys() - was.keys()),
        "gone": len(was.keys() - now.keys()),
    }


def _moved(was: recall.Hit | None, now: recall.Hit, changed: bool) -> str:
    """What happened to a hit between two answers."""
    if was is None:
        return "new"
    if changed:
        return "new words"
    if was.rank == now.rank:
        return "same place"
    return f"{'up' if now.rank < was.rank else 'down'} from {was.rank}"
