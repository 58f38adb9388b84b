"""Move tasks: look at what the store and the backend show, decide, act, record."""
