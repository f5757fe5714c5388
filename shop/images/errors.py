"""Errors while an image is converted.

WorkshedError
├── ImageRefusedError       the image is the cause; also a `PermanentError`
└── DecoderEndedError       the decoder process has ended; the image may not be the cause
    └── DecoderFailedError  with its reason, for example a full disk or an unreadable file
"""

from workshed.errors import PermanentError, WorkshedError


class ImageRefusedError(PermanentError):
    """No image can be made of this file; retrying does not help."""

    def __init__(self, reason: str) -> None:
        """Say what is wrong with it, for example `it has 501 frames; at most 500 are allowed`."""
        super().__init__(f"the image is refused: {reason}")
        self.reason = reason


class DecoderEndedError(WorkshedError):
    """The decoder process ended in the middle of an image; the next attempt may succeed."""

    def __init__(self, how: str) -> None:
        super().__init__(f"the process that decodes images {how}")
        self.how = how


class DecoderFailedError(DecoderEndedError):
    """The decoder process could not read the image or write the result."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"failed: {reason}")
        self.reason = reason
