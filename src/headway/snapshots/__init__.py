"""What a route was before it changed, kept by name."""
