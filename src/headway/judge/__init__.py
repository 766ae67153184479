"""Is the candidate worse? Pure, and valid however often one looks."""
