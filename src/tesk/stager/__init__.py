"""Bring inputs in and take outputs out, in a pod or on the host. Imports no store, compute or api."""
