"""What can go wrong while an image is made to fit.

WorkshedError
├── ImageRefusedError       the image is to blame, also `PermanentError`
└── DecoderEndedError       the process that decodes is gone, and the image may not be to blame
    └── DecoderFailedError  it said why: a disk that is full, a file that cannot be read
"""

from workshed.errors import PermanentError, WorkshedError


class ImageRefusedError(PermanentError):
    """No image can be made of this file, however often it is tried."""

    def __init__(self, reason: str) -> None:
        """Say what is wrong with it, as in `it has 501 frames; at most 500 are allowed`."""
        super().__init__(f"the image is refused: {reason}")
        self.reason = reason


class DecoderEndedError(WorkshedError):
    """The process that decodes images ended in the middle of one; the next attempt may go well."""

    def __init__(self, how: str) -> None:
        """Say how it ended: by which signal, with which code, after how long."""
        super().__init__(f"the process that decodes images {how}")
        self.how = how


class DecoderFailedError(DecoderEndedError):
    """The process that decodes images could not read the image or write what it made."""

    def __init__(self, reason: str) -> None:
        """Keep the error as it was raised there."""
        super().__init__(f"failed: {reason}")
        self.reason = reason
