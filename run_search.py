"""Run the command line, like the installed command `movinet-nas`."""

import sys

from cli.main import main

if __name__ == "__main__":
    sys.exit(main())
