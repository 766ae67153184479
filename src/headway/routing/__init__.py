"""Which version answers whom: routes, buckets, and why."""
