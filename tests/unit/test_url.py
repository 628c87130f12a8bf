"""Test device URLs: each mistake gets one clear line."""

from __future__ import annotations

import pytest

from lenslink.errors import UsageError
from lenslink.url import Url, parse_url

SCHEMES = ["unix", "sim", "tcp"]


def test_a_url_is_split_into_its_parts():
    assert parse_url("sim:", SCHEMES) == Url("sim:", "sim", "", {})
    assert parse_url("tcp:[::1]:7650", SCHEMES).path == "[::1]:7650"
    url = parse_url("sim:?scene=%2Fhome%2Fa%20b.png&bits=14", SCHEMES)
    assert url.options == {"scene": "/home/a b.png", "bits": "14"}
    assert parse_url("unix:/run/a%3Fb?x=1", SCHEMES).path == "/run/a?b"
    assert parse_url("sim:?scene=a=b+c", SCHEMES).options == {"scene": "a=b+c"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is no device URL: it begins with one of sim:, tcp:, unix:"),
        ("camera", "'camera' is no device URL: it begins with one of sim:, tcp:, unix:"),
        (
            "usb:",
            "unknown device URL scheme 'usb:' (known: sim:, tcp:, unix:)",
        ),
        (
            "sin:",
            "unknown device URL scheme 'sin:'; did you mean 'sim'? (known: sim:, tcp:, unix:)",
        ),
        ("sim:?scene", "'scene' in 'sim:?scene' is not key=value"),
        ("sim:?=x", "'=x' in 'sim:?=x' is not key=value"),
        ("sim:?a=1&&b=2", "'' in 'sim:?a=1&&b=2' is not key=value"),
        ("sim:?a=1&%61=2", "option 'a' stands twice in 'sim:?a=1&%61=2'"),
    ],
)
def test_a_malformed_url_is_refused(text, said):
    with pytest.raises(UsageError) as caught:
        parse_url(text, SCHEMES)
    assert str(caught.value) == said


def test_unknown_options_are_refused():
    url = parse_url("sim:?scen=x", SCHEMES)
    with pytest.raises(UsageError) as caught:
        url.check_options(["scene", "bits"])
    assert str(caught.value) == (
        "sim: has no option 'scen'; did you mean 'scene'? (it takes bits, scene)"
    )
    with pytest.raises(UsageError, match=r"has no option 'scen' \(it takes none\)"):
        url.check_options([])
    url.check_options(["scen"])


def test_an_option_can_be_a_whole_number():
    url = parse_url("sim:?width=0x40&height=64&bits=twelve&seed=1.5", SCHEMES)
    assert (url.integer("width"), url.integer("height"), url.integer("cfa")) == (64, 64, None)
    for key, value in (("bits", "twelve"), ("seed", "1.5")):
        with pytest.raises(UsageError) as caught:
            url.integer(key)
        assert str(caught.value) == f"sim: {key}={value} is not a whole number"


def test_an_empty_value_is_refused_as_a_number():
    with pytest.raises(UsageError, match="width= is not a whole number"):
        parse_url("sim:?width=", SCHEMES).integer("width")
