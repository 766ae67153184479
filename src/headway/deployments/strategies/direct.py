"""All at once, then watched."""

from headway.deployments.plan import Check, Send, Steps, Watch
from headway.kernel.clock import HOUR
from headway.kernel.quantity import WHOLE_BP


def direct() -> Steps:
    return (Check(("loads", "smoke")), Send(WHOLE_BP), Watch(HOUR))
