"""Run the benchmarks and write what they found as tables.

    python bench/run.py [--out FILE] [pytest's arguments, such as -k features]

Everything runs on one thread, and times are of the processor. A time in a table is the shortest of
several runs, of the package; beside it stand the rivals: "3.1x" took 3.1 times as long as the
package, and of a rival that does only a part of the work "1.1 of it" says that the package took 1.1
times as long as that part. In brackets what was aimed at; in bold what missed it.
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

HERE = Path(__file__).resolve().parent


def measure(arguments, python=sys.executable, timer="time.process_time"):
    """Run pytest on the benchmarks; return its list of them."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "benchmarks.json")
        command = [
            python, "-m", "pytest", HERE, "-q", "-m", "", "-p", "no:cacheprovider",
            f"--benchmark-json={file}", f"--benchmark-timer={timer}", "--benchmark-columns=min",
            "--benchmark-disable-gc", *arguments,
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
    text = f"{ratio:.2f} of it" if info["part"] else f"{ratio:,.{1 if ratio < 100 else 0}f}x"
    if info["target"] is not None:
        missed = ratio > info["target"] if info["part"] else ratio < info["target"]
        text = f"**{text}**" if missed else text
        text += f" ({'≤' if info['part'] else '≥'} {info['target']:,g})"
    return text + (f", {info['note']}" if info["note"] else "")


def race_table(benchmarks):
    """One line a size, one column an entrant."""
    rows = defaultdict(dict)
    for benchmark in benchmarks:
        info = benchmark["extra_info"]
        rows[info["row"]][info["entrant"]] = benchmark
    entrants = dict.fromkeys(entrant for row in rows.values() for entrant in row)
    rivals = [entrant for entrant in entrants if entrant != "spikedrf"]
    yield ["", "spikedrf", *rivals]
    for row, entries in rows.items():
        own = entries["spikedrf"]
        note = own["extra_info"]["note"]
        beside = [cell(entries[rival], own) if rival in entries else "" for rival in rivals]
        yield [row, duration(seconds(own)) + (f", {note}" if note else ""), *beside]


def list_table(benchmarks):
    """One line an entrant, the first of which is the measure."""
    yield ["", "time", "ratio", "peak memory"]
    first = benchmarks[0]["stats"]["min"]
    for benchmark in benchmarks:
        name, time = benchmark["param"] or benchmark["name"], benchmark["stats"]["min"]
        peak = benchmark["extra_info"].get("peak")
        yield [name, duration(time), f"{time / first:.2f}", f"{peak} MB" if peak else ""]


def tables(benchmarks):
    """Yield the tables, one a group."""
    groups = defaultdict(list)
    for benchmark in benchmarks:
        groups[benchmark["group"]].append(benchmark)
    for group, members in groups.items():
        races = "entrant" in members[0]["extra_info"]
        head, *lines = race_table(members) if races else list_table(members)
        rows = [head, ["---"] * len(head), *lines]
        yield f"### {group}\n\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows)


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
    parser.add_argument("--out", type=Path, help="write the tables here (Markdown)")
    args, rest = parser.parse_known_args()
    benchmarks = measure(rest)
    introduction = __doc__.split("\n\n")[-1].strip()
    text = "\n\n".join(["# Benchmarks", introduction, machine(), *tables(benchmarks)]) + "\n"
    if args.out:
        args.out.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
