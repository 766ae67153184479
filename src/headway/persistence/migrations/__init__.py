"""The steps from one schema to the next, oldest first; each runs once, in one transaction."""

from typing import Final

REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005", "0006")
"""Every revision that this program knows; the last one is what it works with."""
