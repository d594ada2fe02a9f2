"""The suppression list: what was forgotten must not come back by itself. Checked for every record while files are read.

It is a folder of files that are never changed: `suppression/key`, made once, and one file for each erasure, with keyed hashes
(BLAKE2b) of what to refuse. So the list tells no names, but whoever has the store and a name can tell whether it is on the list.
A namespace is refused by its name. A source is refused by its name, by the bytes of its file under any name, and by the ids of its
records in any file.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from jobs.store.lake import Lake
from pipelines.readers import Refused
from schemas.ids import qualify

FOLDER = "suppression"
KEY = f"{FOLDER}/key"
FORGOTTEN = "(forgotten)"


@dataclass(frozen=True)
class Suppressed:
    """The list as readers use it: keyed hash -> the day it was forgotten. Empty for a store that never forgot anything."""

    key: bytes = b""
    hashes: Mapping[str, str] = field(default_factory=dict)

    def hash(self, kind: str, name: str) -> str:
        """The keyed hash of a name; names of different kinds never meet."""
        text = f"{kind}\x1f{name}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self.key, digest_size=16).hexdigest()

    def since(self, kind: str, name: str) -> str | None:
        """The day on which something was forgotten, or None."""
        return self.hashes.get(self.hash(kind, name)) if self.hashes else None

    def source(self, delivery: dict, bytes_hash: str) -> str | None:
        """When a file was forgotten, by its name in its corpus or by its bytes."""
        name = qualify(delivery["namespace"], delivery["source_ref"])
        return self.since("source", name) or self.since("bytes", bytes_hash)

    def record(self, row: dict) -> str | None:
        """When a record was forgotten, by its namespace or its id. `row` is one of turns, documents or quarantine."""
        if not self.hashes:
            return None
        id_ = row.get("turn_id") or row.get("document_id")
        return self.since("namespace", row["namespace"]) or (self.since("record", id_) if id_ else None)

    def refusal(self, row: dict, on: str) -> Refused:
        """What `quarantine` gets of a forgotten record: that there was one, and no more."""
        told = self.hash("refused", f"{row['source_ref']}\x1f{row.get('record_hash') or row.get('payload_hash')}")
        return Refused(
            namespace=FORGOTTEN,
            source_ref=f"{FORGOTTEN}/{told}",
            reason=f"forgotten on {on}: it is on the suppression list; deliver it under another name if it is meant to return",
            payload=b"",
            payload_hash=told,
            payload_bytes=0,
        )

    def hidden(self, delivery_id: str) -> str:
        """The id of a delivery of which only forgotten records came."""
        return self.hash("delivery", delivery_id) if self.hashes else delivery_id

    def delivery(self, row: dict) -> dict:
        """What `sources` says of a file of which only forgotten records came."""
        told = self.hidden(row["delivery_id"])
        return {
            "delivery_id": told,
            "source_ref": f"{FORGOTTEN}/{told}",
            "namespace": FORGOTTEN,
            "content_hash": self.hash("bytes", row["content_hash"]),
        }


def load(lake: Lake) -> Suppressed:
    """The store's list as it is now."""
    names = [name for name in lake.names(FOLDER) if name.endswith(".json")]
    if not names:
        return Suppressed()
    hashes: dict[str, str] = {}
    for name in names:
        entry = json.loads(lake.read_bytes(f"{FOLDER}/{name}"))
        for hash_ in entry["hashes"]:
            hashes.setdefault(hash_, entry["on"])
    return Suppressed(lake.read_bytes(KEY), hashes)


def make_key(lake: Lake) -> bytes:
    """The store's key, made at the first call."""
    lake.create_exclusive(KEY, secrets.token_hex(32).encode())
    return lake.read_bytes(KEY)


def subject(lake: Lake, what: str, name: str) -> str | None:
    """What stands for a subject where names must not be kept; None in a store that never forgot anything."""
    key = lake.find_bytes(KEY)
    return None if key is None else Suppressed(key).hash("subject", f"{what}\x1f{name}")


def add(lake: Lake, subject: str, names: Iterable[tuple[str, str]], on: dt.date) -> None:
    """Refuse (kind, name) from now on. The same erasure begun again adds nothing."""
    held = Suppressed(make_key(lake), load(lake).hashes)
    hashes = sorted({held.hash(kind, name) for kind, name in names} - held.hashes.keys())
    if hashes:
        entry = json.dumps({"on": on.isoformat(), "hashes": hashes}).encode()
        stamp = hashlib.blake2b(entry, digest_size=8).hexdigest()
        lake.create_exclusive(f"{FOLDER}/{subject}-{stamp}.json", entry)
