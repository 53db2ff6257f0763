"""The training loop: visible, resumable, and ignorant of every method."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ecotone.data import DataStream
from ecotone.encoders import Encoder
from ecotone.errors import TrainingError
from ecotone.methods import Method
from ecotone.randomness import SampleRandom
from ecotone.samples import Batch
from ecotone.training.optimiser import build_optimiser, learning_rate
from ecotone.training.precision import Arithmetic, autocast, resolve_precision
from ecotone.training.recipe import OptimiserSection, StageSection
from ecotone.training.run import Run
from ecotone.transforms import Transform

Callback = Callable[[Method, int], dict[str, Any]]


class Loop:
    """One stage of training; everything it must remember is in its ``state``.

    Args:
        method: Objective around the encoder to train.
        stream: Batches in a fixed order.
        stage: Budget and precision.
        optimiser: AdamW's settings.
        run: Where state and log go.
        fabric: Devices and processes.
        transforms: Augmentations of raw batches.
        checkpoint_every: Images between saved states.
    """

    def __init__(
        self,
        method: Method,
        stream: DataStream,
        stage: StageSection,
        optimiser: OptimiserSection,
        run: Run,
        fabric: Fabric,
        *,
        transforms: Sequence[Transform] = (),
        checkpoint_every: int = 20_000,
    ) -> None:
        self.stage, self.run, self.fabric, self.stream = stage, run, fabric, stream
        self.transforms, self.checkpoint_every, self.clip = transforms, checkpoint_every, optimiser.clip
        self.precision: Arithmetic = resolve_precision(stage.precision, fabric.device)
        self.method = method.to(fabric.device)
        self.optimiser = self.build_optimiser(optimiser)
        self.peaks = [group["lr"] for group in self.optimiser.param_groups]
        self.average: AveragedModel | None = None
        if stage.ema is not None:
            self.average = AveragedModel(self.averaged, multi_avg_fn=get_ema_multi_avg_fn(stage.ema))
        self.seen = 0
        self.restore()
        self.wrapped, self.stepper = fabric.setup(self.method, self.optimiser)

    @property
    def encoder(self) -> Encoder:
        """The deliverable: the averaged encoder where there is an average."""
        return self.average.module if self.average is not None else self.method.encoder  # type: ignore[return-value]

    @property
    def averaged(self) -> nn.Module:
        """What the moving average is taken of."""
        return self.method.encoder

    def build_optimiser(self, section: OptimiserSection) -> torch.optim.Optimizer:
        """The optimiser, each group at its peak learning rate."""
        return build_optimiser(self.method, section, self.stage.batch_size)

    def steps(self) -> Iterator[dict[str, Any]]:
        """Train to the end of the budget, one optimiser step at a time; yields the row that was logged."""
        batches = iter(self.stream)
        self.method.train()
        while self.seen < self.stage.images:
            started = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - started
            size = len(batch) // self.stage.accumulate
            parts = [batch.part(i * size, (i + 1) * size) for i in range(self.stage.accumulate)]
            losses, norm = self.step(parts)
            self.seen += self.stage.batch_size
            self.method.after_step(self.seen / self.stage.images)
            if self.average is not None:
                self.average.update_parameters(self.averaged)
            seconds = time.perf_counter() - started
            row = {
                "images": self.seen,
                **{f"loss/{name}": value for name, value in losses.items()},
                "lr": self.optimiser.param_groups[0]["lr"],
                "grad_norm": norm,
                "images_per_s": self.stage.batch_size / seconds,
                "data_wait": waited / seconds,
                "quarantined": len(self.stream.quarantine.reasons),
            }
            self.run.log(row)
            if self.seen % self.checkpoint_every < self.stage.batch_size or self.seen >= self.stage.images:
                self.save()
            yield row

    def step(self, parts: list[Batch]) -> tuple[dict[str, float], float]:
        """One optimiser step over the parts of a batch; returns mean losses and the norm of the gradient."""
        for group, peak in zip(self.optimiser.param_groups, self.peaks, strict=True):
            group["lr"] = learning_rate(peak, self.seen, self.stage)
        totals: dict[str, Tensor] = {}
        for i, raw in enumerate(parts):
            last = i == len(parts) - 1
            with self.fabric.no_backward_sync(self.wrapped, enabled=not last):
                losses = self.losses(raw)
                self.fabric.backward(losses["total"] / len(parts))
            for name, value in losses.items():
                totals[name] = totals.get(name, torch.zeros((), device=value.device)) + value.detach() / len(parts)
        limit = self.clip if self.clip is not None else float("inf")
        norm = nn.utils.clip_grad_norm_(self.method.parameters(), limit)
        if not torch.isfinite(norm):
            self._stop(parts, "the gradient is not finite")
        self.stepper.step()
        self.stepper.zero_grad()
        return {name: self._mean(value) for name, value in totals.items()}, float(norm)

    def _mean(self, value: Tensor) -> float:
        """Mean over all processes."""
        return float(cast(Tensor, self.fabric.all_reduce(value, reduce_op="mean")))

    def losses(self, raw: Batch) -> dict[str, Tensor]:
        """Augment a batch and compute its losses."""
        batch = raw.to(self.fabric.device)
        random = SampleRandom(batch.seeds)
        for transform in self.transforms:
            batch = transform(batch, random)
        with autocast(self.precision, self.fabric.device):
            losses = self.wrapped(batch, random)
        if not torch.isfinite(losses["total"]):
            self._stop([raw], f"the loss is {float(losses['total'])}")
        return losses

    def state(self) -> dict[str, Any]:
        return {
            "seen": self.seen,
            "method": self.method.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.state_dict() if self.average is not None else {},
            "stream": self.stream.state_dict(),
            "torch_rng": torch.get_rng_state(),
        }

    def save(self) -> None:
        self.run.save_state(self.state())

    def restore(self) -> None:
        """Go on from the run's last saved state, if there is one."""
        state = self.run.load_state()
        if state is None:
            self.run.rewind_log(0)  # a run that was killed before its first state starts anew
            return
        self.seen = state["seen"]
        self.method.load_state_dict(state["method"], strict=True)
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not None:
            self.average.load_state_dict(state["average"], strict=True)
        self.stream.load_state_dict(state["stream"])
        torch.set_rng_state(state["torch_rng"])
        self.run.rewind_log(self.seen)

    def _stop(self, parts: list[Batch], what: str) -> None:
        """Save the batch that broke training, and stop."""
        file = self.run.folder / f"failed-batch-{self.fabric.global_rank}.pt"
        images = {role: image.pixels for part in parts for role, image in part.images.items()}
        torch.save({"keys": [k for p in parts for k in p.keys], "seen": self.seen, "pixels": images}, file)
        raise TrainingError(
            f"training stopped after {self.seen} images: {what}",
            mend=f"The batch is in {file}; the last good state is kept. Try a lower learning rate or clip gradients.",
        )


def fit(
    method: Method,
    stream: DataStream,
    stage: StageSection,
    run: Run,
    *,
    optimiser: OptimiserSection | None = None,
    fabric: Fabric | None = None,
    transforms: Sequence[Transform] = (),
    checkpoint_every: int = 20_000,
    on_step: Callable[[Loop, dict[str, Any]], None] | None = None,
) -> Encoder:
    """Train a method to the end of its budget, resuming where the run stopped.

    Args:
        method: Objective around the encoder to train.
        stream: Batches of ``stage.batch_size / processes`` samples.
        stage: Budget and precision.
        run: Where state and log go.
        optimiser: AdamW's settings.
        fabric: Devices and processes; the best single device by default.
        transforms: Augmentations of raw batches.
        checkpoint_every: Images between saved states.
        on_step: Called after every step with the loop and the row it logged.

    Returns:
        The trained encoder.

    Raises:
        TrainingError: The loss or the gradient is not finite; the batch is saved in the run's folder.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    loop = Loop(
        method,
        stream,
        stage,
        optimiser or OptimiserSection(),
        run,
        fabric or Fabric(devices=1),
        transforms=transforms,
        checkpoint_every=checkpoint_every,
    )
    for row in loop.steps():
        if on_step is not None:
            on_step(loop, row)
    run.close()
    return loop.encoder.eval()
