"""Green is checked, then everybody is switched in one revision while blue stays warm."""

from headway.deployments.plan import Check, Send, Steps, Watch
from headway.kernel.clock import HOUR
from headway.kernel.quantity import WHOLE_BP


def blue_green() -> Steps:
    return (Check(("loads", "smoke")), Send(WHOLE_BP), Watch(HOUR))
