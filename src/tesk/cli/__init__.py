"""The `tesk` command."""
