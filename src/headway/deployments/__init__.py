"""Moving a route from one version to the next, by a plan."""
