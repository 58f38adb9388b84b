"""What an executor of a pod writes, while it does and afterwards, in pieces that know their place."""

from collections.abc import AsyncIterator

from tesk.compute.backend import AttemptId, Piece, Stream
from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.pod_status import container
from tesk.compute.kubernetes.pods import Pods
from tesk.compute.kubernetes.refusals import Invalid, NotFound, Refused
from tesk.compute.kubernetes.results import tails
from tesk.errors import BackendUnavailable
from tesk.pod import EXECUTOR


async def written(
    pods: Pods, api: Api, attempt: AttemptId, executor: int, *, stream: Stream, follow: bool
) -> AsyncIterator[Piece]:
    """As `Backend.logs`. A container has one log of both streams; which was which, the pod's report says at its end."""
    name, read = EXECUTOR.format(executor), 0
    while (known := pods.get(attempt)) is not None:
        if known.result is not None:
            for piece in tails(known.result, executor, stream):
                yield piece
            return
        state = container(known.pod, name).state
        if stream == "combined" and (state.running or state.terminated):
            passed = 0
            try:
                meta = known.pod.metadata
                async for data in api.logs(meta.namespace, meta.name, name, follow=follow):
                    known_bytes = min(max(0, read - passed), len(data))
                    if known_bytes < len(data):
                        yield Piece(stream, passed + known_bytes, data[known_bytes:])
                    passed += len(data)
                read = max(read, passed)
            except (Invalid, NotFound):
                pass  # it is not there yet, or no more
            except Refused as error:
                raise BackendUnavailable(f"The log cannot be read now: {error}") from error
            else:
                if state.terminated:
                    yield Piece(stream, read, b"")
                    return
        if not follow:
            return
        # Who read on while the pod changed has missed the news.
        if known.result is None and container(known.pod, name).state == state:
            await pods.news(attempt)
