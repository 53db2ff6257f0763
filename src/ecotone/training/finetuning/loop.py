"""The training loop with selection: val is scored at every saved state, and the best predictor is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ecotone.data import Dataset, DataStream
from ecotone.heads import Predictor
from ecotone.heads.tasks import gain
from ecotone.training.finetuning.depth import layer_groups
from ecotone.training.finetuning.objective import TaskLoss
from ecotone.training.finetuning.scoring import answer
from ecotone.training.finetuning.settings import FineTune
from ecotone.training.fit import Loop
from ecotone.training.recipe import OptimiserSection, StageSection
from ecotone.training.run import Run
from ecotone.transforms import Transform


class SelectingLoop(Loop):
    """Trains a predictor and keeps its best state on val, the start included.

    Args:
        objective: Around the predictor to train.
        stream: Batches of train.
        val: What is scored; test is never opened.
        settings: Resolved settings.
        stage: Budget and precision.
        run: Where state and log go.
        transforms: Augmentations of raw batches.
        on_check: Told of every scoring.
    """

    def __init__(
        self,
        objective: TaskLoss,
        stream: DataStream,
        val: Dataset,
        settings: FineTune,
        stage: StageSection,
        run: Run,
        *,
        transforms: Sequence[Transform],
        on_check: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.val, self.settings, self.on_check, self.objective = val, settings, on_check, objective
        self.best: dict[str, Any] = {}
        section = OptimiserSection(clip=settings.clip)
        every = max(stage.batch_size, stage.images // settings.checks)
        super().__init__(
            objective, stream, stage, section, run, Fabric(devices=1), transforms=transforms, checkpoint_every=every
        )
        if not self.best:  # a new run: the start is a candidate
            run.rewind_log(-1)
            self._check()

    @property
    def averaged(self) -> nn.Module:
        return self.objective.predictor

    def build_optimiser(self, section: OptimiserSection) -> torch.optim.Optimizer:
        s = self.settings
        groups = layer_groups(
            self.method, self.method.encoder, peak=s.peak, layer_decay=s.decay, weight_decay=s.weight_decay
        )
        return torch.optim.AdamW(groups, betas=(0.9, 0.999))

    @property
    def predictor(self) -> Predictor:
        """What is scored and delivered: the averaged one where there is an average."""
        return cast(Predictor, self.average.module) if self.average is not None else self.objective.predictor

    def best_predictor(self) -> Predictor:
        """A copy of the predictor in its best state on val."""
        chosen = deepcopy(self.predictor)
        chosen.load_state_dict(self.best["state"], strict=True)
        return chosen.eval()

    def state(self) -> dict[str, Any]:
        return {**super().state(), "best": self.best}

    def restore(self) -> None:
        super().restore()
        state = self.run.load_state()
        self.best = state["best"] if state is not None else {}

    def save(self) -> None:
        """Score val, then save the state: a resumed run knows every scoring before it."""
        self._check()
        super().save()

    def _check(self) -> None:
        found = answer(self.predictor, self.val).figures
        self.method.train()
        row = {"images": self.seen, **{f"val/{name}": value for name, value in found.items()}}
        self.run.log(row)
        score = [gain(self.predictor.task, found), -found["loss"]]
        if not self.best or score > self.best["score"]:
            state = {k: _kept(v) for k, v in self.predictor.state_dict().items()}
            self.best = {"score": score, "images": self.seen, "state": state}
        if self.on_check is not None:
            self.on_check(row)


def _kept(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone()
