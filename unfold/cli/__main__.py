"""`python -m unfold.cli`: the command `unfold`, as its own processes are started."""

from unfold.cli.main import main

main()
