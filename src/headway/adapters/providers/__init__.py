"""How an upstream is spoken to, one module per dialect."""
