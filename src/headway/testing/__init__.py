"""A world with a clock, in-memory stores, a scripted provider: for us and for plug-ins."""
