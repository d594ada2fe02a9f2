"""The command line, killed at its N-th durable write: `kill_after.py N [--after] [--writes FILE] -- ingest SOURCE --store S`.

A write is `os.replace`, `os.link`, `os.rename` or opening a file for writing, where it touches the store's folder. At the N-th the
process sends itself SIGKILL, just before it or, with `--after`, just after; N = 0 kills nothing. `--writes FILE` gets the list of
all writes. Only this process is patched, the product knows nothing of it.

`kill_after.py --serve` imports everything once and answers requests on stdin, one JSON a line, each in a forked child: the same
command line without the seconds that importing takes. The parent computes nothing, so that no thread pool is lost in the fork.
A request may also call a function of `flows.upkeep`; then removing files counts as writing.
"""

from __future__ import annotations

import argparse
import builtins
import datetime as dt
import importlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from flows import upkeep
from flows.build import Surroundings
from flows.command_line import run
from schemas.settings import Retention

PRELOADED = (
    "torch", "transformers.models.bert.modeling_bert", "safetensors.torch", "pipelines.embedding.forward", "duckdb",
    "flows.ingest", "jobs.store.reader", "jobs.check_health", "rich.progress",
)  # fmt: skip


class Writes:
    """Counts the writes below `root`; kills this process at number `kill_at`."""

    def __init__(self, root: str, kill_at: int, after: bool) -> None:
        self.root, self.kill_at, self.after = str(Path(root).absolute()) + "/", kill_at, after
        self.seen: list[list[str]] = []

    def install(self) -> None:
        """Replace the four ways to write. `Path.replace`, `Path.rename` and `Path.open` go through them."""
        os.replace = self._counted(os.replace, "replace", 1)
        os.rename = self._counted(os.rename, "rename", 1)
        os.link = self._counted(os.link, "link", 1)
        builtins.open = io.open = self._counted_open(io.open)

    def install_removals(self) -> None:
        """Count what removes files too."""
        os.remove = self._counted(os.remove, "remove", 0)
        os.unlink = self._counted(os.unlink, "unlink", 0)
        shutil.rmtree = self._counted(shutil.rmtree, "rmtree", 0)

    def _counted(self, original, name: str, target: int):
        def write(*args, **kwargs):
            if not self._count(name, args[target]):
                return original(*args, **kwargs)
            self._die_at(when_after=False)
            done = original(*args, **kwargs)
            self._die_at(when_after=True)
            return done

        return write

    def _counted_open(self, original):
        def opened(file, mode="r", *args, **kwargs):
            if not set(mode) & set("wax+") or not self._count("open", file):
                return original(file, mode, *args, **kwargs)
            self._die_at(when_after=False)
            done = original(file, mode, *args, **kwargs)
            self._die_at(when_after=True)
            return done

        return opened

    def _count(self, name: str, path) -> bool:
        if isinstance(path, int):
            return False
        full = str(Path(os.fspath(path)).absolute())
        if not full.startswith(self.root):
            return False
        self.seen.append([name, full.removeprefix(self.root)])
        return True

    def _die_at(self, *, when_after: bool) -> None:
        if len(self.seen) == self.kill_at and self.after == when_after:
            os.kill(os.getpid(), signal.SIGKILL)


def store_of(arguments: list[str]) -> str:
    """The folder that `--store` names."""
    return arguments[arguments.index("--store") + 1]


def run_counted(arguments: list[str], kill_at: int, after: bool, listing: str | None) -> int:
    """Run a command with its writes counted; returns its exit code, if it lives."""
    writes = Writes(store_of(arguments), kill_at, after)
    writes.install()
    code = run(arguments)
    if listing:
        Path(listing).write_text(json.dumps(writes.seen))
    return code


def call_counted(call: dict, kill_at: int, after: bool, listing: str | None) -> int:
    """Call a function of `flows.upkeep` and print what it returns, with its writes and removals counted."""
    writes = Writes(call["store"], kill_at, after)
    writes.install()
    writes.install_removals()
    given = dict(call["arguments"])
    if "rules" in given:
        given["rules"] = [Retention(**rule) for rule in given["rules"]]
    around = Surroundings(store=call["store"], now=dt.datetime.fromisoformat(call["now"]))
    print(json.dumps(getattr(upkeep, call["name"])(**given, around=around), default=str))
    if listing:
        Path(listing).write_text(json.dumps(writes.seen))
    return 0


def serve() -> None:
    """Answer requests `{arguments, environment, kill_at, after, listing}` with `{code, out, err}` until stdin ends."""
    for module in PRELOADED:
        importlib.import_module(module)
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if child == 0:
                _answer(request, out.fileno(), err.fileno())
            _, status = os.waitpid(child, 0)
            texts = [(f.seek(0), f.read().decode())[1] for f in (out, err)]
        answer = {"code": os.waitstatus_to_exitcode(status), "out": texts[0], "err": texts[1]}
        print(json.dumps(answer), flush=True)


def _answer(request: dict, out: int, err: int) -> None:
    """The child: never returns."""
    code = 70
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.environ.update(request["environment"])
        if request.get("call"):
            code = call_counted(request["call"], request["kill_at"], request["after"], request["listing"])
        elif request["listing"] or request["kill_at"]:
            code = run_counted(request["arguments"], request["kill_at"], request["after"], request["listing"])
        else:
            code = run(request["arguments"])
        sys.stdout.flush()
    except Exception:
        traceback.print_exc()
        code = 1
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kill_at", type=int, nargs="?", default=0)
    parser.add_argument("--after", action="store_true")
    parser.add_argument("--writes")
    parser.add_argument("--serve", action="store_true")
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    chosen = parser.parse_args(sys.argv[1:at])
    if chosen.serve:
        serve()
        return 0
    return run_counted(sys.argv[at + 1 :], chosen.kill_at, chosen.after, chosen.writes)


if __name__ == "__main__":
    sys.exit(main())
