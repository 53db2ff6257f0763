"""A run's folder: its state for resuming, its log, its deliverable."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.utils.tensorboard import SummaryWriter

from ecotone.errors import CheckpointError, DataError, RecipeError
from ecotone.files import replacing


class Run:
    """``RUN/state/`` to resume from, ``RUN/log.jsonl`` and ``RUN/tensorboard/`` to watch, ``RUN/model/`` to use.

    Args:
        folder: Where the run lives.
        leader: Whether this process writes; the others of a distributed run only read.
    """

    def __init__(self, folder: str | Path, *, leader: bool = True) -> None:
        self.folder, self.leader = Path(folder), leader
        self.log_file = self.folder / "log.jsonl"
        self._board: SummaryWriter | None = None

    @property
    def state_file(self) -> Path:
        return self.folder / "state" / "state.pt"

    def claim(self, name: str, settings: dict[str, Any], *, besides: Sequence[str] = ()) -> None:
        """Write the settings into a new run, or make sure that the run there was started with the same ones.

        Args:
            name: Of the YAML file that holds them.
            settings: Plain values.
            besides: Names that a new run's folder may hold already.

        Raises:
            RecipeError: The run there has other settings; they are named.
            DataError: The folder holds something else.
        """
        file = self.folder / name
        if file.exists():
            theirs = yaml.safe_load(file.read_text("utf-8"))
            odd = [key for key in settings if settings[key] != theirs.get(key)]
            if odd:
                raise RecipeError(
                    f"{self.folder} holds a run of another recipe: {', '.join(odd)} differ",
                    mend="Choose another --out, or delete that folder.",
                )
            return
        if self.folder.exists() and any(f.name not in besides for f in self.folder.iterdir()):
            raise DataError(f"{self.folder} is not empty and holds no run", mend="Choose another --out.")
        with replacing(file) as temporary:
            temporary.write_text(yaml.safe_dump(settings, sort_keys=False), "utf-8")

    def save_state(self, state: dict[str, Any]) -> None:
        """Save tensors and plain values atomically: a kill at any moment leaves the last whole state."""
        if self.leader:
            with replacing(self.state_file) as temporary:
                torch.save(state, temporary)

    def load_state(self) -> dict[str, Any] | None:
        """The last saved state, or None for a new run. Nothing but tensors and plain values is unpickled.

        Raises:
            CheckpointError: The file is damaged.
        """
        if not self.state_file.exists():
            return None
        try:
            return torch.load(self.state_file, weights_only=True, map_location="cpu")
        except Exception as error:  # torch raises a dozen kinds for a damaged file
            raise CheckpointError(f"{self.state_file} is damaged: {error}", mend="Start the run anew.") from error

    def log(self, row: dict[str, Any]) -> None:
        """Append one row to the log, and its numbers to TensorBoard at ``images``."""
        if not self.leader:
            return
        with self.log_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._board = self._board or SummaryWriter(str(self.folder / "tensorboard"))
        for name, value in row.items():
            if name != "images" and isinstance(value, (int, float)):
                self._board.add_scalar(name, value, row["images"])

    def rewind_log(self, images: int) -> None:
        """Drop rows that lie after the state that is resumed from; they will be written again."""
        if not self.leader or not self.log_file.exists():
            return
        lines = self.log_file.read_text("utf-8").splitlines()
        kept = [line for line in lines if _images(line) <= images]
        with replacing(self.log_file) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), "utf-8")

    def rows(self) -> list[dict[str, Any]]:
        """The log so far."""
        if not self.log_file.exists():
            return []
        return [json.loads(line) for line in self.log_file.read_text("utf-8").splitlines()]

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def _images(line: str) -> float:
    """Images of a log row; a row cut short by a kill counts as infinitely late."""
    try:
        return json.loads(line)["images"]
    except (json.JSONDecodeError, KeyError):
        return float("inf")
