"""Plain asserts in the suites say what differed."""

import pytest

pytest.register_assert_rewrite("suites")
