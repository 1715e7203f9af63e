"""How many requests `kerastl.serve` answers, with batches and without, and how long they wait.

    python benchmarks/serving.py saved_models/photos picture.jpg --seconds 60

A server is started for each round and asked by clients that send one picture each time, over
connections that stay open, each as soon as it has its answer; with and without batches in turn.
The clients run in a process of their own on the same machine. Ratios come first: they hold on
other machines better than times do. What is answered 503 is counted apart; anything else is an
error.
"""

import argparse
import asyncio
import base64
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model", type=Path)
parser.add_argument("picture", type=Path)
parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64])
parser.add_argument("--seconds", type=float, default=10.0)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--as-client", nargs=3, metavar=("PORT", "NAME", "CLIENTS"))
arguments = parser.parse_args()


def request_of(picture: Path, name: str) -> bytes:
    """Return a whole request for one picture."""
    body = json.dumps({"instances": [{"b64": base64.b64encode(picture.read_bytes()).decode()}]})
    head = f"POST /v1/models/{name}:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
    return f"{head}{len(body)}\r\n\r\n{body}".encode()


async def client(port: int, request: bytes, until: float, found: list) -> None:
    """Ask again and again, and note status and seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    while time.perf_counter() < until:
        started = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))
        status = int(head.split()[1])
        if status == 200 and b'"scores"' not in body:
            status = 0
        found.append((status, time.perf_counter() - started))
    writer.close()


async def ask(port: int, name: str, clients: int) -> None:
    """Be all clients, and print what they found."""
    request, found = request_of(arguments.picture, name), []
    warm: list = []
    await asyncio.gather(
        *(client(port, request, time.perf_counter() + 2, warm) for _ in range(clients))
    )
    started = time.perf_counter()
    until = started + arguments.seconds
    await asyncio.gather(*(client(port, request, until, found) for _ in range(clients)))
    seconds = time.perf_counter() - started
    times = [1000 * took for status, took in found if status == 200]
    print(
        json.dumps(
            {
                "per_second": len(times) / seconds,
                "p50": float(np.percentile(times, 50)),
                "p99": float(np.percentile(times, 99)),
                "refused": sum(status == 503 for status, _ in found),
                "errors": sum(status not in (200, 503) for status, _ in found),
                "answered": len(times),
            }
        )
    )


def measure(clients: int, *, batching: bool) -> dict:
    """Start a server, ask it, stop it."""
    words = ["--rest-port", "0", "--no-grpc", *([] if batching else ["--no-batching"])]
    server = subprocess.Popen(
        [sys.executable, "-m", "kerastl.serve", str(arguments.model), "--name", "model", *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        port = re.search(r":(\d+)$", server.stdout.readline().strip())[1]
        command = [sys.executable, __file__, str(arguments.model), str(arguments.picture)]
        command += ["--seconds", str(arguments.seconds), "--as-client", port, "model"]
        done = subprocess.run([*command, str(clients)], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)
    finally:
        server.terminate()
        server.wait()


if arguments.as_client:
    asyncio.run(
        ask(int(arguments.as_client[0]), arguments.as_client[1], int(arguments.as_client[2]))
    )
    raise SystemExit

print("| clients | batches over none | p99 over none | answers/s | p50, p99 ms | refused, errors |")
print("|---|---|---|---|---|---|")
for clients in arguments.clients:
    rounds = [
        {batching: measure(clients, batching=batching) for batching in (True, False)}
        for _ in range(arguments.rounds)
    ]
    gains = [one[True]["per_second"] / one[False]["per_second"] for one in rounds]
    tails = [one[True]["p99"] / one[False]["p99"] for one in rounds]
    middle = {
        batching: {
            key: statistics.median(one[batching][key] for one in rounds)
            for key in ("per_second", "p50", "p99")
        }
        for batching in (True, False)
    }
    print(
        f"| {clients} | {statistics.median(gains):.2f}x ({min(gains):.2f} to {max(gains):.2f}) "
        f"| {statistics.median(tails):.2f}x ({min(tails):.2f} to {max(tails):.2f}) | "
        + " against ".join(f"{middle[b]['per_second']:.0f}" for b in (True, False))
        + " | "
        + " against ".join(f"{middle[b]['p50']:.0f}, {middle[b]['p99']:.0f}" for b in (True, False))
        + " | "
        + " against ".join(
            f"{sum(one[b]['refused'] for one in rounds)}, {sum(one[b]['errors'] for one in rounds)}"
            for b in (True, False)
        )
        + " |",
        flush=True,
    )
