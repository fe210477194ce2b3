"""`python -m conftrack`."""

from conftrack.cli import main

main()
