"""The connections to an API server that breaks off."""

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import struct

import uvloop

from tesk.compute.kubernetes.api import Api
from tesk.compute.kubernetes.credentials import Access
from tesk.compute.kubernetes.kubeconfig import Cluster, User
from tesk.compute.kubernetes.objects import Bare
from tesk.compute.kubernetes.refusals import Unanswered

TIMES = 40


def test_a_connection_that_breaks_before_tls_closes_nothing_but_itself():
    async def reset(listener):
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listener)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    async def story():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            resetting = asyncio.create_task(reset(listener))
            where = f"https://127.0.0.1:{listener.getsockname()[1]}"
            access = Access(Cluster(server=where, insecure_skip_tls_verify=True), User(), "ns", environment={})
            async with Api(access, request_seconds=0.05) as api:
                for _ in range(TIMES):
                    with contextlib.suppress(Unanswered):
                        await api.get("/api/v1/pods", Bare)
                    # They take the numbers that are free now.
                    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(10)]
                    gc.collect()
                    for number in opened:
                        os.close(number)
            resetting.cancel()

    # A future that nobody asks any more tells of it when it is swept up.
    def quiet(loop, context):
        assert isinstance(context.get("exception"), OSError | ssl.SSLError), context

    async def whole():
        asyncio.get_running_loop().set_exception_handler(quiet)
        await story()

    # What is there already is not swept up: where other tests ran before, that alone takes half a second each time.
    gc.freeze()
    try:
        uvloop.run(whole())
    finally:
        gc.unfreeze()
