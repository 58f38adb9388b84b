"""Where bytes live: one Protocol, one module for each kind of URL."""
