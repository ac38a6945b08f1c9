"""What training refuses, each in one sentence."""

from smalti.errors import SmaltiError


class DataRefused(SmaltiError):
    """The images cannot be read, or do not fit together."""


class RecipeRefused(SmaltiError):
    """The recipe names something that does not exist, or a value out of its range."""


class CheckpointRefused(SmaltiError):
    """The checkpoint is damaged, unfinished, or belongs to another training."""


class CheckpointNotWritten(SmaltiError):
    """The disk is full, or the folder may not be written to; the checkpoint before it is still there."""


class NotFinite(SmaltiError):
    """A figure or a weight is NaN or infinite: what the training loop tells as TrainingDiverged."""


class TrainingDiverged(SmaltiError):
    """A loss, a gradient or a weight is no number any more, so training stopped before it was kept."""


class MemoryTooSmall(SmaltiError):
    """A network, a batch or the images need more memory than there is."""


class EvaluationRefused(SmaltiError):
    """The model and the images do not belong together, or it cannot be measured in this way."""
