"""From what the settings say of a database to a ledger that keeps its tables there."""

import importlib

from tesk.errors import StartError
from tesk.listener.ledger import Ledger
from tesk.listener.sqlite import SqliteLedger

_SCHEMES = ("postgresql://", "postgres://")


def ledger_at(database: str) -> Ledger:
    """Return a ledger that is not open. Raises StartError where a package is missing."""
    if not database.startswith(_SCHEMES):
        if "://" in database:
            raise StartError(
                f"no database like {database.partition('://')[0]}:// is known: give a path or a postgresql:// URL"
            )
        return SqliteLedger(database)
    try:
        module = importlib.import_module("tesk.listener.postgres")  # it needs a package that is not everybody's
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise StartError("PostgreSQL wants one package more: pip install 'tesk[postgres]'") from error
    ledger: Ledger = module.PostgresLedger(database)
    return ledger
