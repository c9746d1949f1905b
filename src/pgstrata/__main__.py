"""``python -m pgstrata``."""

import sys

from pgstrata.cli.main import main

sys.exit(main())
