"""Compare the speed of two builds of the package, in one job.

    python bench/compare_builds.py OLD NEW [--rounds N] [--slower FACTOR] [-k WORD ...]

OLD and NEW are each a wheel, or the Python of an environment where a build is installed. Both
serve the cases of `cases.py`, and imports in new processes, in turns: OLD NEW NEW OLD ..., on one
thread and one core. A case counts if both answers are equal. Prints the ratio NEW/OLD of the
median and of the least CPU time, and exits with 1 if both are above FACTOR anywhere, if answers
differ, or if NEW cannot do what OLD can. A case that only NEW can do is listed.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import venv
from itertools import chain
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
IMPORTS = (
    "import spikedrf",
    "from spikedrf import theory",
    "from spikedrf import SpikedRFRegressor",
)
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL")}
# A turn calls as often as takes this many CPU seconds.
TURN = 0.05
# Answers are certified to 1e-8, but an estimator may use single precision where that is enough.
CLOSE = 1e-5


def python_of(build, folder):
    """Return the Python to run: as given, or that of a new environment with the wheel."""
    if build.suffix != ".whl":
        return build
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    subprocess.run([python, "-m", "pip", "install", "-q", build], check=True)
    return python


class Build:
    """One build, and a process of it that serves the cases."""

    def __init__(self, python):
        self.python, pipe = python, subprocess.PIPE
        self.environment = os.environ | ONE_THREAD
        command = [python, "-W", "ignore", HERE / "cases.py"]
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=self.environment
        )
        self.names = self.reply()

    def reply(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the cases ended under {self.python}")
        return json.loads(line)

    def ask(self, name, calls):
        """Return the answer of a case, or with calls the CPU seconds of each."""
        print(json.dumps([name, calls]), file=self.process.stdin, flush=True)
        reply = self.reply()
        return reply / calls if calls else reply

    def run(self, statement):
        """Return the CPU seconds of a new process that executes a statement."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [self.python, "-W", "ignore", "-c", statement]
        subprocess.run(command, check=True, env=self.environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def apart(old, new):
    """How far two answers are apart, beside the largest number; NaN equals NaN."""
    if len(old) != len(new):
        return math.inf
    size = max((abs(x) for x in old if math.isfinite(x)), default=0.0) or 1.0
    far = 0.0
    for x, y in zip(old, new, strict=True):
        if x == y or (math.isnan(x) and math.isnan(y)):
            continue
        away = abs(x - y) / size
        far = max(far, away if math.isfinite(away) else math.inf)
    return far


def in_turns(builds, call, rounds):
    """Return what a call took for either build."""
    took = {build: [] for build in builds}
    for turn in range(rounds):
        for build in builds if turn % 2 == 0 else builds[::-1]:
            took[build].append(call(build))
    return took.values()


def compared(builds, names, rounds):
    """Yield name, times of both and what else there is to say; none if that is an error."""
    for name in names:
        old, new = (build.ask(name, 0) for build in builds)
        if isinstance(old, str):
            yield name, None, f"OLD cannot: {old}"
        elif isinstance(new, str):
            yield name, None, f"<-- NEW cannot: {new}"
        elif (far := apart(old, new)) > CLOSE:
            yield name, None, f"<-- answers are {far:.1g} apart"
        else:
            once = max(build.ask(name, 1) for build in builds)
            calls = max(1, round(TURN / max(once, 1e-6)))
            yield name, in_turns(builds, lambda b, n=name, c=calls: b.ask(n, c), rounds), ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--rounds", type=int, default=9, help="turns of each (%(default)s)")
    parser.add_argument("--slower", type=float, default=1.1, help="what fails (%(default)s)")
    parser.add_argument("-k", nargs="+", default=[""], help="cases that have one of these words")
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # inherited by what is started from here
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    def chosen(names):
        return [name for name in names if any(word in name for word in args.k)]

    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        builds = [
            Build(python_of(getattr(args, name), Path(folder, name))) for name in ("old", "new")
        ]
        rows = chain(
            compared(builds, chosen(builds[1].names), args.rounds),
            (
                (text, in_turns(builds, lambda b, t=text: b.run(t), args.rounds), "")
                for text in chosen(IMPORTS)
            ),
        )
        print(f"{'median':>6}  {'least':>6}  {'NEW':>13}")
        for name, both, remark in rows:
            numbers = " " * 29
            if both is not None:
                old, new = both
                typical, least = median(new) / median(old), min(new) / min(old)
                numbers = f"{typical:6.2f}  {least:6.2f}  {median(new) * 1e3:10.3f} ms"
                remark = "<-- slower" if min(typical, least) > args.slower else ""
            wrong += remark.startswith("<--")
            print(f"{numbers}  {name}  {remark}".rstrip(), flush=True)
    print(f"{wrong} slower by more than {args.slower:g}, or with another answer")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
