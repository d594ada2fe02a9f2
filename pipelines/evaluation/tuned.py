"""Which labelled sets the constants of recall were chosen on, so that every report of figures on them says so.

Sets are known by the hash of the file's bytes, never by a name inside: this decides what a report says, nothing that is computed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

TUNED_ON = {
    "72ab25dca1325f5b343706004b8ddafc": "five conversations of LoCoMo",
    "df26510671f28b40d37b76c69942951a": "100 questions of MuSiQue",
}
NOTE = "the constants of recall were chosen on this set ({}): expect somewhat less on data that nobody has looked at"


def note_on(paths: Sequence[Path]) -> str | None:
    """A sentence for reports where any of the files was used for tuning."""
    used = [TUNED_ON[hash_] for path in paths if (hash_ := _hash(path)) in TUNED_ON]
    return NOTE.format(", ".join(used)) if used else None


def _hash(path: Path) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
