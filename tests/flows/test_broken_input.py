"""Broken files beside good ones: each breakage is a row of `quarantine`, everything else lands, nobody sees a traceback."""

from __future__ import annotations

import gzip
import json

import pytest

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
LONG = 100_000
BREAKAGES = (
    "truncated.json", "encoding.jsonl", "empty.json", "no-text.jsonl", "no-date.jsonl", "duplicates.jsonl", "x.json",
    "picture.json", "bomb.json.gz", "long.jsonl",
)  # fmt: skip


@pytest.fixture
def broken(corpus, say):
    """One good file and one of each breakage; most of them hold good records, too."""
    good = say("ann", "s1", range(6), day="2026-01-02")
    corpus.chat("good.jsonl", good)

    def mixed(name: str, breakage: dict | str) -> None:
        """A good message, the breakage, a good message."""
        rows = say(name, "s1", range(2), day="2026-01-02")
        lines = [
            json.dumps(rows[0]),
            breakage if isinstance(breakage, str) else json.dumps(breakage),
            json.dumps(rows[1]),
        ]
        corpus.text(f"{name}.jsonl", "\n".join(lines) + "\n")

    row = say("bad", "s1", range(1), day="2026-01-02")[0]
    whole = json.dumps(say("cut", "s1", range(3), day="2026-01-02"))
    corpus.text("truncated.json", whole[:-40])
    damaged = b'{"role": "user", "content": "\xff\xfe"}\n'
    corpus.text("encoding.jsonl", "").write_bytes(
        json.dumps(row).encode() + b"\n" + damaged + '{"role": "user", "content": "Gr\u00fc\u00dfe"}\n'.encode()
    )
    corpus.text("empty.json", "")
    mixed("no-text", row | {"message_id": "t", "text": "  "})
    mixed("no-date", row | {"message_id": "d", "said_at": "the day after never"})
    mixed("duplicates", say("duplicates", "s1", range(2), day="2026-01-02")[0] | {"text": "Same id, other words."})
    mixed("long", '{"text": "' + "x" * LONG)
    (corpus.folder / "x.json").mkdir()
    (corpus.folder / "picture.json").write_bytes(PNG)
    (corpus.folder / "bomb.json.gz").write_bytes(gzip.compress(b"[" + b" " * 400_000_000 + b"]", 9))
    return corpus


def rows(cli, store, query: str) -> list[dict]:
    ran = cli("sql", query, "--store", store, "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_every_breakage_is_a_row_and_everything_else_lands(broken, ingest, cli, listing, tmp_path):
    store = tmp_path / "store"
    ran = ingest(broken.folder, store=store, expect=3)
    assert "Traceback" not in ran.err
    refused = rows(
        cli, store, "SELECT source_ref, reason, payload_hash, payload_bytes, octet_length(payload) AS n FROM quarantine"
    )
    assert ran.json["quarantined"] == len(refused)
    for name in BREAKAGES:
        mine = [r for r in refused if r["source_ref"].startswith(name)]
        assert mine, f"{name} left no row in quarantine"
        assert all(len(r["reason"]) > 20 and len(r["payload_hash"]) == 32 for r in mine)
    assert not [r for r in refused if not r["source_ref"].startswith(BREAKAGES)]
    (long,) = [r for r in refused if r["source_ref"].startswith("long")]
    assert long["n"] == 65_536 and long["payload_bytes"] > LONG
    turns = rows(cli, store, "SELECT namespace, count(*) AS n FROM turns GROUP BY ALL")
    landed = {r["namespace"]: r["n"] for r in turns}
    assert landed["ann"] == 6
    assert landed["no-text"] == landed["duplicates"] == landed["long"] == 2
    assert landed["no-date"] >= 2 and landed["cut"] == 2
    assert landed["bad"] == 1 and rows(
        cli, store, "SELECT count(*) AS n FROM turns WHERE text LIKE '%Gr\u00fc\u00dfe%'"
    ) == [{"n": 1}]
    total = ", ".join(f"sum(rows_{what})::BIGINT AS {what}" for what in ("read", "new", "known", "quarantined"))
    (sums,) = rows(cli, store, f"SELECT {total} FROM sources")
    assert sums["read"] == sums["new"] + sums["known"] + sums["quarantined"]
    assert sums["new"] == sum(landed.values()) and sums["quarantined"] == len(refused)
    assert cli("doctor", "--store", store).code == 0

    before = listing(store)
    again = ingest(broken.folder, store=store, expect=3)
    assert again.json["quarantined"] == len(refused) and again.worked() == []
    assert listing(store) == before


def test_nothing_but_broken_input_is_no_failure_and_leaves_no_trace_of_data(corpus, ingest, cli, tmp_path):
    corpus.text("empty.json", "")
    (corpus.folder / "picture.json").write_bytes(PNG)
    ran = ingest(corpus.folder, store=tmp_path / "store", expect=3)
    assert ran.json["quarantined"] == 2 and "Traceback" not in ran.err
    found = rows(cli, tmp_path / "store", "SELECT source_ref FROM quarantine ORDER BY ALL")
    assert [r["source_ref"] for r in found] == ["empty.json", "picture.json"]
    assert ingest(corpus.folder, store=tmp_path / "store", expect=3).worked() == []


def test_a_source_that_is_not_there_is_a_wrong_argument(tmp_path, cli):
    ran = cli("ingest", tmp_path / "nowhere", "--store", tmp_path / "store", "--json")
    assert ran.code == 2 and "does not exist" in ran.err and ran.out == ""
    assert len(ran.err.strip().splitlines()) == 1
