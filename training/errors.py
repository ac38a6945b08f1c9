"""The errors of training and evaluation."""

from smalti.errors import SmaltiError


class DataRefused(SmaltiError):
    """The images cannot be read, or cannot be used together."""


class RecipeRefused(SmaltiError):
    """The recipe names something that does not exist, or has a value out of range."""


class CheckpointRefused(SmaltiError):
    """The checkpoint is damaged, unfinished, or belongs to another training."""


class CheckpointNotWritten(SmaltiError):
    """The disk is full, or the folder is not writable; the last checkpoint is still there."""


class NotFinite(SmaltiError):
    """A figure or a weight is NaN or infinite; the training loop turns it into TrainingDiverged."""


class TrainingDiverged(SmaltiError):
    """A loss, a gradient or a weight is no longer a number; training stopped, and the last checkpoint is good."""


class MemoryTooSmall(SmaltiError):
    """A network, a batch or the images need more memory than there is."""


class EvaluationRefused(SmaltiError):
    """The model and the images do not belong together, or the model cannot be measured in this way."""
