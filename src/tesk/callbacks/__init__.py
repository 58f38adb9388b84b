"""Telling listeners of each state of their tasks: what the store's outbox holds, signed, in order, again until it was heard."""
