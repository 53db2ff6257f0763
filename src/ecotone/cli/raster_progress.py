"""Progress over rasters: how much is done, MPix/s, km2/s and the time left; one bar per scene, one for all."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ecotone.cli.output import console

if TYPE_CHECKING:
    from ecotone.inference import Step


class RasterProgress:
    """Bars for a run over some scenes.

    Args:
        scenes: How many there are; from two on, a second bar counts them.
    """

    def __init__(self, scenes: int = 1) -> None:
        text, speed = TextColumn("{task.description}"), TextColumn("{task.fields[speed]}")
        self._progress = Progress(
            text, BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn(), console=console
        )
        self._started = time.perf_counter()
        self._all = self._progress.add_task("scenes", total=scenes, speed="") if scenes > 1 else None
        self._one = self._progress.add_task("windows", total=None, speed="")

    def show(self, scene: str, number: int, done: int, total: int, mpix: float, km2: float) -> None:
        """Tell how far the run has come.

        Args:
            scene: Name of the scene.
            number: Scenes before it.
            done: Its windows that are done.
            total: Its windows.
            mpix: Million pixels done in this run.
            km2: Square kilometres done in this run; 0 where the GSD is not known.
        """
        seconds = max(time.perf_counter() - self._started, 1e-9)
        speed = f"{mpix / seconds:.2f} MPix/s" + (f", {km2 / seconds:.3g} km²/s" if km2 else "")
        self._progress.update(self._one, description=scene, completed=done, total=total, speed=speed)
        if self._all is not None:
            self._progress.update(self._all, completed=number + done / total)

    def step(self, step: Step) -> None:
        """Tell how far a run over several scenes has come."""
        name = Path(str(step.source)).name
        self.show(name, step.number, step.done, step.total, step.mpix, step.km2)

    def __enter__(self) -> RasterProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
