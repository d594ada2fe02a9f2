"""What `extract` sees of given extractions:

Those of a partition's sessions and documents that still rest on what they were made from.
"""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jobs.groups import documents_of
from jobs.run import Run
from pipelines.extraction.given import GIVEN
from schemas.fingerprint import fingerprint
from schemas.ids import record_hash
from schemas.manifest import Fileset

TABLE = "given_extractions"


def given_filesets(run: Run, bucket: int, day: dt.date) -> list[Fileset]:
    """What was given for a bucket up to a day."""
    return run.catalogue.select(TABLE, bucket=bucket, until=day)


def hashes_of_given(run: Run, bucket: int, day: dt.date) -> dict[str, str]:
    """Session or document -> the hash of all that was given for it up to a day; only those with something."""
    rows = run.lake.read(TABLE, given_filesets(run, bucket, day), columns=["group_id", "extraction_id", "extractor"])
    by_group: dict[str, list[tuple[str, str]]] = {}
    for row in rows.to_pylist():
        by_group.setdefault(row["group_id"], []).append((row["extraction_id"], row["extractor"]))
    return {group: fingerprint(GIVEN, sorted(found)) for group, found in by_group.items()}


def given_for(run: Run, bucket: int, day: dt.date, groups: list[str], leaves: pa.Table) -> pa.Table:
    """The rows for some sessions and documents whose sources still say what they were made from."""
    where = ds.field("group_id").isin(groups)
    rows = run.lake.read(TABLE, given_filesets(run, bucket, day), where=where)
    if not rows.num_rows:
        return rows
    documents = documents_of(run, bucket, day, groups)
    texts = dict(zip(documents["source_ref"].to_pylist(), documents["content_hash"].to_pylist(), strict=True))
    is_turn = pc.equal(leaves["granularity"], "turn")
    turns = leaves.filter(is_turn)
    texts |= dict(zip(turns["source_ref"].to_pylist(), turns["content_hash"].to_pylist(), strict=True))
    standing = [
        not refs or made_from == made_from_hash([texts.get(ref) for ref in refs])
        for refs, made_from in zip(rows["refs"].to_pylist(), rows["made_from"].to_pylist(), strict=True)
    ]
    return rows.filter(pa.array(standing, pa.bool_()))


def made_from_hash(content_hashes: list[str | None]) -> str:
    """One hash for the texts an extraction was made from."""
    return record_hash("made from", *content_hashes)


def identity_of_given(rows: pa.Table) -> list[str]:
    """What decides the fingerprint of a partition: which extractions it holds and who gave them."""
    pairs = zip(rows["extraction_id"].to_pylist(), rows["extractor"].to_pylist(), strict=True)
    return [f"{id_} {who}" for id_, who in pairs]
