"""Evaluation: encoders beside their floors, under a frozen contract."""

from ecotone.evaluation.contract import Contract
from ecotone.evaluation.evaluate import SCALES, evaluate
from ecotone.evaluation.merge import Merged, merge
from ecotone.evaluation.report import Report, Row

__all__ = ["SCALES", "Contract", "Merged", "Report", "Row", "evaluate", "merge"]
