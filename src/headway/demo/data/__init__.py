"""The images that the story is told with; see ATTRIBUTION.md."""
