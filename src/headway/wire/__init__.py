"""HTTP/1 on bytes; knows no model."""
