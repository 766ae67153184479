"""Models that run locally, behind the Open Inference Protocol."""
