"""Bytes by their digest."""
