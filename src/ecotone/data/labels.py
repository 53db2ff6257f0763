"""Labels as written, and the targets that models learn from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ecotone.data.listing import Row
from ecotone.errors import DataError, nearest
from ecotone.rasters import Declaration

SEPARATOR = "|"


@dataclass(frozen=True)
class Labels:
    """The task of a dataset and its classes.

    Attributes:
        task: ``classification``, ``multilabel``, ``regression``, ``none``, or a task whose labels are paths, such as
            ``segmentation``.
        classes: Class names; a label is an index into them.
    """

    task: str
    classes: tuple[str, ...]

    def targets(self, label: str) -> dict[str, Any]:
        """``label``: a class index; for multilabel a vector (number of classes,) of zeros and ones; a value."""
        if self.task == "classification":
            return {"label": self.classes.index(label)}
        if self.task == "multilabel":
            vector = torch.zeros(len(self.classes))
            vector[[self.classes.index(name) for name in split_label(label)]] = 1
            return {"label": vector}
        return {"label": float(label)} if self.task == "regression" else {}


def read_labels(rows: list[Row], declared: Declaration, folder: Path) -> Labels:
    """Task and classes: as declared, else by the labels themselves.

    Raises:
        DataError: A sample of a task with classes has no label, or one outside the classes; a value is no number.
    """
    task = declared.task or _task(rows)
    if task == "regression":
        _check_values(rows, folder)
    if task not in ("classification", "multilabel"):
        return Labels(task, declared.classes)
    names = {row.path: split_label(row.label) if task == "multilabel" else [row.label] for row in rows}
    bare = [path for path, given in names.items() if not any(given)]
    if bare and task == "classification":
        raise DataError(
            f"{folder} is for {task} but {len(bare)} of its {len(rows)} samples have no label",
            found=f"none for {bare[0]}",
            mend="Fill the label column of manifest.csv, sort the images into class folders, or set task: none.",
        )
    classes = declared.classes or tuple(sorted({name for given in names.values() for name in given}))
    for path, given in names.items():
        for name in given:
            if name not in classes:
                mend = nearest(name, classes)
                raise DataError(
                    f"the label of {path} in {folder} is not one of the classes", found=repr(name), mend=mend
                )
    return Labels(task, classes)


def _check_values(rows: list[Row], folder: Path) -> None:
    for row in rows:
        try:
            finite = math.isfinite(float(row.label))
        except ValueError:
            finite = False
        if not finite:
            raise DataError(
                f"{folder} is for regression and the label of {row.path} is no number", found=repr(row.label)
            )


def split_label(label: str) -> list[str]:
    """The class names of a label of several classes."""
    return [name for name in label.split(SEPARATOR) if name]


def _task(rows: list[Row]) -> str:
    labels = [row.label for row in rows]
    if not any(labels):
        return "none"
    if any(SEPARATOR in label for label in labels):
        return "multilabel"
    return "segmentation" if all("/" in label and "." in label for label in labels) else "classification"
