"""A real browser with a fake camera walks through the hosted page of a real stack, which `make run` starts for it on ports of its own.

API_URL          a stack that runs already, with PUBLISHABLE_KEY
SCREENSHOTS      where the pictures of every step go (.run/screenshots)
CHROMIUM         the browser; else the installed chromium, else Playwright's own
"""

import base64
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
PUBLISHABLE_KEY = os.environ.get("PUBLISHABLE_KEY", "pk_development_partner_publishable")
OUTCOME_TIMEOUT = 40_000
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
    # A page that a test has altered counts as come from nowhere, and may then ask nobody on this machine.
    "--disable-features=LocalNetworkAccessChecks",
]


def open_link(user_identifier):
    """The link a partner sends a person's browser to."""
    return f"{API_URL}/verif/?" + urlencode({"api_key": PUBLISHABLE_KEY, "user_identifier": user_identifier})


def messages(language="en"):
    return json.loads((PAGE_FOLDER / "messages" / f"{language}.json").read_text("utf-8"))


def is_up():
    """Whether the page is served and can upload: the bucket is made last."""
    try:
        with urllib.request.urlopen(open_link("somebody"), timeout=60):
            pass
        with urllib.request.urlopen(f"http://127.0.0.1:{STACK['MOTO_PORT']}/identivia-uploads", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def start_functions():
    """Each function is started by its first request, which may take its time on a busy machine."""
    for path in ("/api/uploads", "/verif/submit"):
        try:
            urllib.request.urlopen(urllib.request.Request(f"{API_URL}{path}", data=b"", method="POST"), timeout=120).close()
        except urllib.error.HTTPError:
            pass


@pytest.fixture(scope="session", autouse=True)
def stack():
    """Everything that `make run` has, with data of its own, until the tests are over."""
    if not STACK:
        yield
        return
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "log", "w+") as log:
        # What make has exported to these tests is for the stack of its own ports.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
        place = {"PB_DATA": f"{folder}/pb_data", "POCKETBASE_URL": f"http://127.0.0.1:{STACK['PB_PORT']}"}
        variables = {**inherited, **STACK, **place}
        # A session of its own, so that all of it gets the signal.
        make = subprocess.Popen(["make", "run"], cwd=ROOT, env=variables, stdout=log, stderr=log, start_new_session=True)
        try:
            for _ in range(180):
                if is_up():
                    break
                if make.poll() is not None:
                    break
                time.sleep(1)
            else:
                raise AssertionError("the stack does not come up")
            if make.poll() is not None:
                log.seek(0)
                raise AssertionError(f"the stack ended:\n{log.read()}")
            start_functions()
            yield
        finally:
            if make.poll() is None:
                os.killpg(make.pid, signal.SIGINT)
            try:
                make.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(make.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def browser(stack):
    arguments = [*ARGUMENTS, f"--use-file-for-fake-video-capture={SPECIMENS}/selfie.mjpeg"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def selfie(browser):
    """What the camera shows, as a file: tests that are about something else choose it and save the seconds of recording."""
    context = browser.new_context(permissions=["camera"])
    page = context.new_page()
    page.goto(f"{API_URL}/verif/")
    data = page.evaluate("""async () => {
        const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
        const recorder = new MediaRecorder(stream, { mimeType: "video/webm;codecs=vp8" });
        const parts = [];
        recorder.ondataavailable = ({ data }) => parts.push(data);
        const stopped = new Promise((resolve) => { recorder.onstop = resolve; });
        recorder.start();
        setTimeout(() => recorder.stop(), 4000);
        await stopped;
        const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
        return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
    }""")
    context.close()
    return {"name": "selfie.webm", "mimeType": "video/webm", "buffer": base64.b64decode(data)}


class Visit:
    """One person's visit: the page, what it asked of whom, and what went wrong in it."""

    def __init__(self, browser, selfie, language="en", device=PHONE, camera_error=None, **options):
        self.user_identifier = f"browser-{uuid.uuid4().hex[:12]}"
        self.words = messages(language[:2])
        self.selfie = selfie
        self.trouble, self.requests, self.upload_origins, self.slots, self.posts = [], [], set(), [], []
        self.context = browser.new_context(locale=language, permissions=["camera"], **{**device, **options})
        self.page = self.context.new_page()
        self.page.set_default_timeout(15_000)
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
        self.page.goto(open_link(self.user_identifier))
        self.at("welcome")

    def open_altered(self, change=lambda settings: settings, theme="", step="welcome"):
        """Opens the page as it would be with other settings or another partner's theme."""
        link = self.context.request.get(open_link(self.user_identifier), max_redirects=0).headers["location"]

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

    def at(self, step, timeout=15_000):
        expect(self.page.locator(f'[data-step="{step}"]')).to_be_visible(timeout=timeout)

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
        """Sees that exactly this is said, and how to go on."""
        box = self.page.get_by_role("alert")
        expect(box).to_have_count(1)
        expect(box.locator("strong")).to_have_text(self.words[f"{key}_title"])
        assert len(box.locator("p").inner_text()) > 20

    def record(self):
        expect(self.button("selfie_record")).not_to_have_attribute("aria-disabled", "true")
        self.press("selfie_record")
        self.at("selfie-review")

    def choose_video(self, file=None):
        self.page.get_by_label(self.words["selfie_choose"]).set_input_files(file or self.selfie)

    def choose_photo(self, file="id-same.jpg"):
        self.page.get_by_label(self.words["document_choose"]).set_input_files(SPECIMENS / file if isinstance(file, str) else file)

    def to_document(self):
        """Past the selfie, with a file, since a camera that is missing is offered one."""
        self.press("start")
        self.at("selfie")
        self.choose_video()
        self.at("selfie-review")
        self.press("selfie_use")
        self.at("document")

    def to_send(self, photo="id-same.jpg"):
        self.to_document()
        self.choose_photo(photo)
        self.at("document-review")
        self.press("document_use")
        self.at("send")

    def outcome(self, status):
        self.at("outcome", OUTCOME_TIMEOUT)
        expect(self.heading()).to_have_text(self.words[f"outcome_{status}_title"])

    def route_uploads(self, handler):
        """The handler gets each file on its way to the bucket; preflights pass."""
        self.page.route(
            lambda url: url.startswith("http") and not url.startswith(API_URL),
            lambda route: handler(route) if route.request.method == "POST" else route.continue_(),
        )

    def screenshot(self, name):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.wait_for_timeout(400)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    def expect_trouble(self, *patterns):
        """Takes what the test itself caused off the list of what went wrong."""
        self.trouble = [text for text in self.trouble if not any(re.search(pattern, text) for pattern in patterns)]


def origin(url):
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


@pytest.fixture
def visit(browser, selfie):
    """Makes visits, and sees at the end that the page did nothing it should not in any of them."""
    visits = []

    def make(**options):
        visits.append(Visit(browser, selfie, **options))
        return visits[-1]

    yield make
    for each in visits:
        each.context.close()
    for each in visits:
        assert each.trouble == [], "no console error, exception or CSP violation"
        asked = {origin(request.url) for request in each.requests if request.url.startswith("http")}
        assert asked <= {API_URL, *each.upload_origins}, "nobody is asked but the API and the bucket"
