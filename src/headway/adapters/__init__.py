"""What speaks to the outside: providers, stores, notifiers, runtimes."""
