"""What requests showed: stamps, measurements, sketches, feedback."""
