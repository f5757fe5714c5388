"""The size of the resulting image."""

# Limits of the encoders, in pixels of the longer side.
MAX_SIDE_PX = {"jpeg": 65_500, "webp": 16_383, "avif": 32_768}


def fit_within(width: int, height: int, box_width: int, box_height: int) -> tuple[int, int]:
    """Scale a size down to fit within a box, keeping its aspect ratio.

    All sizes are whole pixels, at least 1. A size that already fits is returned unchanged.
    """
    if width <= box_width and height <= box_height:
        return width, height
    if width * box_height >= height * box_width:
        return box_width, max(1, (height * box_width + width // 2) // width)
    return max(1, (width * box_height + height // 2) // height), box_height
