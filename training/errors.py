"""What training refuses, each in one sentence."""

from smalti.errors import SmaltiError


class DataRefused(SmaltiError):
    """The images cannot be read, or do not fit together."""


class RecipeRefused(SmaltiError):
    """The recipe names something that does not exist, or a value out of its range."""


class CheckpointRefused(SmaltiError):
    """The checkpoint is damaged, unfinished, or belongs to another training."""


class EvaluationRefused(SmaltiError):
    """The model and the images do not belong together, or it cannot be measured in this way."""
