"""The command line: one module per noun; most are clients of the REST API."""
