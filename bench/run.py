"""Run the benchmarks and write what they found as tables.

    python bench/run.py [--page docs/benchmarks.md] [pytest's arguments, such as -k features]

Tables of `test_features.py` go between the page's comments `begin features` and `end features`,
and so on; those of files that were not run stay. The page says how to read them.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from page import insert, markdown

HERE = Path(__file__).resolve().parent


def measure(arguments):
    """Run pytest on the benchmarks; return its list of them."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "benchmarks.json")
        command = [
            sys.executable, "-m", "pytest", HERE, "-q", "-m", "", "-p", "no:cacheprovider",
            f"--benchmark-json={file}", "--benchmark-timer=time.process_time",
            "--benchmark-columns=min", "--benchmark-disable-gc", *arguments,
        ]  # fmt: skip
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"{done.stdout}\nbenchmarks failed")
        return json.loads(file.read_text())["benchmarks"]


def seconds(benchmark):
    """Shortest time of one unit of work."""
    return benchmark["stats"]["min"] / benchmark["extra_info"]["points"]


def duration(time):
    """Print a time in a unit that suits it."""
    units = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}
    unit = next((unit for unit, size in units.items() if time >= size), "µs")
    return f"{time / units[unit]:#.3g} {unit}".replace(". ", " ")


def cell(rival, own):
    """How a rival compares."""
    info = rival["extra_info"]
    ratio = seconds(own) / seconds(rival) if info["part"] else seconds(rival) / seconds(own)
    digits = 2 if info["part"] or ratio < 1 else 1 if ratio < 100 else 0
    text = f"{ratio:,.{digits}f}" + (" of it" if info["part"] else "x")
    if info["target"] is not None:
        missed = ratio > info["target"] if info["part"] else ratio < info["target"]
        text = f"**{text}**" if missed else text
        text += f" ({'≤' if info['part'] else '≥'} {info['target']:,g})"
    return text + (f", {info['note']}" if info["note"] else "")


def race_table(benchmarks):
    """Header and lines: one line a size, one column an entrant."""
    rows = defaultdict(dict)
    for benchmark in benchmarks:
        info = benchmark["extra_info"]
        rows[info["row"]][info["entrant"]] = benchmark
    entrants = dict.fromkeys(entrant for row in rows.values() for entrant in row)
    rivals = [entrant for entrant in entrants if entrant != "spikedrf"]
    lines = []
    for row, entries in rows.items():
        if "spikedrf" not in entries:  # `-k` goes by the names of entrants too
            print(f"left out, {', '.join(entries)} without spikedrf: {row}", file=sys.stderr)
            continue
        own = entries["spikedrf"]
        note = own["extra_info"]["note"]
        beside = [cell(entries[rival], own) if rival in entries else "" for rival in rivals]
        lines.append([row, duration(seconds(own)) + (f", {note}" if note else ""), *beside])
    return ["", "spikedrf", *rivals], lines


def tables(benchmarks):
    """Return the tables, one a group, of each file of benchmarks."""
    files = defaultdict(lambda: defaultdict(list))
    for benchmark in benchmarks:
        file = Path(benchmark["fullname"].split("::")[0]).stem.removeprefix("test_")
        files[file][benchmark["group"]].append(benchmark)
    return {
        file: "\n\n".join(
            f"### {group[0].upper()}{group[1:]}\n\n{markdown(*race_table(members))}"
            for group, members in groups.items()
        )
        for file, groups in files.items()
    }


def machine():
    """Say what was measured on."""
    import numpy
    import scipy
    import threadpoolctl

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":")[1].strip()
                break
    kernels = {library["architecture"] for library in threadpoolctl.threadpool_info()
               if library["user_api"] == "blas"}  # fmt: skip
    return (
        f"{name}, one thread; Python {platform.python_version()}, NumPy {numpy.__version__}, "
        f"SciPy {scipy.__version__}, OpenBLAS kernels for {', '.join(sorted(kernels))}."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", type=Path, help="write the tables into this page (Markdown)")
    args, rest = parser.parse_known_args()
    for name, text in tables(measure(rest)).items():
        text += f"\n\n{machine()}"
        if args.page is None:
            print(text, end="\n\n")
        else:
            insert(args.page, name, text)


if __name__ == "__main__":
    main()
