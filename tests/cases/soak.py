"""How much a test does: little in `make test`, all of it in `make soak` (FASTLANCZOS_SOAK=1)."""

import os

SOAK = os.environ.get("FASTLANCZOS_SOAK") == "1"


def examples(whole):
    """Return how many examples hypothesis draws of a test that has so many in a soak."""
    return whole if SOAK else max(20, whole // 8)
