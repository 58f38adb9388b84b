"""Azure's blobs over a line that spoils them."""

import os
import tempfile

import pytest

import azurite
from fakes.between import Broken, between
from fakes.worlds_objects import azure, azures
from tesk.errors import TransferFailed
from tesk.settings import AzContainer


def nothing(size_bytes: int) -> None:
    """An Advance that lets everything pass."""


@pytest.mark.parametrize("size", [100, 3_000_000, 40_000_000])
def test_what_azure_sends_is_held_to_the_md5_that_it_has(size: int) -> None:
    server = azures()
    container = server.new_container()
    data = os.urandom(size)
    server.ask("PUT", f"{container}/a%20b", data, headers={"x-ms-blob-type": "BlockBlob"})
    url = f"az://{azurite.ACCOUNT}/{container}/a b"
    with between(server.url) as middle, tempfile.TemporaryFile() as target:
        known = AzContainer(
            account=azurite.ACCOUNT, endpoint=f"{middle.url}/{azurite.ACCOUNT}", account_key=azurite.KEY
        )
        with azure(known) as scheme:
            assert scheme.get(url, target.fileno(), nothing).size_bytes == size
            assert os.pread(target.fileno(), size + 1, 0) == data
            asked = [path.partition("?")[0] for method, path in middle.asked if method == "HEAD"]
            assert asked == [f"/{azurite.ACCOUNT}/{container}/a%20b"] * (size > 1_000_000)
            if size > 1_000_000:
                os.ftruncate(target.fileno(), 0)
                middle.break_first(99, Broken(flipped=True), method="GET")
                with pytest.raises(TransferFailed, match=r"its MD5 is [0-9a-f]{32}, but the server says [0-9a-f]{32};"):
                    scheme.get(url, target.fileno(), nothing)
                assert os.fstat(target.fileno()).st_size == 0
