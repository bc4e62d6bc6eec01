"""Compare the speed of two builds of the package, in one job.

    python bench/compare_builds.py OLD NEW [--rounds N] [--slower FACTOR] [pytest's arguments]

OLD and NEW are each a wheel, or the Python of an environment where a build is installed with its
test extra. The package's own benchmarks run in turns, OLD NEW NEW OLD ..., on one thread and one
core, each warmed up; what counts is the shortest time of all turns. Prints the ratio NEW/OLD of
every benchmark, and exits with 1 if any is above FACTOR in the shortest and in the median time.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from collections import defaultdict
from pathlib import Path
from statistics import median

from run import measure


def python_of(build, folder):
    """Return the Python to run: as given, or that of a new environment with the wheel."""
    if build.suffix != ".whl":
        return build
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    subprocess.run([python, "-m", "pip", "install", "-q", f"{build}[test]"], check=True)
    return python


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (%(default)s)")
    parser.add_argument("--slower", type=float, default=1.1, help="what fails (%(default)s)")
    args, rest = parser.parse_known_args()
    if hasattr(os, "sched_setaffinity"):  # inherited by what is started from here
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    times = {"old": defaultdict(list), "new": defaultdict(list)}
    with tempfile.TemporaryDirectory() as folder:
        builds = {name: python_of(getattr(args, name), Path(folder, name)) for name in times}
        for turn in range(args.rounds):
            for name in ("old", "new") if turn % 2 == 0 else ("new", "old"):
                for benchmark in measure(["--own", *rest], builds[name]):
                    times[name][benchmark["name"]].append(benchmark["stats"]["min"])
    slower = 0
    for name in [name for name in times["old"] if name in times["new"]]:
        old, new = times["old"][name], times["new"][name]
        ratio, typical = min(new) / min(old), median(new) / median(old)
        worse = min(ratio, typical) > args.slower
        slower += worse
        mark = "  <-- slower" if worse else ""
        print(f"{ratio:6.2f}  {typical:6.2f}  {min(new) * 1e3:10.3f} ms  {name}{mark}")
    print(f"{slower} of {len(times['old'])} benchmarks are slower by more than {args.slower:g}")
    sys.exit(slower > 0)


if __name__ == "__main__":
    main()
