"""A WebSocket peer for portico's interop tests, on the websockets package.

    ws.py server [--compress] [--subprotocols a,b] [--cert file --key file]
    ws.py client --url ws://host:port/echo [--compress] [--subprotocols a,b] [--ca file] [--seed 1] echo|command|close|ping [...]

The commands and what is printed are those of the Go program in ../go/ws.
"""

import argparse
import asyncio
import random
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

LIMIT_S = 30
MAX_MESSAGE_BYTES = 1 << 22


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=["server", "client"])
    parser.add_argument("what", nargs="*")
    parser.add_argument("--url")
    parser.add_argument("--compress", action="store_true")
    parser.add_argument("--subprotocols", type=lambda names: names.split(","))
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--ca")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_intermixed_args()


def settings(given):
    return {
        "compression": "deflate" if given.compress else None,
        "subprotocols": given.subprotocols,
        "max_size": MAX_MESSAGE_BYTES,
        "ping_interval": None,
    }


async def answer(connection, message):
    words = message.split(" ", 2) if isinstance(message, str) else [""]
    if words[0] == "/close":
        await connection.close(int(words[1]), words[2] if len(words) > 2 else "")
    elif words[0] == "/subprotocol":
        await connection.send(connection.subprotocol or "")
    elif words[0] == "/ping":
        await asyncio.wait_for(await connection.ping(words[1]), LIMIT_S)
        await connection.send(words[1])
    else:
        await connection.send(message)


async def echo(connection):
    try:
        while True:
            await answer(connection, await connection.recv())
    except ConnectionClosed as closed:
        print("closed", closed.rcvd.code, closed.rcvd.reason, flush=True)


async def server(given):
    context = None
    if given.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(given.cert, given.key)
    async with serve(echo, "127.0.0.1", 0, ssl=context, **settings(given)) as listening:
        host, port = listening.sockets[0].getsockname()
        print(f"listening {host}:{port}", flush=True)
        await listening.serve_forever()


def messages(seed):
    source = random.Random(seed)
    sizes = [0, 1, 125, 126, 65_535, 65_536, 1 << 20]
    return ["", "gr\u00fc\u00dfe \u2713 \U0001d11e", "\u20ac" * 30_000, *(source.randbytes(size) for size in sizes)]


def fragments(message):
    return [message[start : start + 3000] for start in range(0, len(message), 3000)] or [message]


async def echo_all(connection, seed):
    total = 0
    for message in messages(seed):
        for form in (message, fragments(message)):
            await connection.send(form)
            reply = await connection.recv()
            if reply != message:
                raise ValueError(f"{type(message)} of {len(message)} came back as {type(reply)} of {len(reply)}")
            total += len(reply)
    await connection.close(1000, "done")
    print("ok", total)


async def client(given):
    context = ssl.create_default_context(cafile=given.ca) if given.ca else None
    async with connect(given.url, ssl=context, **settings(given)) as connection:
        if bool(connection.protocol.extensions) != given.compress:
            raise ValueError(f"expected compression {given.compress}, given {connection.protocol.extensions}")
        what, *rest = given.what
        if what == "echo":
            await echo_all(connection, given.seed)
        elif what == "ping":
            await asyncio.wait_for(await connection.ping(rest[0]), LIMIT_S)
            print("ok", rest[0])
        else:
            if what == "close":
                await connection.close(int(rest[0]), rest[1])
            else:
                await connection.send(" ".join(rest))
            try:
                print("ok", await connection.recv())
            except ConnectionClosed as closed:
                print("ok closed", closed.rcvd.code, closed.rcvd.reason)


def main():
    given = arguments()
    try:
        asyncio.run(asyncio.wait_for(client(given), LIMIT_S) if given.side == "client" else server(given))
    except (OSError, ValueError, ConnectionClosed) as error:
        sys.exit(str(error))


main()
