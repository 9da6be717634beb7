"""The yardstick: FastAPI answering a constant, on uvicorn set as `booking-ledger serve` sets it."""

import socket

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)


@app.get("/")
async def constant() -> dict[str, int]:
    return {"a": 1}


class Announcing(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        print(f"http://{host}:{port}", flush=True)


def serve(application: ASGIApp) -> None:
    config = uvicorn.Config(
        application,
        host="127.0.0.1",
        port=0,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=75,
        server_header=False,
        proxy_headers=False,
    )
    Announcing(config).run()


if __name__ == "__main__":
    serve(app)
