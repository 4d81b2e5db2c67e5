"""The limit in Python: an aiohttp server that hands everything to the upstream and back, and does no more.

python -m benchmarks.pass_through PORT UPSTREAM
"""

import sys
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

UPSTREAM = web.AppKey("upstream", str)
POOL = web.AppKey("pool", aiohttp.ClientSession)


async def pass_on(request: web.Request) -> web.StreamResponse:
    """Send the body on; return the answer, piece by piece when it is a stream."""
    body = await request.read()
    headers = {"Content-Type": "application/json"}
    async with request.app[POOL].post(request.app[UPSTREAM], data=body, headers=headers) as answer:
        if answer.content_type != "text/event-stream":
            return web.Response(body=await answer.read(), content_type=answer.content_type)
        response = web.StreamResponse(headers={"Content-Type": answer.content_type})
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
        return response


async def _pooled(app: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as pool:
        app[POOL] = pool
        yield


def build(upstream: str) -> web.Application:
    """Return the application for an upstream's whole URL."""
    app = web.Application()
    app[UPSTREAM] = upstream
    app.cleanup_ctx.append(_pooled)
    app.router.add_post("/v1/chat/completions", pass_on)
    return app


if __name__ == "__main__":
    web.run_app(build(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
