"""What happened, and what must be told to the outside."""
