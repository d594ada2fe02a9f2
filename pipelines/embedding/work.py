"""What an encode cost: tokens asked for, tokens computed, seconds that the device was busy.

`utilisation` says how much of the computing was for text and not for padding; `tokens` over `seconds` is the device's own rate,
so comparing it with the rate over wall time says how long the device waited for batches.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """`tokens`: of all distinct windows, special tokens included. `padded`: the same with padding, what is computed.

    `seconds`: time in batches; on a card by its own clock (idle time between batches not counted), on the CPU summed over threads.
    """

    windows: int = 0
    tokens: int = 0
    padded: int = 0
    seconds: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.windows + other.windows,
            self.tokens + other.tokens,
            self.padded + other.padded,
            self.seconds + other.seconds,
        )

    @property
    def utilisation(self) -> float:
        """Share of the computed tokens that are text, 0 to 1; 1 for no work."""
        return self.tokens / self.padded if self.padded else 1.0

    @property
    def tokens_per_second(self) -> float:
        """Tokens of text a busy second; 0 for no work."""
        return self.tokens / self.seconds if self.seconds else 0.0
