#!/usr/bin/env python3
"""Measures what one PocketBase carries: the calls that the functions make, with the project's migrations and hooks.

    .venv/bin/python tools/bench/pocketbase_load.py                    # an empty database
    .venv/bin/python tools/bench/pocketbase_load.py --profiles 100000  # with this many people, each with a finished check

It starts a PocketBase of its own in a temporary folder, and stops it. Client and server share the machine, so the numbers are
lower than those of a host that runs PocketBase alone. For each kind of call it shows the rate, the rate as a part of that of
`GET /api/health`, the median and the 99th percentile of the time, and the CPU time of the server, which depends least on other load.
docs/capacity.md says what follows from the numbers.
"""

import argparse
import json
import os
import random
import socket
import sqlite3
import string
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

ROOT = Path(__file__).parents[2]
SUPERUSER = ("admin@identivia.test", "password-of-a-temporary-superuser")
SERVICE = ("service@identivia.test", "password-of-the-service-account")
TEAM = "team_load"
PARTNER = "partner0000load"
CLOCK_TICK = os.sysconf("SC_CLK_TCK")


def new_id():
    return "".join(random.choices(string.ascii_lowercase + string.digits, k=15))


def now():
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"


def records(collection):
    return f"/api/collections/{collection}/records"


class Server:
    """A temporary PocketBase."""

    def __init__(self, binary, folder, port):
        self.port = port
        self.data = folder / "data"
        self.log = folder / "log"
        self.arguments = ["--dir", self.data, "--migrationsDir", ROOT / "pocketbase/migrations", "--automigrate=0"]
        self.arguments += ["--hooksDir", ROOT / "pocketbase/hooks", "--hooksWatch=0", "--publicDir", folder / "public"]
        self.binary = binary
        subprocess.run([binary, "superuser", "upsert", *SUPERUSER, *self.arguments], check=True, capture_output=True)

    def __enter__(self):
        command = [self.binary, "serve", f"--http=127.0.0.1:{self.port}", *self.arguments]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 60
        while "Server started" not in self.log.read_text():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                sys.exit(f"PocketBase did not start: {self.log.read_text()}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def cpu_seconds(self):
        """CPU time of the process so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICK

    def resident_mb(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


class Client:
    """One connection, as one execution environment of a function has."""

    def __init__(self, port, token=None):
        self.connection = HTTPConnection("127.0.0.1", port, timeout=120)
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.headers = {"Content-Type": "application/json"} | ({"Authorization": token} if token else {})

    def call(self, method, path, body=None, query=None):
        path = f"{path}?{urlencode(query)}" if query else path
        self.connection.request(method, path, json.dumps(body) if body is not None else None, self.headers)
        response = self.connection.getresponse()
        answer = response.read()
        if response.status >= 300:
            raise AssertionError(f"{method} {path}: {response.status} {answer[:300]}")
        return json.loads(answer) if answer else None

    def sign_in(self, collection, credentials):
        identity, password = credentials
        path = f"/api/collections/{collection}/auth-with-password"
        return self.call("POST", path, {"identity": identity, "password": password})

    def batch(self, *writes):
        """A transaction. The functions send each PATCH in one."""
        requests = [{"method": method, "url": url, "body": body} for method, url, body in writes]
        return [answer["body"] for answer in self.call("POST", "/api/batch", {"requests": requests})]

    def first(self, collection, where):
        where = f"{where} && team={json.dumps(TEAM)}" if collection == "profile_overview" else where
        return self.call("GET", records(collection), query={"perPage": 1, "skipTotal": 1, "filter": where})["items"][0]


class Load:
    """The kinds of calls. Each method is one operation of one client."""

    def __init__(self, account, profiles):
        self.account = account
        self.profiles = profiles

    def health(self, client):
        client.call("GET", "/api/health")

    def overview(self, client):
        client.first("profile_overview", f'id="{random.choice(self.profiles)}"')

    def create_profile(self, client):
        user = new_id() + new_id()
        record = {"dedupe_key": f"user:{user}", "team": TEAM, "user_id": user, "name": "Jane Doe", "country": "SG"}
        return client.call("POST", records("profiles"), record | {"verification_status": "unverified"})["id"]

    def patch(self, client):
        url = f"{records('profiles')}/{random.choice(self.profiles)}"
        client.batch(("PATCH", url, {"country": random.choice(["SG", "MY", "US"])}))

    def status(self, client):
        """POST /api/status_history/{id}: the profile, then the entry and the new status in one transaction."""
        profile = client.first("profile_overview", f'id="{random.choice(self.profiles)}"')["id"]
        entry = {"profile": profile, "updated_by": self.account, "previous_status": "pending", "new_status": "pending"}
        change = {"verification_status": "pending"}
        client.batch(
            ("POST", records("status_history"), entry), ("PATCH", f"{records('profiles')}/{profile}", change)
        )

    def submit(self, client):
        """POST /verif/submit of a new person with a key: 4 calls."""
        profile = self.create_profile(client)
        name = f"{new_id()}{new_id()}"
        media = {"selfie_video": f"people/{profile}/checks/{name}/v", "id_photo": f"people/{profile}/checks/{name}/p"}
        record = {"check_id": name, "team": TEAM, "partner": PARTNER, "profile": profile, "status": "processing", **media}
        check = client.call("POST", records("checks"), record)["id"]
        client.first("profile_overview", f'id="{profile}"')
        verification, delivery = new_id(), new_id()
        done = {"status": "verified", "result": RESULT, "completed": now()}
        history = {"id": verification, "profile": profile, "status": "verified", "check": check}
        entry = {"profile": profile, "verification": verification, "updated_by": self.account, "notes": "The faces match."}
        entry |= {"previous_status": "unverified", "new_status": "verified"}
        webhook = {"id": delivery, "team": TEAM, "partner": PARTNER, "profile": profile, "check": check, "stream": name}
        webhook |= {"event": "check.completed", "payload": RESULT, "state": "pending", "next_attempt": now()}
        client.batch(
            ("PATCH", f"{records('checks')}/{check}", done),
            ("POST", records("verification_history"), history),
            ("POST", records("status_history"), entry),
            ("PATCH", f"{records('profiles')}/{profile}", {"verification_status": "verified"}),
            ("POST", records("webhook_deliveries"), webhook),
        )
        return delivery, name

    def check(self, client):
        """A submission, and the delivery of its webhook: 5 more calls. PocketBase delays the answer to the fourth, which is empty."""
        delivery, name = self.submit(client)
        client.first("webhook_queue", f'id="{delivery}"')
        url, lease = f"{records('webhook_deliveries')}/{delivery}", new_id()
        client.batch(("PATCH", url, {"lease": lease, "leased_until": now()}))
        attempts = [{"at": now(), "status": 200, "milliseconds": 120}]
        result = {"lease": lease, "leased_until": "", "tries": 1, "attempts": attempts, "state": "delivered"}
        client.batch(("PATCH", url, result | {"delivered": now(), "next_attempt": ""}))
        waiting = f'stream="{name}" && partner="{PARTNER}" && next_attempt <= @now'
        client.call("GET", records("webhook_queue"), query={"perPage": 1, "skipTotal": 1, "filter": waiting})
        client.call("POST", "/api/collections/users/auth-refresh")

    def sign_in(self, client):
        client.sign_in("users", SERVICE)


RESULT = {"status": "verified", "similarity": 93, "confidence": "high", "risk_factors": [], "summary": "The faces match. " * 20}
# Operation, requests of PocketBase that it makes.
KINDS = {"health": 1, "overview": 1, "create_profile": 1, "patch": 1, "status": 2, "submit": 4, "check": 9, "sign_in": 1}


def fill(database, count):
    """Writes people with a finished check each: profile, check, both histories, webhook. PocketBase must not run."""
    ids = [new_id() for _ in range(count)]
    when, result = now(), json.dumps(RESULT)
    with sqlite3.connect(database) as db:
        def insert(table, columns, rows):
            marks = ", ".join("?" * (len(columns.split(",")) + 2))
            db.executemany(f'INSERT INTO {table} ({columns}, created, updated) VALUES ({marks})', rows)

        checks, verifications = [new_id() for _ in ids], [new_id() for _ in ids]
        names = [new_id() + new_id() for _ in ids]
        joined = list(zip(ids, checks, verifications, names, strict=True))
        insert(
            "profiles", "id, team, user_id, dedupe_key, name, country, verification_status",
            ((p, TEAM, p, f"user:{p}", "Jane Doe", "SG", "pending", when, when) for p in ids),
        )
        insert(
            "checks", "id, check_id, team, partner, profile, status, result, completed",
            ((c, n, TEAM, PARTNER, p, "pending", result, when, when, when) for p, c, _, n in joined),
        )
        insert(
            "verification_history", 'id, profile, status, "check"',
            ((v, p, "pending", c, when, when) for p, c, v, _ in joined),
        )
        insert(
            "status_history", "id, profile, verification, previous_status, new_status",
            ((new_id(), p, v, "unverified", "pending", when, when) for p, _, v, _ in joined),
        )
        insert(
            "webhook_deliveries", 'id, team, partner, profile, "check", stream, event, payload, state, delivered',
            ((new_id(), TEAM, PARTNER, p, c, n, "check.completed", result, "delivered", when, when, when) for p, c, _, n in joined),
        )
    return ids


def measure(server, operation, token, threads, seconds):
    """Times of the operations of all threads, and the CPU time of the server per operation."""
    times, errors, barrier = [], [], threading.Barrier(threads + 1)

    def work():
        client, own = Client(server.port, token), []
        try:
            operation(client)
            barrier.wait()
            while time.monotonic() < end:
                begun = time.monotonic()
                operation(client)
                own.append(time.monotonic() - begun)
        except Exception as error:  # A thread's failure fails the measurement.
            errors.append(error)
            barrier.abort()
        times.extend(own)

    end = time.monotonic() + 3_600
    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    cpu, begun = server.cpu_seconds(), time.monotonic()
    end = begun + seconds
    try:
        barrier.wait()
    except threading.BrokenBarrierError:
        pass
    for worker in workers:
        worker.join()
    if errors:
        sys.exit(f"failed: {errors[0]!r}")
    elapsed = time.monotonic() - begun
    return sorted(times), elapsed, (server.cpu_seconds() - cpu) / max(len(times), 1)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pocketbase", default=ROOT / ".venv/bin/pocketbase", help="the binary")
    arguments.add_argument("--port", type=int, default=0, help="by default a free one")
    arguments.add_argument("--profiles", type=int, default=0, help="people in the database before the start")
    arguments.add_argument("--threads", type=int, default=8, help="concurrent clients")
    arguments.add_argument("--seconds", type=float, default=10, help="per kind of call")
    arguments.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    options = arguments.parse_args()
    if not options.port:
        with socket.create_server(("127.0.0.1", 0)) as free:
            options.port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="pocketbase-load-") as folder:
        server = Server(options.pocketbase, Path(folder), options.port)
        with server:
            superuser = Client(server.port)
            token = superuser.sign_in("_superusers", SUPERUSER)["token"]
            superuser = Client(server.port, token)
            email, password = SERVICE
            account = {"email": email, "password": password, "passwordConfirm": password, "verified": True, "role": "service"}
            superuser.call("POST", records("users"), account)
            partner = {"id": PARTNER, "name": "Load", "team": TEAM, "active": True, "webhook_url": "https://partner.example/hook"}
            superuser.call("POST", records("partners"), partner)
        # Some for the reads, where the database is to be empty.
        profiles = fill(server.data / "data.db", max(options.profiles, 100))
        with server:
            signed_in = Client(server.port).sign_in("users", SERVICE)
            load = Load(signed_in["record"]["id"], profiles)
            size = (server.data / "data.db").stat().st_size
            print(f"{len(profiles):,} profiles, {size / 1e6:.0f} MB; {options.threads} clients; load of the machine {os.getloadavg()[0]:.1f}")
            print(f"{'':<16}{'per s':>8}{'calls/s':>9}{'of health':>11}{'p50 ms':>9}{'p99 ms':>9}{'CPU ms':>8}{'MB':>6}")
            reference = None
            for kind in options.kinds:
                times, elapsed, cpu = measure(server, getattr(load, kind), signed_in["token"], options.threads, options.seconds)
                rate = len(times) / elapsed
                reference = reference or rate
                middle, slow = times[len(times) // 2] * 1000, times[int(len(times) * 0.99)] * 1000
                print(
                    f"{kind:<16}{rate:>8.0f}{rate * KINDS[kind]:>9.0f}{rate / reference:>11.2f}{middle:>9.1f}{slow:>9.1f}"
                    f"{cpu * 1000:>8.2f}{server.resident_mb():>6}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
