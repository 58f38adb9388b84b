"""The truth: tasks, attempts, events and leases in SQL. Everything else can be lost."""
