"""One random stream per sample.

Crops, flips and masks are drawn from a stream that depends on the sample's seed alone, so that neither the batch a
sample falls into, nor the number of processes, nor a resume changes what happens to it.
"""

from __future__ import annotations

import torch
from torch import Tensor


class SampleRandom:
    """Random numbers for N samples, from N independent counter-based streams.

    The generator is SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014),
    whose n-th number is a function of seed and n; it gives the same numbers on every device.

    Args:
        seeds: (N,) int64.
    """

    def __init__(self, seeds: Tensor) -> None:
        self.seeds = seeds
        self._drawn = 0

    def __len__(self) -> int:
        return len(self.seeds)

    def uniform(self, *shape: int) -> Tensor:
        """(N, *shape) float32, uniform in [0, 1)."""
        count = 1
        for n in shape:
            count *= n
        index = torch.arange(self._drawn + 1, self._drawn + count + 1, device=self.seeds.device)
        self._drawn += count
        bits = _mix(_mix(self.seeds)[:, None] + index * _GOLDEN)
        # The top 24 bits fill a float32 mantissa exactly.
        return (_shift(bits, 40).float() * 2**-24).view(len(self.seeds), *shape)

    def fork(self) -> SampleRandom:
        """The same streams at the same position, advancing on their own."""
        twin = SampleRandom(self.seeds)
        twin._drawn = self._drawn
        return twin

    def skip_to(self, other: SampleRandom) -> None:
        """Go on where a fork of these streams has arrived."""
        self._drawn = other._drawn


def stream_seeds(seed: int, epoch: int, indices: Tensor) -> Tensor:
    """(N,) int64 stream seeds for samples with these dataset indices (N,), in this epoch of a run with this seed."""
    run = _mix(_mix(torch.tensor(seed)) + epoch)
    return _mix(run + indices.to(torch.int64))


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_M1, _M2 = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


def _shift(x: Tensor, n: int) -> Tensor:
    """Logical right shift of int64, which torch shifts arithmetically."""
    return (x >> n) & ((1 << (64 - n)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _M1
    x = (x ^ _shift(x, 27)) * _M2
    return x ^ _shift(x, 31)
