"""The one place that builds: from settings to store, backend, stager, loops and the HTTP app."""
