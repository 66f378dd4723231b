"""pocketbase/hooks on a real PocketBase: what is refused without authentication, and what the functions and the operator still can do."""

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote
from uuid import uuid4

import pytest
from conftest import MB, SERVICE, SUPERUSER, form, zeros

# Peak of the server's memory under attack. It has 50 MB after its start, and 52 MB after all attacks. Without the hooks, the same
# attacks take it to 840 MB (forms) and 1,900 MB (JSON).
BOUND = 200 * MB

CREATE = {"method": "POST", "url": "/api/collections/profiles/records", "body": {}}


def json_batch(size):
    return [b'{"requests":[{"method":"POST","url":"/api/collections/profiles/records","body":{"name":"', *zeros(size), b'"}}]}']


def form_batch(size):
    return form({"requests": [CREATE]}, [("requests.0.facial_video", size)])


def three_batches(server, body, **more):
    """Statuses of three concurrent batches of 120 MB."""
    parts, content_type = (json_batch(120 * MB), "application/json") if body == "json" else form_batch(120 * MB)
    with ThreadPoolExecutor(3) as pool:
        sent = [pool.submit(server.stream, "POST", "/api/batch", parts, content_type, **more) for _ in range(3)]
        return [batch.result() for batch in sent]


@pytest.mark.parametrize("body", ["json", "form"])
def test_large_unauthenticated_batches_are_refused_unread(fresh_server, body):
    for chunked in [False, True]:
        for token in [None, "not.a.token", revoked_token(fresh_server)]:
            assert three_batches(fresh_server, body, chunked=chunked, token=token) == [401] * 3
            assert fresh_server.peak_memory() < BOUND


@pytest.mark.parametrize("body", ["json", "form"])
def test_without_the_hooks_the_same_batches_fill_the_memory(server_without_hooks, body):
    assert three_batches(server_without_hooks, body) == [400] * 3
    assert server_without_hooks.peak_memory() > 2 * BOUND


def test_without_the_hooks_batches_without_a_length_fill_the_memory(server_without_hooks):
    assert three_batches(server_without_hooks, "json", chunked=True, token="not.a.token") == [400] * 3
    assert server_without_hooks.peak_memory() > 2 * BOUND


def revoked_token(server):
    """A token of a service account whose password was set again since."""
    credentials = {"identity": f"{uuid4()}@identivia.test", "password": "password-of-a-former-account"}
    account = server.create_account(credentials, role="service")
    token = server.sign_in("users", credentials)
    again = {"password": "another-password", "passwordConfirm": "another-password"}
    assert server.status("PATCH", f"/api/collections/users/records/{account['id']}", again, server.superuser) == 200
    return token


CLOSED = [
    ("POST", "/api/batch"),
    ("GET", "/api/collections/profiles/records"),
    ("GET", "/api/collections/profiles/records/specimen0000001"),
    ("POST", "/api/collections/profiles/records"),
    ("PATCH", "/api/collections/profiles/records/specimen0000001"),
    ("DELETE", "/api/collections/profiles/records/specimen0000001"),
    ("POST", "/api/collections/users/records"),
    ("POST", "/api/collections/users/auth-refresh"),
    ("POST", "/api/collections/users/auth-with-oauth2"),
    ("POST", "/api/collections/users/auth-with-otp"),
    ("POST", "/api/collections/users/request-otp"),
    ("POST", "/api/collections/users/request-password-reset"),
    ("POST", "/api/collections/users/confirm-password-reset"),
    ("POST", "/api/collections/users/request-verification"),
    ("POST", "/api/collections/users/confirm-verification"),
    ("POST", "/api/collections/users/confirm-email-change"),
    ("GET", "/api/oauth2-redirect"),
    ("POST", "/api/oauth2-redirect"),
    ("GET", "/api/realtime"),
    ("POST", "/api/realtime"),
    ("POST", "/api/files/token"),
    ("GET", "/api/collections"),
    ("GET", "/api/settings"),
    ("PATCH", "/api/settings"),
    ("GET", "/api/logs"),
    ("GET", "/api/backups"),
    ("POST", "/api/backups"),
    ("POST", "/api/backups/upload"),
    ("POST", "/api/sql"),
]


@pytest.mark.parametrize("method, path", CLOSED)
def test_a_route_that_needs_authentication_is_closed(server, method, path):
    for token in [None, "not.a.token"]:
        assert server.status(method, path, token=token) == 401
        if method != "GET":
            assert server.stream(method, path, zeros(20 * MB), token=token) == 401
            assert server.stream(method, path, zeros(20 * MB), chunked=True, token=token) == 401


def test_an_account_without_the_role_service_is_unauthenticated(server):
    credentials = {"identity": "person@identivia.test", "password": "password-of-a-person"}
    server.create_account(credentials)
    token = server.sign_in("users", credentials)
    assert server.stream("POST", "/api/batch", json_batch(20 * MB), token=token) == 401
    assert server.status("GET", "/api/collections/profiles/records", token=token) == 401


def test_another_spelling_of_the_path_does_not_open_a_route(server):
    for path in ["/api/b%61tch", "/%61pi/batch", "/api/batch?x=1", "/api/./batch", "//api/batch", "/api/batch/", "/API/batch"]:
        assert server.stream("POST", path, json_batch(20 * MB)) in {301, 307, 401, 404, 413}, path
    assert server.status("POST", "/api/b%61tch", {"requests": []}) == 401


@pytest.mark.parametrize("collection", ["users", "_superusers"])
def test_a_sign_in_with_a_large_body_is_refused(server, collection):
    path = f"/api/collections/{collection}/auth-with-password"
    large = [b'{"identity":"', *zeros(20 * MB), b'","password":"x"}']
    for chunked in [False, True]:
        for token in [None, "not.a.token"]:
            assert server.stream("POST", path, large, chunked=chunked, token=token) == 413
            small = [b'{"identity":"', b"0" * 4_000, b'","password":"x"}']
            assert server.stream("POST", path, small, chunked=chunked, token=token) == 400


def test_a_large_body_or_query_of_an_open_route_is_refused(server):
    path = f"/api/files/profiles/{server.create_profile()}/nothing.jpg"
    for route in [path, "/api/health", "/api/collections/users/auth-methods", "/api/backups/none.zip"]:
        assert server.stream("GET", route, zeros(20 * MB)) == 413
        assert server.status("GET", f"{route}?fields={'x' * 3_000}") == 414
    assert server.status("GET", f"/api/collections/profiles/records?filter={'(id=1)' * 5_000}") == 401


def test_everybody_can_sign_in_and_ask_for_health(server):
    assert server.sign_in("users", SERVICE)
    assert server.sign_in("_superusers", SUPERUSER)
    # A client may send the token that has expired.
    path = "/api/collections/users/auth-with-password"
    assert server.status("POST", path, SERVICE, "not.a.token") == 200
    assert server.status("POST", path, {**SERVICE, "password": "wrong"}) == 400
    assert server.status("GET", "/api/health") == 200


def test_the_dashboard_is_served(server):
    for path in ["/_/", "/api/collections/_superusers/auth-methods"]:
        assert server.status("GET", path) == 200
    assert server.status("GET", "/nothing") == 404


def test_a_session_is_confirmed_and_a_revoked_one_is_not(server):
    path = "/api/collections/users/auth-refresh"
    assert server.status("POST", path, token=server.service) == 200
    assert server.status("POST", path, token=revoked_token(server)) == 401


def test_the_service_account_writes_the_largest_batch(server):
    """All files of a profile with the sizes of their fields: 95 MiB. Then the same of a verification, as a form."""
    mib = 1024 * 1024
    profile = server.create_profile()
    sizes = {"document_front": 15 * mib, "document_back": 15 * mib, "facial_photo": 15 * mib, "facial_video": 50 * mib}
    update = {"method": "PATCH", "url": f"/api/collections/profiles/records/{profile}", "body": {"name": "Specimen"}}
    parts, content_type = form({"requests": [update]}, [(f"requests.0.{field}", size) for field, size in sizes.items()])
    for chunked in [False, True]:
        assert server.stream("POST", "/api/batch", parts, content_type, chunked, server.service) == 200

    images = [(field, size) for field, size in sizes.items() if field != "facial_video"]
    parts, content_type = form({"profile": profile, "status": "pending"}, images)
    path = "/api/collections/verification_history/records"
    assert server.stream("POST", path, parts, content_type, token=server.service) == 200

    status, found = server.call("GET", f"/api/collections/profiles/records/{profile}", token=server.service)
    assert status == 200
    token = server.call("POST", "/api/files/token", token=server.service)[1]["token"]
    for field, size in sizes.items():
        file = f"/api/files/profiles/{profile}/{found[field]}"
        status, content = server.call("GET", f"{file}?token={token}")
        assert (status, len(content)) == (200, size)
        assert server.status("GET", file) == 404, "the file is protected"


def test_superusers_keep_the_whole_api(server):
    for path in ["/api/collections", "/api/settings", "/api/logs", "/api/backups", "/api/collections/partners/records"]:
        assert server.status("GET", path, token=server.superuser) == 200
    large = {"key": "large", "value": "0" * 500_000}
    assert server.status("POST", "/api/collections/settings/records", large, server.superuser) == 200
    query = quote(" || ".join(['key="large"'] * 100))
    assert server.status("GET", f"/api/collections/settings/records?filter={query}", token=server.superuser) == 200


def test_a_superuser_downloads_a_backup_by_file_token(server):
    assert server.status("POST", "/api/backups", {"name": "test.zip"}, server.superuser) == 204
    token = server.call("POST", "/api/files/token", token=server.superuser)[1]["token"]
    assert server.status("GET", f"/api/backups/test.zip?token={token}") == 200
    for wrong in ["", server.call("POST", "/api/files/token", token=server.service)[1]["token"]]:
        assert server.status("GET", f"/api/backups/test.zip?token={wrong}") == 403
