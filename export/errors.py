"""The errors of the export."""

from smalti.errors import SmaltiError


class ExportRefused(SmaltiError):
    """The exported graphs do not compute what the network computes, or would overwrite another version."""
