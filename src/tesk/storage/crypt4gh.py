"""`crypt4gh+SCHEME://`: the seam for GA4GH Crypt4GH files in any scheme. They are not read or written yet."""

from collections.abc import Callable, Iterator
from typing import ClassVar, NoReturn

from tesk.errors import TransferRefused
from tesk.settings import StorageSettings
from tesk.storage.scheme import Advance, Entry, Scheme
from tesk.storage.url import shown


def for_caller(
    settings: StorageSettings,  # noqa: ARG001  what every scheme is asked for
    caller: str,  # noqa: ARG001
    of: Callable[[str], Scheme],
) -> "Crypt4ghScheme":
    """Build the scheme that `caller` gets; `of` knows the schemes of the files themselves."""
    return Crypt4ghScheme(of)


class Crypt4ghScheme:
    """Encrypted files of other schemes, whose URLs stand behind `crypt4gh+`."""

    has_folders: ClassVar[bool] = True

    def __init__(self, of: Callable[[str], Scheme]) -> None:
        self._of = of

    def close(self) -> None:
        """Nothing is kept open."""

    def stat(self, url: str) -> NoReturn:
        self._of(url.partition("+")[2])  # a scheme that there is not is said first
        raise TransferRefused(
            f"{shown(url)}: Crypt4GH is not supported yet; without crypt4gh+ the file comes as it is, encrypted"
        )

    def check_server(self, url: str) -> None:
        self.stat(url)

    def list(self, url: str) -> Iterator[Entry]:
        self.stat(url)

    def get(self, url: str, target: int, advance: Advance) -> NoReturn:  # noqa: ARG002  names of the Protocol
        self.stat(url)

    def put(self, source: int, url: str, advance: Advance) -> NoReturn:  # noqa: ARG002  names of the Protocol
        self.stat(url)

    def make_directory(self, url: str) -> NoReturn:
        self.stat(url)
