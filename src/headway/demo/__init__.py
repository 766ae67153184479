"""The story of `make run`: digits are registered, deployed, judged and rolled back, for real."""
