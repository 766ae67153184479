"""Growing shares, each ended by proof."""

from typing import Final

from headway.deployments.plan import Check, Send, Steps, Until, Watch
from headway.kernel.clock import DAY, HOUR
from headway.kernel.quantity import WHOLE_BP

SHARES: Final = ((100, 20.0), (500, 5.0), (2_500, 2.0), (5_000, 1.5))
"""(basis points, how many times worse it is proven not to be)."""


def canary() -> Steps:
    return (
        Check(("loads", "smoke")),
        *(Send(share, Until(factor), at_most=DAY) for share, factor in SHARES),
        Send(WHOLE_BP),
        Watch(HOUR),
    )
