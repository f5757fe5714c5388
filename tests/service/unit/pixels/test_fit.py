"""The size of the resulting image."""

from hypothesis import given
from hypothesis.strategies import integers

from shop.pixels.fit import fit_within

pixels = integers(min_value=1, max_value=100_000)


@given(width=pixels, height=pixels, box_width=pixels, box_height=pixels)
def test_it_fits_and_is_never_made_larger(width, height, box_width, box_height):
    w, h = fit_within(width, height, box_width, box_height)

    assert 1 <= w <= min(width, box_width)
    assert 1 <= h <= min(height, box_height)


@given(width=pixels, height=pixels, box_width=pixels, box_height=pixels)
def test_it_fills_the_box_one_way_and_keeps_its_shape_the_other(
    width, height, box_width, box_height
):
    w, h = fit_within(width, height, box_width, box_height)

    if (w, h) != (width, height):
        fills_across = w == box_width and (h == 1 or abs(h - height * w / width) <= 0.5)
        fills_down = h == box_height and (w == 1 or abs(w - width * h / height) <= 0.5)
        assert fills_across or fills_down


def test_a_line_of_pixels_keeps_one():
    assert fit_within(10_000, 1, 800, 600) == (800, 1)
    assert fit_within(1, 10_000, 800, 600) == (1, 600)
