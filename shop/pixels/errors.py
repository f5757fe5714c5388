"""The one error of this package that lies in the image."""


class RefusedError(Exception):
    """No image can be made of this file, however often it is tried.

    No `WorkshedError`: the child process loads nothing but this package. The parent turns it into
    `shop.images.errors.ImageRefusedError`.
    """

    def __init__(self, reason: str) -> None:
        """Say what is wrong with it, and by how much: `it has 501 frames; at most 500 …`."""
        super().__init__(reason)
        self.reason = reason
