"""The chart in a report's email."""

import io
from itertools import product

import matplotlib as mpl
import pytest
from PIL import Image, ImageColor

from shop.reports import chart, numbers


def image(content):
    return Image.open(io.BytesIO(content)).convert("RGB")


def columns(picture, colour):
    """Return the columns that contain a colour, from the left."""
    wanted = ImageColor.getrgb(colour)
    width, height = picture.size
    pixels = picture.load()
    return {x for x, y in product(range(width), range(height)) if pixels[x, y] == wanted}


def bars(found):
    """Return the number of runs of adjacent columns."""
    return sum(x - 1 not in found for x in found)


def test_each_currency_has_a_panel_of_the_width_of_a_mail(report, sales):
    one = image(chart.draw_chart(report(sales("EUR", "5"))))
    two = image(chart.draw_chart(report(sales("EUR", "5"), sales("JPY", "300"))))

    assert one.width == two.width == 600 * 2
    assert two.height - one.height == 200 * 2


def test_the_day_stands_out_from_those_before_it(report, sales):
    picture = image(chart.draw_chart(report(sales("EUR", "5" * 30, before="1" * 30))))

    others, day = columns(picture, chart.OTHER), columns(picture, chart.DAY)
    assert bars(others) == 29
    assert min(day) > max(others)


def test_a_report_of_zeros_has_a_chart(report, sales):
    picture = image(chart.draw_chart(report(sales("EUR"))))

    assert not columns(picture, chart.OTHER)
    assert picture.width == 1200


@pytest.mark.parametrize("amount", ["0.0000001", "0.05", "999", "2000", "5E+6", "1E+40"])
def test_amounts_of_any_size_can_be_drawn(report, sales, amount):
    picture = image(chart.draw_chart(report(sales("EUR", amount))))

    assert bars(columns(picture, chart.OTHER)) == 0
    assert columns(picture, chart.DAY)


def test_the_same_report_is_the_same_picture_whatever_is_set(report, sales):
    one = chart.draw_chart(report(sales("EUR", "5")))
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black", "savefig.dpi": 10}):
        other = chart.draw_chart(report(sales("EUR", "5")))
        assert mpl.rcParams["font.size"] == 30

    assert one == other


def test_of_many_currencies_those_of_the_settings_and_of_the_day_are_drawn(report, sales):
    codes = [f"A{n:02}" for n in range(60)]
    many = report(sales("EUR"), *(sales(code, before="1") for code in codes), sales("USD", "5"))

    assert [one.currency for one in many.numbers.chart_series] == [
        "EUR",
        "USD",
        *codes[: numbers.MAX_CHART_SERIES - 2],
    ]
