"""Writing an animation, frame by frame: all frames at once would fill the memory."""

from io import BytesIO

from PIL import Image, ImageFile

from shop.pixels.ends import webp
from shop.pixels.fit import LONGEST_SIDE_PX
from shop.pixels.shrinking import shrink
from shop.pixels.wanted import ConvertedImage, ImageRequest

# What WebP can say: 24 and 16 bits.
_LONGEST_MS = (1 << 24) - 1
_MOST_LOOPS = (1 << 16) - 1
# Of 0 to 6: the others gain a few percent, for several times as long.
_METHOD = 0


def frames(image: ImageFile.ImageFile, kind: str, counted: int) -> range:
    """Return which frames of an image are to be shown one after the other."""
    if kind == "GIF":
        return range(counted)
    if kind not in {"AVIF", "PNG", "WEBP"}:  # the further pictures of others are no film
        return range(1)
    # The first picture of an animated PNG may be meant for programs that know no animation.
    first = 1 if image.info.get("default_image") else 0
    all_frames = range(first, getattr(image, "n_frames", 1))
    return all_frames if len(all_frames) > 1 else range(1)


def write(
    image: ImageFile.ImageFile, shown: range, kind: str, file: BytesIO, wanted: ImageRequest
) -> ConvertedImage:
    """Encode an animation as WebP, with its durations and as often as it is shown."""
    film = _Film(image, shown, wanted)
    film.save(
        file,
        "WEBP",
        save_all=True,
        quality=wanted.quality,
        method=_METHOD,
        duration=film.durations_ms,
        loop=_loops(image, kind),
    )
    written = webp.extent(file.getvalue()).frames  # one for several that are the same
    return ConvertedImage("image/webp", *film.size, frames=written)


def _loops(image: ImageFile.ImageFile, kind: str) -> int:
    """Return how often it is shown, 0 for without end."""
    if kind == "GIF":  # which counts how often it is shown again, and says nothing for once
        again = image.info.get("loop")
        loops = 1 if again is None else again and again + 1
    else:
        loops = image.info.get("loop", 0)
    return min(loops, _MOST_LOOPS)


class _Film(Image.Image):
    """What Pillow's encoder takes for one image of many frames.

    It seeks to each in turn, and only then asks for its duration.
    """

    def __init__(self, source: ImageFile.ImageFile, shown: range, wanted: ImageRequest) -> None:
        super().__init__()
        self.n_frames = len(shown)
        self.durations_ms: list[float] = []
        longest = LONGEST_SIDE_PX["webp"]
        self._box = min(wanted.width, longest), min(wanted.height, longest)
        self._source, self._shown = source, shown
        self._whole = source.size
        self.seek(0)

    def tell(self) -> int:
        """Return the number of the frame that is here."""
        return len(self.durations_ms) - 1

    def seek(self, frame: int) -> None:
        """Go to the next frame; the way back, which the encoder takes at the end, is not gone."""
        if frame <= self.tell():
            return
        self._source.seek(self._shown[frame])
        self._source.load()
        small = shrink(self._same_size(), *self._box)
        self.im, self._mode, self._size = small.im, small.mode, small.size
        duration = self._source.info.get("duration", 0)
        self.durations_ms.append(min(max(duration, 0), _LONGEST_MS))

    def _same_size(self) -> Image.Image:
        """Return the frame without what a GIF draws beside its picture."""
        if self._source.size == self._whole:
            return self._source
        return self._source.crop((0, 0, *self._whole))
