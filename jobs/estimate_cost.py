"""What an ingest will take before it is started: units, texts, tokens, seconds, money. Writes to no store.

A sample of the files (`sample_sources`) goes through the stages' own functions (`sample_stages`); its counts are multiplied by
what the sample stands for, distinct texts by Heaps' law. The real encoder embeds some of the sample's texts here
(`calibrate_encoder`), which gives its rate. What a store adds (versions, Parquet, checks), linking and indexing are constants.
Cost: a second a MiB of sample, the model's start, a few seconds of embedding. The one thing to know: it estimates an ingest into an
empty store; what a store already holds costs less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from jobs.calibrate_encoder import Rate, calibrate
from jobs.extrapolate import Span, Totals, extrapolate
from jobs.sample_sources import SAMPLE_BYTES, Stratum, take_sample
from jobs.sample_stages import run_stages
from pipelines.cores import usable_cores
from pipelines.embedding import load_tokenizer, resolve_encoder
from pipelines.readers import ReadParams, SourceFile, find_sources

# Measured on 2026-11-21 on made-up conversations of 2,000 and 6,000 turns in 16 buckets, on 2 cores of an x86 server with AVX-512
# bf16 and a local SSD: a job against its pure function, seconds a row, seconds a (day, bucket) whatever its size.
STORE_FACTOR = {"read": 1.6, "segment": 1.6, "extract": 1.3, "resolve": 1.5}
ROW_SECONDS = {"bound": 110e-6, "link": 260e-6, "index": 45e-6}  # of a turn, a unit, a unit
PARTITION_SECONDS = {"segment": 0.018, "bound": 0.016, "extract": 0.05, "resolve": 0.012, "link": 0.02, "index": 0.02}
PRODUCTS_A_SECOND = 2e10  # multiply-adds of similarity links, two cores, f32
START_SECONDS = 5.0  # interpreter, imports, lock
PUBLISH_SECONDS = 0.2
FASTER, SLOWER = 0.7, 1.6  # how far the constants may be off with another disk and processor


@dataclass(frozen=True)
class Estimate:
    """The answer. `ranges`: (low, high) of what is uncertain. `tokens`: what the encoder reads, special tokens included.

    `utilisation` is text's share of the tokens that are computed; usd is None where no price was given.
    """

    files: int
    bytes: int
    records: int
    units: int
    texts: int
    tokens: int
    seconds_by_stage: dict[str, float]
    seconds: float
    texts_per_second: float
    utilisation: float
    device: str
    workers: int
    usd_per_million_units: float | None
    usd: float | None
    ranges: dict[str, tuple[float, float]]
    sampled: dict[str, float]
    assumptions: list[str]

    def to_json(self) -> dict:
        """One JSON object, numbers rounded to what they are worth."""
        found = asdict(self)
        found["seconds_by_stage"] = {stage: round(s, 1) for stage, s in self.seconds_by_stage.items()}
        found["ranges"] = {name: [round(low, 2), round(high, 2)] for name, (low, high) in self.ranges.items()}
        for name, digits in (("seconds", 1), ("texts_per_second", 1), ("usd", 4), ("usd_per_million_units", 2)):
            found[name] = None if found[name] is None else round(found[name], digits)
        return found | {"utilisation": round(self.utilisation, 3)}


def estimate(
    sources: Sequence[str],
    *,
    read: ReadParams | None = None,
    encoder: str | None = None,
    workers: int | None = None,
    device: str = "auto",
    buckets: int = 16,
    sample_bytes: int = SAMPLE_BYTES,
    usd_per_cpu_hour: float | None = None,
    usd_per_gpu_hour: float | None = None,
) -> Estimate:
    """What `engraph ingest SOURCES` into an empty store would take here with `workers` cores (default: those there are).

    usd_per_cpu_hour is the price of one core, usd_per_gpu_hour that of one card, both paid as long as the ingest lasts. Raises
    `UsageError` for sources or a model that do not exist.
    """
    files, id = find_sources(sources), resolve_encoder(encoder)
    strata, tokens = take_sample(files, read or ReadParams(), sample_bytes), load_tokenizer(id)
    outcomes = [run_stages(stratum.records, tokens.count_tokens) for stratum in strata]
    workers = workers or usable_cores()
    rate = calibrate(id, outcomes, workers=workers, device=device)
    totals = Totals()
    for stratum, outcome in zip(strata, outcomes, strict=True):
        extrapolate(totals, stratum, outcome, rate, tokens)
    seconds = _seconds(totals, rate, _partitions(files, totals, buckets))
    hourly = _hourly(rate, workers, usd_per_cpu_hour, usd_per_gpu_hour)
    return _answer(strata, totals, rate, seconds, workers, hourly)


def _partitions(files: Sequence[SourceFile], totals: Totals, buckets: int) -> int:
    """(day, bucket) pairs that will have records, at most."""
    return len({f.day for f in files}) * min(buckets, max(1, round(totals.namespaces)))


def _seconds(totals: Totals, rate: Rate, partitions: int) -> dict[str, Span]:
    """Seconds of every stage, in the order in which they run."""
    rows = {"bound": totals.turns, "link": totals.units.value, "index": totals.units.value}
    found = {"start": Span(START_SECONDS, START_SECONDS * FASTER, START_SECONDS * SLOWER)}
    for stage in ("read", "segment", "embed", "bound", "extract", "resolve", "embed_derived", "link", "index"):
        if stage in totals.tokens:
            found[stage] = _embedding(totals.tokens[stage], rate)
            continue
        value = totals.pure.get(stage, 0.0) * STORE_FACTOR.get(stage, 0.0) + ROW_SECONDS.get(stage, 0.0) * rows.get(
            stage, 0.0
        )
        value += partitions * PARTITION_SECONDS.get(stage, 0.0)
        value += totals.products / PRODUCTS_A_SECOND if stage == "link" else 0.0
        found[stage] = Span(value, value * FASTER, value * SLOWER)
    load = rate.load_seconds
    found["embed"] = Span(*(getattr(found["embed"], end) + load for end in ("value", "low", "high")))
    found["publish"] = Span(PUBLISH_SECONDS, PUBLISH_SECONDS * FASTER, PUBLISH_SECONDS * SLOWER)
    return found


def _embedding(tokens: Span, rate: Rate) -> Span:
    best = rate.tokens_per_second / 0.85
    return Span(tokens.value / rate.tokens_per_second, tokens.low / best, tokens.high / rate.slowest)


def _hourly(rate: Rate, workers: int, cpu: float | None, gpu: float | None) -> float | None:
    """Dollars an hour of everything that the ingest holds; None where nothing has a price."""
    paid = [cpu * workers] if cpu is not None else []
    if rate.device != "cpu" and gpu is not None:
        paid.append(gpu)
    return sum(paid) if paid else None


def _answer(
    strata: Sequence[Stratum],
    totals: Totals,
    rate: Rate,
    seconds: dict[str, Span],
    workers: int,
    hourly: float | None,
) -> Estimate:
    ends = {end: sum(getattr(span, end) for span in seconds.values()) for end in ("value", "low", "high")}
    texts, tokens = (
        Span(*(sum(getattr(s, e) for s in part.values()) for e in ends)) for part in (totals.texts, totals.tokens)
    )
    dollars = {end: None if hourly is None else s / 3600 * hourly for end, s in ends.items()}
    embedding = seconds["embed"].value + seconds["embed_derived"].value - rate.load_seconds
    ranges = {
        "records": totals.records.pair(),
        "units": totals.units.pair(),
        "texts": texts.pair(),
        "tokens": tokens.pair(),
    }
    ranges["seconds"] = ends["low"], ends["high"]
    if dollars["low"] is not None and dollars["high"] is not None:
        ranges["usd"] = dollars["low"], dollars["high"]
    usd, units = dollars["value"], round(totals.units.value)
    return Estimate(
        files=sum(s.files for s in strata),
        bytes=sum(s.bytes for s in strata),
        records=round(totals.records.value),
        units=units,
        texts=round(texts.value),
        tokens=round(tokens.value),
        seconds_by_stage={stage: span.value for stage, span in seconds.items()},
        seconds=ends["value"],
        texts_per_second=texts.value / embedding if embedding else 0.0,
        utilisation=rate.utilisation,
        device=rate.device,
        workers=workers,
        usd_per_million_units=None if usd is None or not units else usd / units * 1e6,
        usd=usd,
        ranges=ranges,
        sampled=_sampled(strata),
        assumptions=_assumptions(strata, rate, workers),
    )


def _sampled(strata: Sequence[Stratum]) -> dict[str, float]:
    read, total = sum(s.read for s in strata), sum(s.bytes for s in strata)
    return {
        "files": sum(s.sampled for s in strata),
        "bytes": read,
        "records": sum(len(s.records) + s.refused for s in strata),
        "share": round(read / total, 4) if total else 1.0,
    }


def _assumptions(strata: Sequence[Stratum], rate: Rate, workers: int) -> list[str]:
    """What was looked at and what was concluded, in words."""
    told = ["the store is empty: texts and files that it holds already cost less"]
    partial = [s for s in strata if s.weight > 1.001]
    if partial:
        kinds = ", ".join(f"{s.kind or 'no suffix'} {1 / s.weight:.1%} of {s.bytes:,} bytes" for s in partial)
        told.append(f"sampled: {kinds}; records and units grow with bytes, distinct texts by Heaps' law")
    else:
        told.append("every file was read whole: records, units and texts are counted, segments are estimated")
    if unread := [s for s in strata if not s.read and s.bytes]:
        kinds = ", ".join(f"{s.files} {s.kind or 'without suffix'}" for s in unread)
        told.append(
            f"nothing could be sampled of {kinds} files: each counts as one record, what becomes of it is left out"
        )
    told.append(
        f"{rate.tokens_per_second:,.0f} tokens/s were measured on {rate.device}; the range allows the encoder 15 % either way"
    )
    if workers > usable_cores() and rate.device == "cpu":
        told.append(
            f"{workers} workers are taken to be {workers / usable_cores():.1f} times the {usable_cores()} cores here"
        )
    told.append(
        "all stages but embedding run on one core; store, links and index are constants of 2026-11-21 on two x86 cores, "
        f"{FASTER} to {SLOWER} times that elsewhere"
    )
    return told
