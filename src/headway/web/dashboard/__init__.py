"""The page that people watch a release on."""
