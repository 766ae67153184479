"""The way between gateways and the scribe: JSON in frames over a unix socket of our own."""
