"""Let plain asserts in the suites show the values that differ."""

import pytest

pytest.register_assert_rewrite("suites")
