"""`python -m fastlanczos`: the same as the command `fastlanczos`."""

import sys

from fastlanczos.cli import main

sys.exit(main())
