"""Run tasks on this host: host programs in a bubblewrap sandbox, no container engine."""
