"""What the scribe does for gateways: each of their calls in one transaction.

A process of its own does it for all gateways of a machine. So they hold no database library, no
connection and no password, and what it takes to write never delays a request.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from headway.auth.limits import Starts
from headway.gateway.store import Begin, Work
from headway.kernel.canonical import Json
from headway.kernel.errors import OutcomeUnknown
from headway.tracking.measurement import Batch, GatewayRow, Others


@dataclass(frozen=True, slots=True)
class InTransactions:
    """The `Scribe` of the process that has the store."""

    begin: Begin
    look: Begin
    """A transaction that only reads."""

    def enter(self, *, boot: str, host: str, pid: int, at_least: int) -> GatewayRow:
        with self.begin() as work:
            row = work.gateways.start(boot=boot, host=host, pid=pid, at_least=at_least)
            _commit(work)
        return row

    def document(self, *, known: int) -> Mapping[str, Json] | None:
        with self.look() as work:
            if work.source.generation() == known:
                return None
            return work.source.document()

    def flush(self, batch: Batch) -> bool:
        with self.begin() as work:
            taken = work.gateways.flush(batch)
            _commit(work)
        return taken

    def others(self, spender: str, starts: Starts) -> Others:
        with self.look() as work:
            return work.spending.others(spender, starts)

    def leave(self, boot: str) -> None:
        with self.begin() as work:
            work.gateways.stop(boot)
            work.commit()


def _commit(work: Work) -> None:
    try:
        work.commit()
    except Exception as error:
        # Some stores can tell that it was not taken: a repeat is right either way.
        raise OutcomeUnknown("no answer came while it committed") from error
