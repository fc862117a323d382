"""`python -m aicn` is the command `aicn`."""

from aicn.cli.main import main

main()
