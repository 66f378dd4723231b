"""A real browser with a fake camera walks through the hosted page of a real stack, which `make run` starts for it on ports of its own.

API_URL          a stack that runs already, with PUBLISHABLE_KEY
SCREENSHOTS      where the pictures of every step go (.run/screenshots)
CHROMIUM         the browser; else the installed chromium, else Playwright's own
"""

import functools
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).parents[2]
SPECIMENS = ROOT / ".run/specimens"
SCREENSHOTS = Path(os.environ.get("SCREENSHOTS", ROOT / ".run/screenshots"))
PAGE_FOLDER = ROOT / "functions/verification-page/page"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
PORTS = ["API_PORT", "PB_PORT", "STANDINS_PORT", "MOTO_PORT", "RECEIVER_PORT"]


def free_ports():
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    ports = {name: str(listener.getsockname()[1]) for name, listener in zip(PORTS, sockets)}
    for listener in sockets:
        listener.close()
    return ports


STACK = {} if "API_URL" in os.environ else free_ports()
API_URL = os.environ.get("API_URL") or f"http://127.0.0.1:{STACK['API_PORT']}"
POCKETBASE = f"http://127.0.0.1:{STACK.get('PB_PORT')}/api/collections"
PUBLISHABLE_KEY = os.environ.get("PUBLISHABLE_KEY", "pk_development_partner_publishable")
# How long a test waits for what has to come, in milliseconds: a busy machine must not fail a test.
LIMIT = 120_000
expect.set_options(timeout=LIMIT)
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
    # Chromium does not know where a page comes from that a test has altered, and blocks its requests to this machine.
    "--disable-features=LocalNetworkAccessChecks",
]


def open_link(user_identifier, key=PUBLISHABLE_KEY):
    """The link a partner sends a person's browser to."""
    return f"{API_URL}/verif/?" + urlencode({"api_key": key, "user_identifier": user_identifier})


def messages(language="en"):
    return json.loads((PAGE_FOLDER / "messages" / f"{language}.json").read_text("utf-8"))


# How long the stack may take to start, in seconds. `make run` may have to compile first.
START_LIMIT = 600


def is_up():
    """Whether the page is served and can upload."""
    try:
        with urllib.request.urlopen(open_link("somebody"), timeout=60):
            pass
        with urllib.request.urlopen(f"http://127.0.0.1:{STACK['MOTO_PORT']}/identivia-uploads", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def wait_until_up(make, log):
    """Waits for the stack. When it ends or does not come up, its log is in the failure."""
    deadline = time.monotonic() + START_LIMIT
    while not is_up():
        for failed, reason in (
            (make.poll() is not None, f"`make run` ended with {make.returncode}"),
            (time.monotonic() > deadline, f"the page and the bucket do not answer within {START_LIMIT} s"),
        ):
            assert not failed, f"{reason}; the log of the stack:\n{log.read_text('utf-8', 'replace')}"
        time.sleep(0.2)


@pytest.fixture(scope="session", autouse=True)
def stack():
    """The stack of `make run`, on free ports and with data of its own, until the tests are over."""
    if not STACK:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        # Not what make exports to these tests: variables of its own, and the ports of another stack.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
        place = {"PB_DATA": f"{folder}/pb_data", "POCKETBASE_URL": f"http://127.0.0.1:{STACK['PB_PORT']}"}
        variables = {**inherited, **STACK, **place}
        # A session of its own: the signal below reaches all of it.
        with log.open("w") as output:
            make = subprocess.Popen(
                ["make", "run"], cwd=ROOT, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        try:
            wait_until_up(make, log)
            yield
        finally:
            if make.poll() is None:
                os.killpg(make.pid, signal.SIGINT)
            try:
                make.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(make.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def browser(stack):
    arguments = [*ARGUMENTS, f"--use-file-for-fake-video-capture={SPECIMENS}/selfie.mjpeg"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


def post_json(url, body, token=None):
    headers = {"Content-Type": "application/json", **({"Authorization": token} if token else {})}
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=60) as answer:
        return json.load(answer)


@functools.cache
def superuser_token():
    variables = dict(line.split("=", 1) for line in (ROOT / ".env").read_text("utf-8").splitlines() if re.match(r"\w+=", line))
    superuser = {"identity": variables["PB_SUPERUSER_EMAIL"], "password": variables["PB_SUPERUSER_PASSWORD"]}
    return post_json(f"{POCKETBASE}/_superusers/auth-with-password", superuser)["token"]


def partner_key(**fields):
    """The publishable key of a new partner with a team of its own, since a picture serves one person of a team."""
    if not STACK:
        return PUBLISHABLE_KEY
    key = f"pk_{uuid.uuid4().hex}"
    hashed = hashlib.sha256(key.encode()).hexdigest()
    partner = {"name": "Development partner", "team": f"team_{uuid.uuid4().hex}", "active": True, "link_mode": "open"}
    post_json(f"{POCKETBASE}/partners/records", {**partner, "publishable_key_hash": hashed, **fields}, superuser_token())
    return key


class Visit:
    """A visit to the page, with its requests and console errors."""

    def __init__(self, browser, language="en", device=PHONE, camera_error=None, has_clock=False, **options):
        self.user_identifier = f"browser-{uuid.uuid4().hex[:12]}"
        self.link = open_link(self.user_identifier, partner_key())
        self.words = messages(language[:2])
        self.trouble, self.requests, self.upload_origins, self.slots, self.posts = [], [], set(), [], []
        self.context = browser.new_context(locale=language, permissions=["camera"], **{**device, **options})
        self.page = self.context.new_page()
        self.page.set_default_timeout(LIMIT)
        self.has_clock = has_clock
        if has_clock:
            self.page.clock.install()
        self.page.add_init_script(
            "addEventListener('securitypolicyviolation', (event) => console.error('CSP violation', event.violatedDirective, event.blockedURI));"
        )
        if camera_error:
            self.camera_fails(camera_error)
        self.page.on("console", lambda message: message.type in ("error", "warning") and self.trouble.append(message.text))
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("request", self.note_request)
        self.page.on("response", self.note_response)

    def note_request(self, request):
        self.requests.append(request)
        if request.method == "POST" and request.url == f"{API_URL}/api/uploads":
            self.slots.append(request.post_data_json["field"])
        elif request.method == "POST" and not request.url.startswith(API_URL):
            self.posts.append(request)

    def note_response(self, response):
        if response.url == f"{API_URL}/api/uploads" and response.status == 201:
            self.upload_origins.add(origin(response.json()["url"]))

    def camera_fails(self, name):
        self.page.add_init_script(
            f"navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('for the test', {json.dumps(name)}));"
        )

    def open(self):
        self.page.goto(self.link)
        self.at("welcome")

    def open_altered(self, change=lambda settings: settings, theme="", step="welcome"):
        """Opens the page as it would be with other settings or another partner's theme."""
        link = self.context.request.get(self.link, max_redirects=0).headers["location"]

        def alter(route):
            answer = route.fetch()
            html = answer.text().replace("</style>", f"{theme}</style>", 1)
            begin = re.search(r'<script type="application/json" id="settings"[^>]*>', html).end()
            end = html.index("</script>", begin)
            settings = change(json.loads(html[begin:end]))
            self.words = settings["messages"]
            html = html[:begin] + json.dumps(settings).replace("<", "\\u003c") + html[end:]
            route.fulfill(response=answer, body=html)

        self.page.route("**/verif/?token=*", alter)
        self.page.goto(link if link.startswith("http") else API_URL + link)
        self.at(step)

    def at(self, step, field=None):
        """Expects a step; with a field that of this side of the document."""
        side = f'[data-field="{field}"]' if field else ""
        expect(self.page.locator(f'[data-step="{step}"]{side}')).to_be_visible()

    def until(self, what, is_so):
        """Waits for something that happens outside of the page."""
        deadline = time.monotonic() + LIMIT / 1000
        while not is_so():
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            self.page.wait_for_timeout(20)

    def settle(self):
        """Waits for the end of the animations that a step begins with."""
        self.page.evaluate("""Promise.all(document.getAnimations()
            .filter((animation) => animation.effect.getComputedTiming().endTime < 1000)
            .map((animation) => animation.finished.catch(() => {})))""")

    @property
    def step(self):
        return self.page.locator("[data-step]:visible").get_attribute("data-step")

    def button(self, key):
        name = self.words[key]
        return self.page.get_by_role("button", name=name, exact=True)

    def press(self, key):
        self.button(key).click()

    def heading(self):
        return self.page.get_by_role("heading", level=1)

    def alert(self, key):
        """Expects one alert, with the title of this message and a text."""
        box = self.page.get_by_role("alert")
        expect(box).to_have_count(1)
        expect(box.locator("strong")).to_have_text(self.words[f"{key}_title"])
        assert len(box.locator("p").inner_text()) > 20

    def stop_clock(self):
        """Stops the timers of a page that has a clock, until `page.clock.resume()`."""
        self.page.clock.pause_at(self.page.evaluate("Date.now()") / 1000 + 60)

    def begin_recording(self):
        """Begins a recording that does not end before the clock goes on."""
        # The page gives up a camera that shows no picture for some seconds, and stopping the clock skips a minute.
        expect(self.button("selfie_record")).not_to_have_attribute("aria-disabled", "true")
        self.stop_clock()
        self.press("selfie_record")
        expect(self.page.locator("#count")).to_be_visible()
        self.page.clock.run_for(3000)
        expect(self.page.locator("#selfie-stage")).to_have_attribute("data-state", "recording")

    def record(self):
        expect(self.button("selfie_record")).not_to_have_attribute("aria-disabled", "true")
        self.press("selfie_record")
        if self.has_clock:
            # Saves the seconds of the countdown.
            expect(self.page.locator("#count")).to_be_visible()
            self.page.clock.run_for(3000)
        self.at("selfie-review")

    def choose_video(self, file=None):
        self.page.get_by_label(self.words["selfie_choose"]).set_input_files(file or SPECIMENS / "selfie.webm")

    def choose_photo(self, file="id-same.jpg"):
        self.page.get_by_label(self.words["document_choose"]).set_input_files(SPECIMENS / file if isinstance(file, str) else file)

    def to_document(self):
        """Goes to the document step with a selfie from a file, which the page offers where there is no camera."""
        self.press("start")
        self.at("selfie")
        self.choose_video()
        self.at("selfie-review")
        self.press("selfie_use")
        self.at("document")

    def to_side(self, field, photo="id-same.jpg"):
        """Goes to the document step of a side."""
        self.to_document()
        if field == "id_photo_back":
            self.choose_photo(photo)
            self.at("document-review", "id_photo")
            self.press("document_use")
        self.at("document", field)

    def to_send(self, photo="id-same.jpg", back=None):
        self.to_side("id_photo_back", photo)
        if back:
            self.choose_photo(back)
            self.at("document-review", "id_photo_back")
            self.press("document_use")
        else:
            self.press("document_no_back")
        self.at("send")

    def sent(self):
        """The fields of each submission."""
        bodies = [request.post_data for request in self.requests if request.url == f"{API_URL}/verif/submit"]
        return [re.findall(r'name="(\w+)"\r\n\r\nupload:', body) for body in bodies]

    def outcome(self, status):
        self.at("outcome")
        expect(self.heading()).to_have_text(self.words[f"outcome_{status}_title"])

    def route_uploads(self, handler):
        """The handler gets each file on its way to the bucket; preflights pass."""
        self.page.route(
            lambda url: url.startswith("http") and not url.startswith(API_URL),
            lambda route: handler(route) if route.request.method == "POST" else route.continue_(),
        )

    def screenshot(self, name):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.settle()
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    def expect_trouble(self, *patterns):
        """Removes the console messages that the test itself caused."""
        self.trouble = [text for text in self.trouble if not any(re.search(pattern, text) for pattern in patterns)]


def origin(url):
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


@pytest.fixture
def visit(browser):
    """Makes visits. None may end with a console error, or have asked anyone but the API and the bucket."""
    visits = []

    def make(**options):
        visits.append(Visit(browser, **options))
        return visits[-1]

    yield make
    for each in visits:
        each.context.close()
    for each in visits:
        assert each.trouble == [], "no console error, exception or CSP violation"
        asked = {origin(request.url) for request in each.requests if request.url.startswith("http")}
        assert asked <= {API_URL, *each.upload_origins}, "nobody is asked but the API and the bucket"
