"""A world with a clock, in-memory stores and a scripted provider: for us and for authors of plug-ins."""
