"""``python -m ttprof``."""

from ttprof.cli.main import main

main()
