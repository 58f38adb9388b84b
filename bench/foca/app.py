"""A minimal TES server made with FOCA, without any store: the peer of our requests. Runs in its own environment."""

import logging
from pathlib import Path

from foca import Foca

logging.disable(logging.INFO)
app = Foca(config_file=str(Path(__file__).with_name("config.yaml"))).create_app()
