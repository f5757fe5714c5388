"""Scaling down a 12-megapixel picture, by the decoder process and by Pillow alone."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from bench.measurement import Measurement, alternate_rounds, compare_with_peer
from bench.size import Size
from bench.world import World
from shop.images import decoder
from shop.pixels import ImageRequest
from shop.settings import settings

WIDTH, HEIGHT = 4000, 3000
BOX, QUALITY = (800, 600), 85
NOISE = 24
"""Deviation of the noise, which makes the file as large as a camera's: about 5 MB."""


def pictures(world: World, size: Size) -> list[Measurement]:
    """Read the same file, scale it to 800x600 and write it, one at a time."""
    source, target = write_photo(world.folder / "photo.jpg"), world.folder / "small.jpg"
    ways: dict[str, Callable[[], None]] = {
        "ours": lambda: scale_as_job(source, target),
        "pillow": lambda: scale_with_pillow(source, target),
    }

    def measure(way: str) -> dict[str, float]:
        ways[way]()
        return {"ms": statistics.median(time_call(ways[way]) for _ in range(size.pictures)) * 1000}

    found = alternate_rounds(size.rounds, list(ways), measure)
    ours, pillow = found["ours"]["ms"], found["pillow"]["ms"]
    name = "12-megapixel JPEG to 800x600"
    return [compare_with_peer(name, ours, "ms", "Pillow alone", pillow, at_most=1.2)]


def write_photo(path: Path) -> Path:
    """Write something like a photo: gradients with sensor noise."""
    bands = [
        Image.blend(
            Image.linear_gradient("L").rotate(turn).resize((WIDTH, HEIGHT)),
            Image.effect_noise((WIDTH, HEIGHT), NOISE),
            0.5,
        )
        for turn in (0, 90, 180)
    ]
    Image.merge("RGB", bands).save(path, quality=90)
    return path


def scale_as_job(source: Path, target: Path) -> None:
    """Scale the picture as the job does: with every check, in another process."""
    config = settings()
    wanted = ImageRequest(
        *BOX,
        QUALITY,
        "jpeg",
        ".jpg",
        config.image_max_bytes,
        config.image_max_pixels,
        config.image_max_jpeg_pixels,
        config.image_max_frames,
    )
    with source.open("rb") as read, target.open("wb") as write:
        decoder.decode(read, write, wanted)


def scale_with_pillow(source: Path, target: Path) -> None:
    """Scale the picture with Pillow alone, in as few steps as possible."""
    with Image.open(source) as image:
        image.draft("RGB", BOX)
        image.resize(BOX).save(target, quality=QUALITY)


def time_call(way: Callable[[], None]) -> float:
    """Return how many seconds a call takes."""
    began = time.perf_counter()
    way()
    return time.perf_counter() - began
