"""What is asked of a version before any user's traffic reaches it."""
