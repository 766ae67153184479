"""The traffic plane: from a caller's request to a version's answer, and what was seen of it."""
