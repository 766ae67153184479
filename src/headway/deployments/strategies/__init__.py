"""What turns 'deploy 2.4.0' into steps; plug-ins add more by the same door."""
