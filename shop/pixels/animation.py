"""Writing an animation frame by frame, because all frames at once would fill the memory."""

from io import BytesIO

from PIL import Image, ImageFile

from shop.pixels.file_extent import webp
from shop.pixels.fit import MAX_SIDE_PX
from shop.pixels.request import ConvertedImage, ImageRequest
from shop.pixels.resize import shrink_image

# Limits of WebP: 24 and 16 bits.
_LONGEST_MS = (1 << 24) - 1
_MOST_LOOPS = (1 << 16) - 1
# From 0 to 6: higher methods save a few percent, and take several times as long.
_METHOD = 0


def animation_frames(image: ImageFile.ImageFile, kind: str, counted: int) -> range:
    """Return the frames of an image that form its animation; one for a still picture."""
    if kind == "GIF":
        return range(counted)
    if kind not in {"AVIF", "PNG", "WEBP"}:  # further pictures in other formats are no animation
        return range(1)
    # The first picture of an animated PNG may be a fallback for programs without animation.
    first = 1 if image.info.get("default_image") else 0
    all_frames = range(first, getattr(image, "n_frames", 1))
    return all_frames if len(all_frames) > 1 else range(1)


def write_animation(
    image: ImageFile.ImageFile, frames: range, kind: str, file: BytesIO, request: ImageRequest
) -> ConvertedImage:
    """Encode an animation as WebP, with its durations and number of loops."""
    film = _FrameSequence(image, frames, request)
    film.save(
        file,
        "WEBP",
        save_all=True,
        quality=request.quality,
        method=_METHOD,
        duration=film.durations_ms,
        loop=_loop_count(image, kind),
    )
    written = webp.find_extent(file.getvalue()).frames  # identical frames are merged
    return ConvertedImage("image/webp", *film.size, frames=written)


def _loop_count(image: ImageFile.ImageFile, kind: str) -> int:
    """Return how often the animation is shown; 0 means forever."""
    if kind == "GIF":  # a GIF counts repetitions, and has no count if it is shown once
        again = image.info.get("loop")
        loops = 1 if again is None else again and again + 1
    else:
        loops = image.info.get("loop", 0)
    return min(loops, _MOST_LOOPS)


class _FrameSequence(Image.Image):
    """An image with many frames, as Pillow's encoder expects it.

    The encoder seeks to each frame in turn, and only then reads its duration.
    """

    def __init__(self, source: ImageFile.ImageFile, frames: range, request: ImageRequest) -> None:
        super().__init__()
        self.n_frames = len(frames)
        self.durations_ms: list[float] = []
        longest = MAX_SIDE_PX["webp"]
        self._box = min(request.width, longest), min(request.height, longest)
        self._source, self._frame_numbers = source, frames
        self._full_size = source.size
        self.seek(0)

    def tell(self) -> int:
        """Return the number of the current frame."""
        return len(self.durations_ms) - 1

    def seek(self, frame: int) -> None:
        """Go to the next frame; seeking back, which the encoder does at the end, does nothing."""
        if frame <= self.tell():
            return
        self._source.seek(self._frame_numbers[frame])
        self._source.load()
        small = shrink_image(self._crop_frame(), *self._box)
        self.im, self._mode, self._size = small.im, small.mode, small.size
        duration = self._source.info.get("duration", 0)
        self.durations_ms.append(min(max(duration, 0), _LONGEST_MS))

    def _crop_frame(self) -> Image.Image:
        """Return the frame without what a GIF draws outside of its picture."""
        if self._source.size == self._full_size:
            return self._source
        return self._source.crop((0, 0, *self._full_size))
