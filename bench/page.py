"""Tables of the documentation, written into it by what made them."""

from pathlib import Path


def markdown(header, rows):
    """A Markdown table of strings."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def insert(page, name, text):
    """Put the text between the page's comments `begin NAME` and `end NAME`."""
    page = Path(page)
    before, begin, rest = page.read_text("utf-8").partition(f"<!-- begin {name} -->\n")
    _, end, after = rest.partition(f"<!-- end {name} -->")
    if not begin or not end:
        raise ValueError(f"{page} has no comments 'begin {name}' and 'end {name}'")
    page.write_text(f"{before}{begin}\n{text}\n\n{end}{after}", "utf-8")
