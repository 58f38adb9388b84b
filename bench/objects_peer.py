"""What others do with objects: `python objects_peer.py boto3|obstore large|in|out ENDPOINT BUCKET FOLDER THREADS`; prints seconds."""

import importlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

KEYS = {"access_key_id": "test-key", "secret_access_key": "test-secret"}
FILES = 1000


def boto3(endpoint: str, bucket: str, folder: str) -> None:
    """Bring the large object in, as boto3 does by default: ten threads."""
    named = {f"aws_{name}": value for name, value in KEYS.items()}
    client = importlib.import_module("boto3").client("s3", endpoint_url=endpoint, region_name="us-east-1", **named)
    client.download_file(bucket, "large", f"{folder}/large")


def obstore(what: str, endpoint: str, bucket: str, folder: str, threads: int) -> None:
    """Move the small files by a bare pool of threads."""
    library, stores = importlib.import_module("obstore"), importlib.import_module("obstore.store")
    config = {**KEYS, "endpoint": endpoint, "region": "us-east-1"}
    store = stores.S3Store(bucket, config=config, client_options={"allow_http": True})
    made = f"{folder}/data/in"
    os.makedirs(made, exist_ok=True)

    def bring(key: str) -> None:
        with open(f"{made}/{os.path.basename(key)}", "wb") as file:
            file.write(library.get(store, key).bytes())

    def take(name: str) -> None:
        with open(f"{made}/{name}", "rb") as file:
            library.put(store, f"small-out/{name}", file.read(), use_multipart=False)

    with ThreadPoolExecutor(threads) as pool:
        if what == "in":
            keys = [one["path"] for page in library.list(store, "small", chunk_size=1000) for one in page]
            done = list(pool.map(bring, keys))
        else:
            done = list(pool.map(take, os.listdir(made)))
    if len(done) != FILES:
        raise RuntimeError(f"{len(done)} files")


if __name__ == "__main__":
    name, what, endpoint, bucket, folder, threads = sys.argv[1:]
    begun = perf_counter()
    if name == "boto3":
        boto3(endpoint, bucket, folder)
    else:
        importlib.import_module("obstore.store")
        begun = perf_counter()
        obstore(what, endpoint, bucket, folder, int(threads))
    print(perf_counter() - begun, flush=True)
    os._exit(0)  # the library's own threads may abort a program that ends in order
