"""`python -m unigen_edu` is the `unigen` command."""

import sys

from unigen_edu.cli import main

sys.exit(main())
