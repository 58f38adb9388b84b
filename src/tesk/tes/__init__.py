"""The words of TES 1.1 as values: tasks, logs, states, views, validation. Pure: no clock, no database, no network."""
