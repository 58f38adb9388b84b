"""HTTP: TES 1.1, our own extensions, health and metrics."""
