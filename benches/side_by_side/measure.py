#!/usr/bin/env python3
"""What does a warm 1 KiB hit cost: Larder, nginx and Varnish before one origin, and bare hyper.

Every server runs on core 0, wrk on core 1, everything on loopback. The rounds are interleaved
(each server once a round, the order turning), so that a machine that gets slower gets slower
for all. CPU is what the server's processes used according to /proc/PID/stat, divided by the
requests that wrk counted. Started by `benches/side_by_side/run`.
"""

import argparse
import http.server
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SERVER_CORE, CLIENT_CORE = "0", "1"
TICK = os.sysconf("SC_CLK_TCK")
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


class Origin(http.server.BaseHTTPRequestHandler):
    """Answers everything with the same cacheable body."""

    protocol_version = "HTTP/1.1"
    body = b""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Cache-Control", "max-age=3600")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def family(pid):
    """A process and all of its descendants."""
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def ticks(pids):
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        except OSError:
            pass
    return total


def rss_mib(pids):
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        found = re.search(r"VmRSS:\s+(\d+)", text)
        total += int(found.group(1)) if found else 0
    return total / 1024


class Server:
    """A server under test: how it is started, and what it does."""

    def __init__(self, name, command, port, directory, environment=None):
        self.name, self.port = name, port
        self.url = f"http://127.0.0.1:{port}/object"
        log = open(directory / f"{name}.log", "wb")
        self.log = Path(log.name)
        self.process = subprocess.Popen(
            ["taskset", "-c", SERVER_CORE, *map(str, command)],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
            cwd=directory,
        )
        self.rounds = []

    def wait(self):
        """Until it answers, and then until what it answers is warm."""
        deadline = time.monotonic() + 30
        while True:
            try:
                fetch(self.port)
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"{self.name} does not answer:\n{self.log.read_text(errors='replace')}")
                time.sleep(0.05)
        for _ in range(20):
            answer = fetch(self.port)
        head, _, body = answer.partition(b"\r\n\r\n")
        if b" 200 " not in head.splitlines()[0] or body != Origin.body:
            sys.exit(f"{self.name} answers something else:\n{head.decode(errors='replace')}")

    def measure(self, connections, seconds):
        pids = family(self.process.pid)
        before = ticks(pids)
        wrk = ["taskset", "-c", CLIENT_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
        out = subprocess.run(
            [*wrk, "--latency", self.url], capture_output=True, text=True, timeout=seconds + 60
        )
        used = (ticks(pids) - before) / TICK
        requests = int(re.search(r"(\d+) requests in", out.stdout).group(1))
        if "Non-2xx" in out.stdout or "Socket errors" in out.stdout or not requests:
            sys.exit(f"{self.name}: {out.stdout}")
        p99 = re.search(r"99%\s+([\d.]+)(us|ms|s|m)", out.stdout)
        return {
            "rate": requests / seconds,
            "cpu": used / requests * 1e6,
            "p99": float(p99.group(1)) * UNITS[p99.group(2)],
            "rss": rss_mib(pids),
        }

    def stop(self):
        """Ends this server and its children, by their ids, and nothing else."""
        pids = family(self.process.pid)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in pids[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def fetch(port):
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"GET /object HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer


def nginx_config(directory, port, origin):
    user = "user root;" if os.geteuid() == 0 else ""
    return f"""
{user}
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log;
events {{ worker_connections 4096; }}
http {{
    access_log {directory}/nginx-access.log combined buffer=64k flush=1s;
    client_body_temp_path {directory}/nginx-body;
    proxy_temp_path {directory}/nginx-proxy;
    fastcgi_temp_path {directory}/nginx-fastcgi;
    uwsgi_temp_path {directory}/nginx-uwsgi;
    scgi_temp_path {directory}/nginx-scgi;
    proxy_cache_path {directory}/nginx-cache keys_zone=cache:16m max_size=256m;
    keepalive_requests 1000000000;
    sendfile on;
    tcp_nodelay on;
    open_file_cache max=1000 inactive=60s;
    upstream origin {{ server 127.0.0.1:{origin}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache cache;
            proxy_cache_lock on;
            add_header X-Cache $upstream_cache_status;
        }}
    }}
}}
"""


def start_all(options, directory, origin):
    servers = []

    def add(name, command, port, environment=None):
        servers.append(Server(name, command, port, directory, environment))

    port = free_port()
    add("hyper", [options.hello, f"127.0.0.1:{port}", options.size], port)

    port = free_port()
    command = [options.larder, "run", "--listen", f"127.0.0.1:{port}"]
    command += ["--admin", "127.0.0.1:0", "--upstream", f"http://127.0.0.1:{origin}"]
    settings = {
        "LARDER_WORKERS": "1",
        "LARDER_CACHE__DIR": str(directory / "larder-cache"),
        "LARDER_LOG__ACCESS": str(directory / "larder-access.log"),
    }
    add("larder", command, port, settings)

    port = free_port()
    config = directory / "nginx.conf"
    config.write_text(nginx_config(directory, port, origin))
    add("nginx", ["nginx", "-e", directory / "nginx-error.log", "-c", config], port)

    port = free_port()
    command = ["varnishd", "-F", "-n", directory / "varnish", "-a", f"127.0.0.1:{port}"]
    command += ["-b", f"127.0.0.1:{origin}", "-s", "malloc,64m", "-t", "3600"]
    # A thread a connection: enough of them, or connections wait for one another.
    command += ["-p", "thread_pools=1", "-p", "thread_pool_min=200", "-T", "none"]
    add("varnish", command, port)
    return servers


def table(servers, size, connections):
    by_name = {s.name: s for s in servers}

    def middle(server, what):
        return statistics.median(r[what] for r in server.rounds)

    def spread(server):
        values = [r["cpu"] for r in server.rounds]
        return f"{min(values):.2f}-{max(values):.2f}"

    def ratio(server, base):
        """The median of the rounds' own ratios: what slowed one round slowed both."""
        pairs = zip(server.rounds, by_name[base].rounds)
        return statistics.median(a["cpu"] / b["cpu"] for a, b in pairs)

    print(f"\nWarm {size} byte hit, {connections} connections, {len(servers[0].rounds)} rounds\n")
    print("| server | req/s | CPU us/req | spread | p99 ms | RSS MiB | CPU/hyper | nginx/CPU |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for server in servers:
        print(
            f"| {server.name} | {middle(server, 'rate'):,.0f} | {middle(server, 'cpu'):.2f} "
            f"| {spread(server)} | {middle(server, 'p99'):.2f} | {middle(server, 'rss'):.1f} "
            f"| {ratio(server, 'hyper'):.2f} | {1 / ratio(server, 'nginx'):.2f} |"
        )
    larder = by_name["larder"]
    over, against = ratio(larder, "hyper"), 1 / ratio(larder, "nginx")
    print(f"\nLarder / bare hyper by CPU a request: {over:.3f} (target: at most 1.25)")
    print(f"nginx / Larder by CPU a request: {against:.3f} (target: at least 1.30)")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--larder", required=True, type=Path)
    parser.add_argument("--hello", required=True, type=Path)
    parser.add_argument("--quick", action="store_true", help="three short rounds")
    parser.add_argument("--rounds", type=int, help="rounds (9, quick: 3)")
    parser.add_argument("--seconds", type=int, help="seconds a measurement (8, quick: 2)")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--size", type=int, default=1024, help="bytes of the body")
    options = parser.parse_args()
    options.larder, options.hello = options.larder.resolve(), options.hello.resolve()
    rounds = options.rounds or (3 if options.quick else 9)
    seconds = options.seconds or (2 if options.quick else 8)
    if (os.cpu_count() or 1) < 2:
        sys.exit("two cores are needed: one for the server, one for wrk")

    Origin.body = b"x" * options.size
    origin = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    threading.Thread(target=origin.serve_forever, daemon=True).start()
    directory = Path(tempfile.mkdtemp(prefix="larder-bench-"))
    directory.chmod(0o755)
    servers = []
    try:
        servers = start_all(options, directory, origin.server_address[1])
        for server in servers:
            server.wait()
            server.measure(options.connections, 1)  # warms up; not counted
        for number in range(rounds):
            turn = number % len(servers)
            for server in servers[turn:] + servers[:turn]:
                server.rounds.append(server.measure(options.connections, seconds))
                last = server.rounds[-1]
                print(
                    f"round {number + 1}/{rounds} {server.name:8} {last['rate']:9,.0f} req/s "
                    f"{last['cpu']:6.2f} us {last['p99']:7.2f} ms",
                    file=sys.stderr,
                )
        table(servers, options.size, options.connections)
    finally:
        for server in servers:
            server.stop()
        origin.shutdown()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
