"""TESK: a GA4GH task execution service for Kubernetes, and for one machine without it."""

__version__ = "0.1.0"
