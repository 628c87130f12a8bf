"""Device URLs: any text is a URL or a usage error, and what is quoted comes back."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from lenslink.errors import UsageError
from lenslink.url import Url, parse_url

SCHEMES = ["sim", "tcp", "unix"]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(st.one_of(TEXT, TEXT.map("sim:{}".format), TEXT.map("sim:?{}".format)))
def test_any_text(text):
    try:
        url = parse_url(text, SCHEMES)
    except UsageError as error:
        assert "\n" not in str(error) or "\n" in text
    else:
        assert url.scheme in SCHEMES
        assert url.text == text


@given(st.sampled_from(SCHEMES), TEXT, st.dictionaries(TEXT.filter(bool), TEXT.filter(bool)))
def test_what_is_quoted_comes_back(scheme, path, options):
    query = "&".join(f"{quote(key, safe='')}={quote(value)}" for key, value in options.items())
    text = f"{scheme}:{quote(path)}" + (f"?{query}" if query else "")
    assert parse_url(text, SCHEMES) == Url(text, scheme, path, options)


@given(TEXT, st.lists(TEXT, unique=True))
def test_options_are_those_that_are_known(key, known):
    url = Url("sim:", "sim", "", {key: "1"})
    try:
        url.check_options(known)
    except UsageError as error:
        assert key not in known
        assert f"'{key}'" in str(error)
    else:
        assert key in known


@given(st.integers(), st.sampled_from(["{}", "{:#x}", "{:#o}"]))
def test_whole_numbers(number, form):
    url = Url("sim:", "sim", "", {"width": form.format(number)})
    assert url.integer("width") == number
    assert url.integer("height") is None
