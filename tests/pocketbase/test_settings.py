"""pocketbase/deploy: the settings for production on a real PocketBase."""

import json
import os
import subprocess
from collections import Counter
from uuid import uuid4

from conftest import ROOT, SERVICE, SUPERUSER

DEPLOY = ROOT / "pocketbase/deploy"
SIGN_IN = "/api/collections/users/auth-with-password"


def apply(server, *files, password=SUPERUSER["password"]):
    variables = {"PB_SUPERUSER_EMAIL": SUPERUSER["identity"], "PB_SUPERUSER_PASSWORD": password}
    variables |= {"POCKETBASE_URL": f"http://127.0.0.1:{server.port}"}
    return subprocess.run([DEPLOY / "apply-settings", *files], env=os.environ | variables, capture_output=True, text=True)


def settings(server):
    status, answer = server.call("GET", "/api/settings", token=server.superuser)
    assert status == 200
    return answer


def as_proxy(address):
    """The header with the client's address that the proxy adds."""
    return {"X-Forwarded-For": f"198.51.100.1, {address}"}


def statuses(server, times, *request, **more):
    return Counter(server.status(*request, **more) for _ in range(times))


def test_settings_are_applied_and_can_be_applied_again(fresh_server, tmp_path):
    before = settings(fresh_server)
    wanted = json.loads((DEPLOY / "operator.example.json").read_text())
    # Its buckets do not exist.
    wanted["s3"]["enabled"] = wanted["backups"]["s3"]["enabled"] = False
    operator = tmp_path / "operator.json"
    operator.write_text(json.dumps(wanted))
    for _ in range(2):
        done = apply(fresh_server, DEPLOY / "settings.json", operator)
        assert done.returncode == 0, done
        after = settings(fresh_server)
    assert (after["logs"]["maxDays"], after["logs"]["logIP"]) == (3, False)
    assert after["rateLimits"]["enabled"]
    assert after["trustedProxy"]["headers"] == ["X-Forwarded-For"]
    assert after["superuserIPs"] == wanted["superuserIPs"]
    assert after["backups"]["cron"] == wanted["backups"]["cron"]
    assert after["batch"] == before["batch"], "the migrations set it"


def test_a_refusal_is_reported(fresh_server, tmp_path):
    assert apply(fresh_server, DEPLOY / "settings.json", password="wrong").returncode == 1
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({"rateLimits": {"enabled": True, "rules": [{"label": "!"}]}}))
    done = apply(fresh_server, wrong)
    assert done.returncode == 1
    assert "400" in done.stderr
    assert not settings(fresh_server)["rateLimits"]["enabled"]


def test_guessing_of_passwords_is_throttled_and_the_service_account_is_not(fresh_server):
    assert apply(fresh_server, DEPLOY / "settings.json").returncode == 0
    guess = {**SERVICE, "password": "a-wrong-guess"}
    for path in [SIGN_IN, "/api/collections/_superusers/auth-with-password"]:
        seen = statuses(fresh_server, 100, "POST", path, guess, headers=as_proxy("203.0.113.1"))
        # A new minute may begin meanwhile.
        assert seen[400] <= 20, seen
        assert seen[400] + seen[429] == 100, seen

    def batch():
        body = {"action": "test", "subject": str(uuid4())}
        return {"requests": [{"method": "POST", "url": "/api/collections/audit/records", "body": body}]}

    sent = [
        fresh_server.status("POST", "/api/batch", batch(), fresh_server.service, headers=as_proxy("203.0.113.1")) for _ in range(300)
    ]
    assert sent == [200] * 300
    path = "/api/collections/users/auth-refresh"
    assert statuses(fresh_server, 50, "POST", path, token=fresh_server.service, headers=as_proxy("203.0.113.1")) == {200: 50}
    # Another address is not affected, and the one that a client claims does not count.
    assert fresh_server.status("POST", SIGN_IN, SERVICE, headers=as_proxy("203.0.113.2")) == 200


def test_superusers_are_known_at_their_addresses_only(fresh_server, tmp_path):
    addresses = tmp_path / "addresses.json"
    addresses.write_text(json.dumps({"superuserIPs": ["127.0.0.1", "203.0.113.0/24"]}))
    assert apply(fresh_server, DEPLOY / "settings.json", addresses).returncode == 0
    ask = ["GET", "/api/collections/partners/records"]
    assert fresh_server.status(*ask, token=fresh_server.superuser, headers=as_proxy("203.0.113.7")) == 200
    assert fresh_server.status(*ask, token=fresh_server.superuser, headers=as_proxy("198.51.100.7")) == 403
    assert fresh_server.status(*ask, token=fresh_server.service, headers=as_proxy("198.51.100.7")) == 200


def test_s3_settings_that_do_not_work_are_reported(fresh_server, tmp_path):
    unusable = tmp_path / "s3.json"
    bucket = {"enabled": True, "endpoint": "http://127.0.0.1:9", "region": "us-east-1", "bucket": "b", "accessKey": "k", "secret": "s"}
    unusable.write_text(json.dumps({"backups": {"s3": bucket}}))
    applied = apply(fresh_server, unusable)
    assert applied.returncode == 1 and "S3 for backups does not work" in applied.stderr
