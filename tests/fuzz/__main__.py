"""Fuzz one parser, or all of them, with atheris: ``python -m tests.fuzz TARGET --seconds N``.

An input that crashes, takes more than 2 s, or lets the process grow by 64 MB, ends the run with an
exit code that is not 0, and is kept in out/fuzz. ``--keep`` puts what was found to reach new code
into tests/fuzz/corpus, at most 16 inputs of 1 KB a target.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
_GROWTH_KB = 64 << 10
_KEPT, _KEPT_BYTES = 16, 1024
_MISSING = 3


def fuzz(name: str, seconds: int) -> None:
    """Fuzz a target in this process. libFuzzer ends the process."""
    import atheris

    sys.path.insert(0, str(ROOT / "tests"))
    with atheris.instrument_imports(
        include=["lenslink_protocol", "lenslink", "lenslink_hil", "lensfw"]
    ):
        from tests.fuzz import targets
    function = targets.TARGETS[name][0]
    work = ROOT / "out/fuzz" / name
    work.mkdir(parents=True, exist_ok=True)
    for data in targets.inputs(name):
        (work / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)
    seen = [0, 0]

    def one(data: bytes) -> None:
        function(data)
        seen[0] += 1
        if seen[0] % 1000 == 0:
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            # The first thousands of inputs fill caches.
            seen[1] = seen[1] if seen[0] > 5000 else most
            if most > seen[1] + _GROWTH_KB:
                raise MemoryError(f"grown from {seen[1]} to {most} KB in {seen[0]} inputs")

    arguments = [
        "fuzz", str(work), f"-max_total_time={seconds}", "-timeout=2", "-max_len=4096",
        "-rss_limit_mb=2048", "-print_final_stats=1", f"-artifact_prefix={work.parent}/{name}-",
    ]  # fmt: skip
    atheris.Setup(arguments, one)
    atheris.Fuzz()


def keep(name: str) -> int:
    """Copy the smallest inputs of the last run to the corpus. Return the size of the corpus."""
    from tests.fuzz import targets

    corpus = ROOT / "tests/fuzz/corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = {bytes(each) for each in targets.TARGETS[name][1]()}
    found = [path for path in (ROOT / "out/fuzz" / name).iterdir() if path.is_file()]
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found:
        data = path.read_bytes()
        if len(list(corpus.iterdir())) >= _KEPT:
            break
        if data not in seeds and len(data) <= _KEPT_BYTES:
            (corpus / path.name).write_bytes(data)
    return len(list(corpus.iterdir()))


def main() -> int:
    """Run the command. Return 0 if nothing was found, 3 if atheris is not installed."""
    sys.path.insert(0, str(ROOT / "tests"))
    from tests.fuzz import targets

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=[*targets.TARGETS, "all"])
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--keep", action="store_true", help="add to the corpus what was found")
    options = parser.parse_args()
    import importlib.util

    if importlib.util.find_spec("atheris") is None:
        print("NOT RUN: atheris is not installed (pip install atheris; Python 3.11 only)")
        return _MISSING
    names = list(targets.TARGETS) if options.target == "all" else [options.target]
    worst = 0
    for name in names:
        # Each target has a process: parsers are instrumented when they are imported.
        script = f"from tests.fuzz.__main__ import fuzz; fuzz({name!r}, {options.seconds})"
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
            capture_output=True,
            text=True,
            check=False,
        )
        lines = done.stderr.splitlines()
        runs = next((x.split()[-1] for x in lines if "number_of_executed_units" in x), "?")
        print(f"{name}: {runs} inputs, exit {done.returncode}", flush=True)
        if done.returncode:
            print(*done.stdout.splitlines()[-30:], *lines[-30:], sep="\n")
        worst = max(worst, abs(done.returncode))
        if options.keep:
            print(f"  {keep(name)} inputs in the corpus")
    return worst


if __name__ == "__main__":
    sys.exit(main())
