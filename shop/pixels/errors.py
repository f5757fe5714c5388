"""The error of this package whose cause is the image."""


class RefusedError(Exception):
    """No image can be made of this file; retrying does not help.

    It is not a `WorkshedError`, because the child process loads only this package. The parent turns
    it into `shop.images.errors.ImageRefusedError`.
    """

    def __init__(self, reason: str) -> None:
        """Say what is wrong, with numbers, for example `it has 501 frames; at most 500 …`."""
        super().__init__(reason)
        self.reason = reason
