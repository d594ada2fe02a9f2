"""Settings: `engraph.toml` beside the store or `--config FILE`, overridden by ENGRAPH_ variables (`__` between levels).

Only what a machine or a team decides; what decides results (encoder, extractor) is recorded in every snapshot.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from schemas.errors import UsageError
from schemas.notify import Notify


class Corpus(BaseModel):
    """One corpus that nightly runs take: where its files lie and how to read them."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(
        min_length=1, description="path (relative to the settings file), glob or URL; {day} stands for YYYY-MM-DD"
    )
    kind: Literal["auto", "conversation", "document"] = Field(default="auto", description="what the files hold")
    namespace: str | None = Field(
        default=None, description="of everything read; default the user a record names, else the name of the corpus"
    )
    first_day: dt.date | None = Field(default=None, description="days before it are never taken")
    timezone: str = Field(default="UTC", description="where a day ends; a nightly run takes days that have ended")

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"{name!r} is no time zone: write it like Europe/Berlin") from None
        return name

    def today(self, now: dt.datetime) -> dt.date:
        """The day that has not ended yet where the corpus comes from."""
        return now.astimezone(ZoneInfo(self.timezone)).date()


class Retention(BaseModel):
    """How long units of some namespaces and granularities stay in the index."""

    model_config = ConfigDict(extra="forbid")

    namespace: str = Field(default="*", description="name or shell pattern")
    granularity: list[str] = Field(default=[], description="none means all")
    days: int = Field(ge=1, description="units whose event_time is older are archived")


class LabelledSet(BaseModel):
    """One labelled set that nightly evaluations ask, and the floor under its metric."""

    model_config = ConfigDict(extra="forbid")

    dataset: Literal["locomo", "longmemeval", "multihop", "jsonl"]
    paths: list[str] = Field(min_length=1)
    metric: str = Field(default="recall@10", description="the metric that the floor is for")
    floor: float = Field(default=0.0, ge=0, le=1, description="below it the flow fails and an event is sent")


class SparkSettings(BaseModel):
    """Where Spark runs, for the profile `cluster`."""

    master: str = Field(default="local[*]", description="local[N], spark://host:port, k8s://..., yarn")
    driver_memory: str = Field(default="1g", description="memory of the driver's JVM")
    executor_memory: str = Field(
        default="1g", description="memory of each executor's JVM, its Python workers not counted"
    )
    patience_s: float = Field(
        default=25.0,
        gt=0,
        description="seconds to wait for the master to take the driver, and then for its first worker",
    )
    shuffle_partitions: int = Field(default=32, ge=1, description="tasks after a shuffle; a few per core")
    checkpoint: str | None = Field(
        default=None, description="folder that all executors see, for joins that must outlive one"
    )
    conf: dict[str, str] = Field(default_factory=dict, description="any other Spark setting by its name")
    verbose: bool = Field(default=False, description="let Spark write its warnings to stderr")


class RaySettings(BaseModel):
    """Where Ray runs, for the profile `cluster`. A token comes from RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, never from here."""

    address: str | None = Field(
        default=None, description="host:port of a head node, auto for one on this machine; none starts one"
    )
    object_store_bytes: int = Field(
        default=200_000_000, ge=80_000_000, description="object store of a Ray started here"
    )
    cpus_per_worker: float = Field(default=1.0, gt=0, description="cores that one task or encoder takes")
    gpus_per_encoder: float = Field(
        default=1.0, gt=0, description="share of a GPU that one encoder takes, where there is one"
    )


class Prices(BaseModel):
    """What an hour costs, for `ingest --plan`."""

    usd_per_cpu_hour: float = Field(default=0.04, ge=0)
    usd_per_gpu_hour: float = Field(default=2.5, ge=0)


class LlmSettings(BaseModel):
    """An OpenAI-compatible endpoint; without `base_url` no language model is asked."""

    base_url: str | None = Field(default=None, description="up to and with /v1")
    model: str = Field(default="", description="as the endpoint names it")
    api_key: SecretStr | None = Field(default=None, description="better given as ENGRAPH_LLM__API_KEY than in a file")


class Settings(BaseSettings):
    """All settings with their defaults."""

    model_config = SettingsConfigDict(env_prefix="ENGRAPH_", env_nested_delimiter="__", extra="ignore")

    store: str = Field(default="./store", description="folder or URL of the store")
    encoder: str | None = Field(
        default=None, description="sentence-transformers model, name or path; default all-MiniLM-L6-v2"
    )
    reranker: str | None = Field(
        default=None,
        description="cross-encoder of sentence-transformers, name or path, that looks at the best hits again",
    )
    llm: LlmSettings = LlmSettings()
    buckets: int = Field(default=16, ge=1, le=4096, description="partitions by namespace, fixed when a store is made")
    workers: int | None = Field(default=None, ge=1, description="processes that embed; default one per core")
    lock_wait_s: float = Field(default=600.0, ge=0, description="how long a writer waits for another writer")
    corpora: dict[str, Corpus] = Field(default_factory=dict)
    retention: list[Retention] = Field(default_factory=list)
    evaluations: dict[str, LabelledSet] = Field(default_factory=dict)
    quarantine_limit: float = Field(
        default=0.2, ge=0, le=1, description="share of a day's records refused from which on somebody is told"
    )
    spark: SparkSettings = SparkSettings()
    ray: RaySettings = RaySettings()
    prices: Prices = Prices()
    notify: Notify = Notify()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        toml = TomlConfigSettingsSource(settings_cls, toml_file=settings_cls.model_config.get("toml_file"))
        return init_settings, env_settings, toml


def load_settings(store: str | None, config: Path | None) -> Settings:
    """Settings for a command: `--config`, else `engraph.toml` in the store's parent folder when it is there.

    Raises:
        UsageError: the file is missing or holds something that is no setting's value.
    """
    if config is not None and not config.exists():
        raise UsageError(f"no settings file {config}: check --config")
    file = config
    try:
        if config is None:
            chosen = store or Settings().store
            file = None if "://" in chosen else Path(chosen).absolute().parent / "engraph.toml"

        class FromFile(Settings):
            model_config = SettingsConfigDict(Settings.model_config, toml_file=file)  # type: ignore[misc]

        return _beside(FromFile(store=store) if store else FromFile(), file)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise UsageError(f"setting {where}: {first['msg']} (in {file} or ENGRAPH_ variables)") from None
    except SettingsError as problem:
        raise UsageError(f"{problem} (an ENGRAPH_ variable: give JSON, or one variable per level with __)") from None
    except tomllib.TOMLDecodeError as problem:
        raise UsageError(f"{file} is not TOML: {problem}") from None


def _beside(settings: Settings, file: Path | None) -> Settings:
    """Relative sources and labelled sets are relative to the settings file: workers run in folders of their own."""
    if file is None:
        return settings
    folder = file.absolute().parent
    for corpus in settings.corpora.values():
        corpus.source = _absolute(corpus.source, folder)
    for labelled in settings.evaluations.values():
        labelled.paths = [_absolute(path, folder) for path in labelled.paths]
    return settings


def _absolute(path: str, folder: Path) -> str:
    return path if "://" in path else str(folder / path)
