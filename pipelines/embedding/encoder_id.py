"""Which encoder made a vector: model and precision. Two precisions are two encoders, never mixed in one index.

bf16 is 2 to 3 times as fast as f32 where the processor multiplies it in hardware (AVX512-BF16, AMX, Arm BF16, CUDA) and
slow elsewhere, so a spec without a precision is resolved by capability: the same machine always gives the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from schemas.errors import UsageError

Precision = Literal["bf16", "f32"]
DEFAULT_MODEL = "all-MiniLM-L6-v2"
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # x86, x86, Arm: names as Linux spells them


@dataclass(frozen=True)
class EncoderId:
    """Identity of an encoder; `model` is a hub name ("BAAI/bge-small-en-v1.5") or the path of a model folder."""

    model: str
    precision: Precision

    @property
    def name(self) -> str:
        """`all-MiniLM-L6-v2@bf16`, the value of the column `encoder`."""
        return f"{self.model}@{self.precision}"

    @classmethod
    def parse(cls, name: str) -> EncoderId:
        """The inverse of `name`. Raises `UsageError` when the precision is missing or unknown."""
        model, at, precision = name.rpartition("@")
        if not at or not model or precision not in get_args(Precision):
            raise UsageError(f"encoder {name!r} is not of the form model@bf16 or model@f32")
        # One model, one name: else the same vectors would be computed and kept twice.
        return cls(model.removeprefix("sentence-transformers/"), cast(Precision, precision))


def resolve_encoder(spec: str | None) -> EncoderId:
    """The encoder that `spec` names: None is the default model, a missing precision is chosen by capability.

    `spec`: `all-MiniLM-L6-v2`, `BAAI/bge-small-en-v1.5@f32`, a folder. Raises `UsageError` for an unknown precision.
    """
    spec = spec or DEFAULT_MODEL
    if "@" in spec and not Path(spec).is_dir():
        return EncoderId.parse(spec)
    return EncoderId.parse(f"{spec}@{'bf16' if computes_bf16() else 'f32'}")


def computes_bf16() -> bool:
    """Whether bf16 products are done in hardware here: by the processor's flags, else by a CUDA device."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and BF16_FLAGS & set(cpuinfo.read_text(errors="replace").split()):
        return True
    import torch  # only where the flags do not decide: the import takes a second

    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
