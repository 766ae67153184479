"""The work on dictionaries: the same promises as the database's, kept without one.

Rows are immutable: a change is another row under the same key. A work sees what is committed and
what it wrote itself; at commit every row that it wrote must still be the one that it found, else
`Conflict`, and nothing of it is stored.
"""

from headway.testing.memory.store import Store
from headway.testing.memory.work import MemoryWork, begin

__all__ = ["MemoryWork", "Store", "begin"]
