"""How many padded tokens a card computes at once: from its free memory, an estimate, and one measured batch.

Inference frees each layer's activations before the next, so memory follows the widest layer and not the depth:
`bytes_per_token` counts its tensors generously, a probe of 16,384 tokens then measures what the allocator really gave out. The
budget is a power of two, so that small differences in free memory give the same batches, and the same bits, on the same card.
It is capped at 262,144, where even small encoders should fill a card (a guess: not yet measured on one). The one thing to know:
nothing relies on it; a batch that does not fit is halved by `device_batches`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from pipelines.embedding.forward import DeviceForward
from pipelines.embedding.host_batch import made_up_batch

SHARE = 0.6  # of the free memory: the rest is for fragments, the kernels' workspaces and other processes
FEWEST, MOST = 1024, 1 << 18
PROBE_TOKENS = 16_384
LONG_WINDOW = 2048  # measured with at most this: some models state no limit
UNKNOWN_FREE = 4 << 30  # devices that are no CUDA cards cannot all be asked


def token_budget(free: int, bytes_per_token: float) -> int:
    """Padded tokens a batch for `free` bytes of memory: a power of two from `FEWEST` to `MOST`."""
    return power_of_two(min(max(int(SHARE * free / bytes_per_token), FEWEST), MOST))


def power_of_two(n: int) -> int:
    """The largest power of two that is at most `n`, n >= 1."""
    return 1 << (n.bit_length() - 1)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device's memory ran out; cuBLAS and the driver say so in plain RuntimeErrors."""
    told = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in told or "ALLOC_FAILED" in told


def free_memory(device: torch.device) -> int:
    """Bytes that a batch may take: free on the card, or held by torch's allocator without use."""
    if device.type != "cuda":
        return UNKNOWN_FREE
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def calibrate(forward: DeviceForward, device: torch.device, window: int) -> int:
    """The budget of `forward` on `device` for windows of `window` tokens: estimated, on CUDA also measured and tried."""
    window = min(window, LONG_WINDOW)
    budget = token_budget(free_memory(device), forward.bytes_per_token(window))
    if device.type != "cuda":
        return budget
    probe = made_up_batch(_fitting(forward, window, min(budget, PROBE_TOKENS)), window)
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    forward.vectors(probe)
    torch.cuda.synchronize(device)
    taken = max(torch.cuda.max_memory_allocated(device) - before, 1)
    return _fitting(forward, window, token_budget(free_memory(device), taken / probe.padded))


def _fitting(forward: DeviceForward, window: int, budget: int) -> int:
    """`budget`, halved until a batch of the longest windows goes through or `FEWEST` is reached. Also warms kernels up."""
    while budget > FEWEST and not fits(partial(_compute, forward, window, budget)):
        budget //= 2
    return budget


def _compute(forward: DeviceForward, window: int, budget: int) -> None:
    forward.vectors(made_up_batch(budget, window))


def fits(compute: Callable[[], object]) -> bool:
    """Run `compute`; False when the device's memory ran out, its cache then emptied."""
    try:
        compute()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    else:
        return True
    # here and not in the handler: there the traceback still holds the batch's tensors
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return False
