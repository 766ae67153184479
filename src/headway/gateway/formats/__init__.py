"""The dialects that callers speak."""
