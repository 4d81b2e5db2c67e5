"""`python -m meshcore COMMAND`."""

import sys

from meshcore.cli.main import main

sys.exit(main(sys.argv[1:]))
