"""What runs a model's bytes."""
