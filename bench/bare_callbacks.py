"""The least Starlette application that takes callbacks: it reads each, answers 204 and keeps nothing."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


async def _take(request: Request) -> Response:
    await request.body()
    return Response(status_code=204)


async def _ready(_: Request) -> JSONResponse:
    return JSONResponse({})


app = Starlette(routes=[Route("/", _ready), Route("/webhook", _take, methods=["POST"])])
