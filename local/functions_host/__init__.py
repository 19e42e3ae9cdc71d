"""A small Azure Functions host: what `func start` is where Core Tools cannot be installed."""
