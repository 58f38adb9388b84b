"""What can be done with tasks, whoever asks and over whatever wire: create, get, list, cancel, service info."""
