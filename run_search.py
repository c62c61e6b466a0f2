"""Runs the command line, as the installed command `movinet-nas` does."""

import sys

from cli.main import main

if __name__ == "__main__":
    sys.exit(main())
