"""A Python client for any TES 1.1 server, asynchronous and plain."""
