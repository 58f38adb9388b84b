"""What an Idempotency-Key promises: the same key and body within a day give the same id."""

KEY_SECONDS = 24 * 3600.0
"""How long a key is known."""

REUSED = "this Idempotency-Key was used within a day for another body"
"""What the answer says that refuses it."""
