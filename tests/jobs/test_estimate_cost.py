"""What `ingest --plan` says beside what an ingest writes."""

import csv
import gzip
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.benchmarks.made_up import conversation_lines
from jobs.estimate_cost import estimate
from jobs.sample_sources import SMALLEST, take_sample
from jobs.sample_stages import Texts
from pipelines.readers import ReadParams, find_sources
from pipelines.segmentation.units import no_token_count
from schemas.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_CORPUS = ROOT / "tests" / "sample_corpus"
TURNS = 2000
# an ingest of `conversation_lines(2000)` wrote these rows; the corpus is the same every time
WRITTEN = {"turns": 2000, "memory_units": 5206, "embeddings": 5976}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("corpus") / "talk.jsonl"
    file.write_text("".join(line + "\n" for line in conversation_lines(TURNS)))
    return file


@pytest.fixture(scope="module")
def estimated(corpus):
    """An estimate from less than a third of the corpus."""
    return estimate([str(corpus)], workers=1, device="cpu", sample_bytes=SMALLEST, usd_per_cpu_hour=0.5)


def near(found: float, true: float, share: float = 0.2) -> bool:
    return abs(found - true) <= share * true


@pytest.mark.soak
def test_the_sample_corpus_is_estimated_as_an_ingest_writes_it(tmp_path):
    command = [sys.executable, "-c", "from flows.command_line import main; main()", "ingest", str(SAMPLE_CORPUS)]
    command += ["--store", str(tmp_path / "store"), "--json", "--now", "2026-03-01"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    rows = json.loads(ran.stdout)["rows"]
    found = estimate([str(SAMPLE_CORPUS)], workers=2, device="cpu")
    assert found.records == rows["turns"] + rows["documents"]
    assert near(found.units, rows["memory_units"], 0.05)
    assert near(found.texts, rows["embeddings"], 0.1)
    assert found.sampled["share"] == 1 and found.usd is None


def test_records_and_units_are_estimated_from_a_third_of_a_corpus(estimated):
    assert estimated.sampled["share"] < 0.35
    assert near(estimated.records, WRITTEN["turns"])
    assert near(estimated.units, WRITTEN["memory_units"])
    assert near(estimated.texts, WRITTEN["embeddings"])
    for name, table in (("records", "turns"), ("units", "memory_units"), ("texts", "embeddings")):
        low, high = estimated.ranges[name]
        assert low < WRITTEN[table] < high


def test_the_parts_of_an_estimate_add_up(estimated):
    assert sum(estimated.seconds_by_stage.values()) == pytest.approx(estimated.seconds)
    assert estimated.usd == pytest.approx(estimated.seconds / 3600 * 0.5)
    assert estimated.usd_per_million_units == pytest.approx(estimated.usd / estimated.units * 1e6)
    low, high = estimated.ranges["seconds"]
    assert 0 < low < estimated.seconds < high
    assert estimated.device == "cpu" and 0.5 < estimated.utilisation <= 1 and estimated.texts_per_second > 1
    assert set(estimated.seconds_by_stage) > {"read", "segment", "embed", "extract", "embed_derived", "link", "index"}


def test_it_says_what_was_sampled_and_is_json(estimated):
    told = json.loads(json.dumps(estimated.to_json()))
    assert told["files"] == 1 and told["sampled"]["bytes"] < told["bytes"]
    assert any("sampled: .jsonl" in line for line in told["assumptions"])
    assert any("store is empty" in line for line in told["assumptions"])


def test_nothing_is_written_beside_the_sources(corpus, estimated):
    assert [f.name for f in corpus.parent.iterdir()] == ["talk.jsonl"]


def rows(n: int) -> list[dict]:
    return [json.loads(line) for line in conversation_lines(n)]


def as_csv(folder: Path) -> None:
    found = rows(TURNS)
    with (folder / "talk.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, found[0])
        writer.writeheader()
        writer.writerows(found)


def as_parquet(folder: Path) -> None:
    pq.write_table(pa.Table.from_pylist(rows(TURNS)), folder / "talk.parquet", compression="none", use_dictionary=False)


def as_array(folder: Path) -> None:
    (folder / "talk.json").write_text(json.dumps(rows(TURNS)))


def as_gzip(folder: Path) -> None:
    with gzip.open(folder / "talk.jsonl.gz", "wt") as file:
        file.writelines(line + "\n" for line in conversation_lines(3 * TURNS))


def as_tar(folder: Path) -> None:
    lines = list(conversation_lines(TURNS))
    with tarfile.open(folder / "talk.tar", "w") as archive:
        for start in range(0, TURNS, 100):
            part = folder / f"{start}.jsonl"
            part.write_text("\n".join(lines[start : start + 100]))
            archive.add(part, part.name)
            part.unlink()


def as_documents(folder: Path) -> None:
    for number in range(60):
        (folder / f"{number:02d}.md").write_text(f"# Page {number}\n\n" + f"Word{number} is here. " * (200 + number))


FORMS = [
    (as_csv, TURNS),
    (as_parquet, TURNS),
    (as_array, TURNS),
    (as_gzip, 3 * TURNS),
    (as_tar, TURNS),
    (as_documents, 60),
]


@pytest.mark.parametrize(("write", "records"), FORMS, ids=lambda found: getattr(found, "__name__", None))
def test_a_sample_of_any_form_stands_for_its_records(tmp_path, write, records):
    write(tmp_path)
    (stratum,) = take_sample(find_sources([str(tmp_path)]), ReadParams(), SMALLEST // 2)
    assert stratum.weight > 1.1
    assert near(len(stratum.records) * stratum.weight, records, 0.15)
    assert stratum.refused == 0


def test_what_cannot_be_read_counts_as_refused_and_breaks_nothing(tmp_path):
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))
    (tmp_path / "empty.json").write_bytes(b"")
    (tmp_path / "note.txt").write_text("The boat lies in the harbour of Oslo.")
    found = estimate([str(tmp_path)], workers=1, device="cpu")
    assert found.files == 3 and found.records == 3 and 1 <= found.units < 12


def test_sources_that_do_not_exist_are_named(tmp_path):
    with pytest.raises(UsageError, match="nowhere"):
        estimate([str(tmp_path / "nowhere")])


def test_repeated_texts_grow_more_slowly_than_new_ones():
    new = Texts.of([f"text {i}" for i in range(100)], no_token_count)
    repeated = Texts.of([f"text {i % 10}" for i in range(100)], no_token_count)
    assert new.beta == 1 and repeated.beta == 0
    assert new.grown(8) == 800 and repeated.grown(8) == 10
    assert Texts.of(["a", "b"], no_token_count, Texts.of(["a"], no_token_count)).distinct.keys() == {"b"}
