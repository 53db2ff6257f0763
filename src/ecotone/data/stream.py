"""The data stream: batches in an order that is a pure function of (seed, epoch, index), with a cursor to resume at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ecotone.data.base import Dataset
from ecotone.data.loading import Context, Order, Reader, load
from ecotone.data.quarantine import Quarantine
from ecotone.errors import DataError
from ecotone.randomness import stream_seeds
from ecotone.samples import Batch


class DataStream:
    """Shuffled batches for training, endless or for some epochs.

    In every epoch the samples are permuted by (seed, epoch); global batch b is the b-th run of world_size * batch_size
    of them, and rank r gets the r-th part of it. What remains at the end of an epoch is left out. The place of a
    broken sample is taken by the next readable one of the dataset, so that batches keep their size on every rank;
    it is recorded in ``quarantine``.

    Args:
        dataset: The samples; images of one role must share size, bands and unit.
        batch_size: Samples per rank and batch.
        seed: Seed of the run.
        workers: Reading processes; 0 reads in this one. The batches do not depend on it.
        rank: This process among ``world_size``.
        world_size: Processes that share the global batch.
        epochs: Passes over the data; None never ends.
        context: How workers are started; None for the platform's way.

    Raises:
        DataError: The dataset is smaller than one global batch.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        seed: int,
        workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        epochs: int | None = None,
        context: Context | None = None,
    ) -> None:
        self.dataset, self.batch_size, self.seed = dataset, batch_size, seed
        self.workers, self.rank, self.world_size = workers, rank, world_size
        self.epochs = epochs
        self.context: Context | None = context
        self.epoch = self.batch = 0
        self.quarantine = Quarantine()
        if len(self) < 1:
            raise DataError(
                "the dataset is smaller than one batch",
                found=f"{len(dataset)} samples",
                expected=f"at least {batch_size * world_size}",
                mend="Choose a smaller batch size.",
            )

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.dataset) // (self.batch_size * self.world_size)

    def __iter__(self) -> Iterator[Batch]:
        """Batches from the cursor on; when one is handed out, the cursor is already behind it."""
        reader = Reader(self.dataset, self.seed)
        for fetched in load(reader, _Plan(self), self.workers, self.context):
            self.epoch, self.batch = divmod(self.epoch * len(self) + self.batch + 1, len(self))
            self.quarantine.note(fetched.seen, fetched.broken)
            if fetched.batch is None:
                raise fetched.error or DataError("a worker sent no batch")
            yield fetched.batch

    def order(self, epoch: int) -> Tensor:
        """(N,) permutation of the dataset's indices in this epoch."""
        # Negative indices: other numbers than the samples' own streams, which start at stream_seeds(.., index).
        marks = -1 - torch.arange(len(self.dataset))
        return torch.argsort(stream_seeds(self.seed, epoch, marks), stable=True)

    def state_dict(self) -> dict[str, Any]:
        """The cursor: what a new stream needs to go on with exactly the next batch."""
        return {
            "seed": self.seed,
            "samples": len(self.dataset),
            "global_batch": self.batch_size * self.world_size,
            "epoch": self.epoch,
            "batch": self.batch,
            "quarantine": self.quarantine.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set the cursor; takes effect at the next ``iter``.

        Raises:
            DataError: The state belongs to other data, another seed or another global batch.
        """
        mine = self.state_dict()
        for key in ("seed", "samples", "global_batch"):
            if state[key] != mine[key]:
                raise DataError(
                    f"the saved data stream cannot be continued: its {key.replace('_', ' ')} differs",
                    found=mine[key],
                    expected=state[key],
                    mend="Resume with the data, seed and batch size of the run, or start a new run.",
                )
        self.epoch, self.batch = int(state["epoch"]), int(state["batch"])
        self.quarantine.load_state_dict(state["quarantine"])


def batches(
    dataset: Dataset,
    batch_size: int,
    *,
    workers: int = 0,
    quarantine: Quarantine | None = None,
    context: Context | None = None,
) -> Iterator[Batch]:
    """All samples once, in order; the last batch may be smaller.

    Args:
        dataset: The samples; images of one role must share size, bands and unit.
        batch_size: Samples per batch.
        workers: Reading processes; 0 reads in this one.
        quarantine: Where broken samples are recorded and left out; without it they are an error.
        context: How workers are started; None for the platform's way.

    Raises:
        DataError: A sample cannot be read, or samples do not fit into one batch.
    """
    count = len(dataset)
    plan = [(0, list(range(i, min(i + batch_size, count)))) for i in range(0, count, batch_size)]
    for fetched in load(Reader(dataset, None, quarantine is None), plan, workers, context):
        if fetched.error:
            raise fetched.error
        if quarantine is not None:
            quarantine.note(fetched.seen, fetched.broken)
        if fetched.batch is not None:
            yield fetched.batch


class _Plan:
    """The batches of a stream from its cursor on, as indices."""

    def __init__(self, stream: DataStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[Order]:
        stream, size = self._stream, self._stream.batch_size
        epoch, start = stream.epoch, stream.batch
        while stream.epochs is None or epoch < stream.epochs:
            order = stream.order(epoch)
            for b in range(start, len(stream)):
                first = (b * stream.world_size + stream.rank) * size
                yield epoch, order[first : first + size].tolist()
            epoch, start = epoch + 1, 0
