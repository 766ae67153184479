"""HTTP/1 on bytes, both sides; knows no model."""
