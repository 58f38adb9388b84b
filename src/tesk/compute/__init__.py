"""Where tasks run: one Protocol, several places."""
