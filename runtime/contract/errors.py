"""The errors that a user can fix.

StprError           one line (cause, value, fix), exit code 2
├── DataError       a video, a list of clips or a data set is not as it must be
├── RecipeError     a recipe or a command line asks for something impossible
├── CheckpointError a stage checkpoint is missing, damaged or of another run
├── ContractError   a value breaks the agreement between trainer, exporter and device
├── BundleError     a bundle can't be trusted, read or written
├── ParityError     an exported graph does not do what PyTorch does
├── EngineError     a graph can't run here as asked
└── SourceError     a camera, stream or file gives no frames
"""

from __future__ import annotations


class StprError(Exception):
    """An error with its fix; `message` is one line.

    `contract/command.py` prints it and sets the exit code; a traceback is always a bug of ours.
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class DataError(StprError):
    """A video, a list of clips or a data set is not as it must be."""


class RecipeError(StprError):
    """A recipe or a command line asks for something impossible."""


class CheckpointError(StprError):
    """A stage checkpoint is missing, damaged or belongs to another run."""


class ContractError(StprError):
    """A value breaks the agreement between trainer, exporter and device."""


class BundleError(StprError):
    """A bundle can't be trusted, read or written."""


class ParityError(StprError):
    """An exported graph does not do what PyTorch does."""


class EngineError(StprError):
    """A graph can't run on this machine as asked."""


class SourceError(StprError):
    """A camera, stream or file gives no frames; `code`: the reason in one word, if known."""

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code
