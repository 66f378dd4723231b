"""Real PocketBase servers for the tests, with the project's migrations, and with or without its hooks.

PB_BINARY    the binary (.venv/bin/pocketbase)
PB_PORTS     the range of ports to choose from, first-last (10000-31999, which no outgoing connection uses)
"""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from http.client import HTTPResponse
from pathlib import Path
from select import select

import pytest

ROOT = Path(__file__).parents[2]
HOOKS = ROOT / "pocketbase/hooks"
BINARY = Path(os.environ.get("PB_BINARY", ROOT / ".venv/bin/pocketbase"))
FIRST_PORT, LAST_PORT = map(int, os.environ.get("PB_PORTS", "10000-31999").split("-"))
MB = 1_000_000
# How long a test waits for what has to come, in seconds: a busy machine must not fail a test.
LIMIT = 120
SUPERUSER = {"identity": "admin@identivia.test", "password": "password-of-a-temporary-superuser"}
SERVICE = {"identity": "service@identivia.test", "password": "password-of-the-service-account"}


class Server:
    """A temporary PocketBase with a superuser and a service account."""

    def __init__(self, folder, hooks):
        self.folder = folder
        self.hooks = hooks
        self.process = None
        # Without this folder, PocketBase would look for hooks beside the data.
        self.arguments = ["--dir", folder / "data", "--migrationsDir", ROOT / "pocketbase/migrations", "--automigrate=0"]
        self.arguments += ["--hooksDir", hooks, "--hooksWatch=0", "--publicDir", folder / "public"]

    def start(self):
        # The first command applies the migrations.
        subprocess.run([BINARY, "superuser", "upsert", *SUPERUSER.values(), *self.arguments], check=True, capture_output=True)
        first = os.getpid() * 101
        for offset in range(100):
            self.port = FIRST_PORT + (first + offset) % (LAST_PORT - FIRST_PORT + 1)
            if self.listens():
                break
        else:
            pytest.fail("PocketBase found no free port")
        self.superuser = self.sign_in("_superusers", SUPERUSER)
        self.create_account(SERVICE, role="service")
        self.service = self.sign_in("users", SERVICE)

    def listens(self):
        """Starts the process, and says whether it got its port."""
        log = self.folder / "log"
        with log.open("w") as output:
            command = [BINARY, "serve", "--http", f"127.0.0.1:{self.port}", *self.arguments]
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + LIMIT
        # Another server could have the port: the log says which one this is.
        while "Server started" not in log.read_text():
            if self.process.poll() is not None:
                if "address already in use" in log.read_text():
                    return False
                pytest.fail(f"PocketBase has ended: {log.read_text()}")
            if time.monotonic() > deadline:
                pytest.fail(f"PocketBase did not start within {LIMIT} s: {log.read_text()}")
            time.sleep(0.05)
        return True

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()

    def peak_memory(self):
        """The most memory that the process has had, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    def call(self, method, path, body=None, token=None, headers=None):
        """Status and body of an answer. A body is sent as JSON, or as it is if it is bytes."""
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **(headers or {})} | ({"Authorization": token} if token else {})
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=LIMIT) as answer:
                return answer.status, parsed(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, parsed(error.read())

    def status(self, *arguments, **named):
        return self.call(*arguments, **named)[0]

    def sign_in(self, collection, credentials):
        status, answer = self.call("POST", f"/api/collections/{collection}/auth-with-password", credentials)
        assert status == 200, answer
        return answer["token"]

    def create(self, collection, record):
        status, answer = self.call("POST", f"/api/collections/{collection}/records", record, self.superuser)
        assert status == 200, answer
        return answer

    def create_account(self, credentials, **more):
        email, password = credentials.values()
        return self.create("users", {"email": email, "password": password, "passwordConfirm": password, "verified": True, **more})

    def create_profile(self):
        return self.create("profiles", {"dedupe_key": f"user:{uuid.uuid4()}", "verification_status": "unverified"})["id"]

    def stream(self, method, path, parts, content_type="application/json", chunked=False, token=None):
        """Status of the answer to a body that is sent in parts, until all is sent or the server answers. Unlike HTTP clients of the
        standard library, it sees an answer that comes before the body has ended.
        """
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {sum(map(len, parts))}"
        lines = [f"{method} {path} HTTP/1.1", "Host: pocketbase", f"Content-Type: {content_type}", length]
        lines += [f"Authorization: {token}"] if token else []
        with socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            for part in [*parts, b""] if chunked else parts:
                left = memoryview(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
                while left:
                    readable, writable, _ = select([connection], [connection], [], LIMIT)
                    if readable:
                        return answered(connection)
                    assert writable, f"PocketBase reads no more for {LIMIT} s"
                    left = left[connection.send(left[:65_536]):]
            return answered(connection)


def parsed(body):
    try:
        return json.loads(body)
    except ValueError:
        return body


def answered(connection):
    response = HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status


def form(fields, files):
    """Body of a multipart form, in parts, and its content type. Files are pairs of a name and a size; PocketBase reads fields from
    the JSON of `@jsonPayload`.
    """
    boundary = uuid.uuid4().hex
    head = '--{}\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'
    parts = [head.format(boundary, "@jsonPayload", "").encode() + json.dumps(fields).encode()]
    for name, size in files:
        file_name = f'; filename="{name.rpartition(".")[2]}.bin"'
        parts += [b"\r\n" + head.format(boundary, name, file_name).encode(), *zeros(size)]
    return [*parts, f"\r\n--{boundary}--\r\n".encode()], f"multipart/form-data; boundary={boundary}"


def zeros(size):
    """That many bytes, in parts."""
    return [b"0" * min(MB, size - start) for start in range(0, size, MB)]


def running(folder, hooks):
    server = Server(folder, hooks)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The server for tests that do not measure its memory."""
    yield from running(tmp_path_factory.mktemp("pocketbase"), HOOKS)


@pytest.fixture
def fresh_server(tmp_path):
    """A server whose peak of memory is the test's own."""
    yield from running(tmp_path, HOOKS)


@pytest.fixture
def server_without_hooks(tmp_path):
    yield from running(tmp_path, tmp_path / "no-hooks")
