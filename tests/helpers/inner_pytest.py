"""A pytest of its own, which a test starts in a folder and looks at afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from .cli_process import interruptible
from .slowdown import patience

RUN_S = 120.0
# hypothesis alone takes a third of the start.
_WITHOUT = ("-p", "no:timeout", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")


class InnerPytest:
    """A pytest that is under way, or has ended.

    It has LensLink's plugin and no other of this suite. It shares the locks of boards.
    """

    def __init__(
        self,
        folder: Path,
        tests: str,
        *arguments: str,
        python: str | Path = sys.executable,
        **environment: str,
    ) -> None:
        self.folder = folder
        (folder / "test_inner.py").write_text(tests)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "LENSLINK_"))}
        if runtime := os.environ.get("LENSLINK_RUNTIME_DIR"):
            kept["LENSLINK_RUNTIME_DIR"] = runtime
        with (folder / "output").open("w") as output, interruptible():
            self.process = subprocess.Popen(
                [str(python), "-m", "pytest", *_WITHOUT, "--junitxml", "junit.xml", *arguments],
                cwd=folder,
                env=kept | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )  # fmt: skip

    def wait(self) -> int:
        """Return the exit status."""
        try:
            return self.process.wait(patience(RUN_S))
        finally:
            self.process.kill()
            self.process.wait()

    @property
    def text(self) -> str:
        """What was printed."""
        return (self.folder / "output").read_text()

    def outcomes(self) -> dict[str, str]:
        """Return what JUnit says of each test: passed, failure, error or skipped."""
        found: dict[str, str] = {}
        for case in self._cases():
            kinds = [each.tag for each in case if each.tag in ("failure", "error", "skipped")]
            name = str(case.get("name"))
            found[name] = next(iter(kinds), found.get(name, "passed"))
        return found

    def properties(self, test: str) -> dict[str, str]:
        """Return the properties that JUnit has of a test."""
        return {
            str(each.get("name")): str(each.get("value"))
            for case in self._cases()
            if case.get("name") == test
            for each in case.iter("property")
        }

    def _cases(self) -> list[ElementTree.Element]:
        path = self.folder / "junit.xml"
        return list(ElementTree.parse(path).iter("testcase"))  # noqa: S314 - our own file
