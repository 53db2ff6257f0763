"""Fine-tuning: from an encoder and labelled images to a predictor."""

from ecotone.training.finetuning.run import FineTuned, finetune
from ecotone.training.finetuning.settings import FineTune, parse_settings

__all__ = ["FineTune", "FineTuned", "finetune", "parse_settings"]
