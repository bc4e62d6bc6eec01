"""Write the outputs of docs/command_line.md anew: `python docs/command_line.py`."""

import contextlib
import io
import os
import re
import shlex
import tempfile
from pathlib import Path

from spikedrf import cli

PAGE = Path(__file__).with_suffix(".md")
_CONSOLE = re.compile(r"^```console\n\$ (.*)\n((?:.*\n)*?)```$", re.MULTILINE)


def files(text):
    """Return what the page says is in the files that its commands read, by name."""
    (program,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, str(PAGE), "exec"), {})
    (new,) = re.findall(
        r"^```text\n(town,size,age,garden\n.*?)^```$", text, re.DOTALL | re.MULTILINE
    )
    return {"homes.csv": printed.getvalue(), "new.csv": new}


def commands(text):
    """Yield every command of the page and what stands beneath it."""
    for found in _CONSOLE.finditer(text):
        yield found[1], found[2]


def output(command):
    """Return what a command prints."""
    program, *arguments = shlex.split(command)
    assert program == "spikedrf"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert cli.main(arguments) == 0
    return printed.getvalue()


def main():
    """Run all commands, in an empty folder, and write what they print into the page."""
    text = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name, content in files(text).items():
            Path(name).write_text(content, encoding="utf-8")
        told = {command: output(command) for command, _ in commands(text)}
    text = _CONSOLE.sub(lambda found: f"```console\n$ {found[1]}\n{told[found[1]]}```", text)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "agg")
    main()
