"""A process that typesets one thing and ends: what it took of memory goes with it. Reads JSON, writes PDF or PNGs.

The fonts are those within typst; those of the system are not looked at, so that every machine makes the same pages. It
reads no file but the template beside it, and fetches nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import typst

PIXELS_PER_INCH = 220.0

_PICTURE = b"""#set page(width: 80mm, height: auto, margin: 0pt)
#set text(font: "Libertinus Serif", size: 9.5pt)
#strong(sys.inputs.title)
#image(bytes(sys.inputs.drawing), format: "svg", width: 100%)"""


def pdf(report: str) -> bytes:
    """Of a report as JSON."""
    template = (Path(__file__).parent / "report.typ").read_bytes()
    made = _compiler({"report": report}).compile(template, format="pdf", pdf_tags=False)
    assert isinstance(made, bytes)  # noqa: S101  # one file, as nothing else was asked for
    return made


def pictures(drawings: list[dict[str, str]]) -> list[bytes]:
    """A PNG of each SVG, its title above it."""
    made = []
    for drawing in drawings:
        page = _compiler(drawing).compile(_PICTURE, format="png", ppi=PIXELS_PER_INCH)
        made.append(page if isinstance(page, bytes) else (page or [b""])[0])
    return made


def _compiler(inputs: dict[str, str]) -> typst.Compiler:
    return typst.Compiler(ignore_system_fonts=True, sys_inputs=inputs)


def main() -> None:
    asked = json.load(sys.stdin.buffer)
    if "report" in asked:
        sys.stdout.buffer.write(pdf(asked["report"]))
    else:
        json.dump([picture.hex() for picture in pictures(asked["drawings"])], sys.stdout)


if __name__ == "__main__":
    main()
