"""Drives Python's `websockets`: reads commands from standard input, a line of JSON each, and answers each with one."""

import json
import sys

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

NOT_OFFERED = "not offered"
socket = None
pongs = []


def run(command, *parameters):
    global socket
    match command, parameters:
        case "connect", [url]:
            # Without pings of its own, it stays only if it answers those of the server.
            socket = connect(url, max_size=None, ping_interval=None)
        case "text", [text]:
            send(text)
        case "binary", [characters]:
            send(characters.encode("latin-1"))
        case "fragments", [texts]:
            send(texts)
        case "ping", [payload]:
            pongs.append((payload, socket.ping(payload)))
        case "close", []:
            return NOT_OFFERED
        case "close", [code, reason]:
            socket.close(code, reason)
        case "next", []:
            return next_event()


def send(message):
    try:
        socket.send(message)
    except ConnectionClosed:
        pass  # The next event says why.


def next_event():
    if pongs:
        payload, answered = pongs.pop()
        answered.wait()
        return ["pong", payload]
    try:
        message = socket.recv()
    except ConnectionClosed as closed:
        return ["close", closed.rcvd.code, closed.rcvd.reason] if closed.rcvd else ["close", 1006, ""]
    return ["text", message] if isinstance(message, str) else ["binary", message.decode("latin-1")]


for line in sys.stdin:
    print(json.dumps(run(*json.loads(line))), flush=True)
