"""Worker processes: from lists of indices to batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch.utils.data import DataLoader

from ecotone.data.base import Dataset, Drawn
from ecotone.errors import DataError, EcotoneError
from ecotone.randomness import stream_seeds
from ecotone.samples import Batch, Sample, collate

Context = Literal["fork", "spawn", "forkserver"]
Order = tuple[int, list[int]]  # an epoch, and the indices of one batch in it
AHEAD = 4  # batches that each worker prepares
SUBSTITUTES = 100


@dataclass(frozen=True)
class Fetched:
    """What a worker sends: a batch, or the mistake that prevents it, and the broken samples it met."""

    batch: Batch | None
    seen: int
    broken: dict[str, str] = field(default_factory=dict)
    error: EcotoneError | None = None


class Reader:
    """What runs in a worker: from indices to a batch.

    Args:
        dataset: The samples.
        seed: Seed of the run, from which the samples' random streams come; None for batches in order, without streams.
            With a seed, the next readable sample takes the place of a broken one.
        strict: A broken sample is an error.
    """

    def __init__(self, dataset: Dataset, seed: int | None, strict: bool = False) -> None:
        self._dataset, self._seed, self._strict = dataset, seed, strict

    def __getitem__(self, order: Order) -> Fetched:
        epoch, indices = order
        broken: dict[str, str] = {}
        try:
            seeds = self._seeds(epoch, indices)
            read = [self._read(i, seeds[n] if seeds else None, broken) for n, i in enumerate(indices)]
            samples = [s for s in read if s is not None]
            batch = collate(samples, seeds) if samples else None
            return Fetched(batch, len(indices), broken)
        except EcotoneError as error:  # sent as a value, so that the user's sentence arrives without a traceback
            return Fetched(None, len(indices), broken, error)

    def _read(self, index: int, seed: int | None, broken: dict[str, str]) -> Sample | None:
        if self._strict:
            return self._one(index, seed)
        tries = SUBSTITUTES if self._seed is not None else 1
        for i in range(index, index + min(tries, len(self._dataset))):
            try:
                return self._one(i % len(self._dataset), seed)
            except DataError as error:
                broken[self._dataset.keys()[i % len(self._dataset)]] = str(error)
        return None

    def _one(self, index: int, seed: int | None) -> Sample:
        if seed is not None and isinstance(self._dataset, Drawn):
            return self._dataset.draw(index, seed)
        return self._dataset[index]

    def _seeds(self, epoch: int, indices: Sequence[int]) -> Sequence[int] | None:
        if self._seed is None:
            return None
        return stream_seeds(self._seed, epoch, torch.tensor(indices)).tolist()


def load(reader: Reader, plan: Iterable[Order], workers: int, context: Context | None) -> Iterable[Fetched]:
    """Batches in the order of the plan, read by worker processes, or by this one if there are none."""
    return DataLoader(
        reader,  # pyright: ignore[reportArgumentType]  (a map from orders to batches)
        batch_size=None,
        sampler=plan,  # pyright: ignore[reportArgumentType]
        num_workers=workers,
        collate_fn=_as_it_is,  # pyright: ignore[reportArgumentType]
        multiprocessing_context=context if workers else None,
        prefetch_factor=AHEAD if workers else None,
    )


def _as_it_is(fetched: Fetched) -> Fetched:
    return fetched
