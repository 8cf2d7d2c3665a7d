"""`python -m taskdb.cli`."""

import sys

from taskdb.cli import main

sys.exit(main())
