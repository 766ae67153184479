"""From settings to services: the only place that names concrete classes and starts threads."""
