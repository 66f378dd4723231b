"""Tests of the hosted page in a browser. conftest.py says how to run them."""

import json
import re
import subprocess

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from conftest import DESKTOP, PAGE_FOLDER, PHONE, ROOT, SPECIMENS, STACK, messages, open_link, partner_key

DEVICES = {"phone": PHONE, "desktop": DESKTOP}
LANGUAGES = ["en", "es", "fr", "de"]
SIDES = ["id_photo", "id_photo_back"]
WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
DARK = ":root{--accent:#8ab4ff;--on-accent:#0b1020;--background:#0b1020;--text:#f2f5ff}"
NETWORK_ERROR = r"Failed to load resource: net::ERR_"
STATUS_ERROR = r"Failed to load resource: the server responded with a status of "


def fails_once(status, body, headers=None):
    """A route handler that answers the first request itself and lets all others through."""
    answered = []

    def handler(route):
        if answered:
            return route.continue_()
        answered.append(True)
        return route.fulfill(status=status, json=body, headers=headers or {})

    return handler


# ---------------------------------------------------------------- the whole way


@pytest.mark.parametrize("device", DEVICES)
def test_a_person_gets_from_the_link_to_being_verified(visit, device):
    person = visit(device=DEVICES[device], has_clock=True)
    person.open()
    assert "token=" in person.page.url and "api_key" not in person.page.url
    person.screenshot(f"{device}-01-welcome")
    person.press("start")
    person.at("selfie")
    expect(person.button("selfie_record")).not_to_have_attribute("aria-disabled", "true")
    person.screenshot(f"{device}-02-selfie")
    person.stop_clock()
    person.press("selfie_record")
    expect(person.page.locator("#count")).to_be_visible()
    person.screenshot(f"{device}-03-countdown")
    person.page.clock.run_for(3000)
    expect(person.page.locator("#selfie-stage")).to_have_attribute("data-state", "recording")
    person.screenshot(f"{device}-04-recording")
    person.page.clock.resume()
    person.at("selfie-review")
    person.screenshot(f"{device}-05-selfie-review")
    person.press("selfie_use")
    person.at("document")
    person.screenshot(f"{device}-06-document")
    person.choose_photo("id-same.jpg")
    person.at("document-review")
    person.screenshot(f"{device}-07-document-review")
    person.press("document_use")
    person.at("document", "id_photo_back")
    person.screenshot(f"{device}-07-document-back")
    person.press("document_no_back")
    person.at("send")
    person.screenshot(f"{device}-08-send")
    person.press("send")
    person.at("checking")
    person.screenshot(f"{device}-10-checking")
    person.outcome("verified")
    person.screenshot(f"{device}-11-verified")
    assert "token" not in person.page.url
    assert re.fullmatch(r"[0-9a-f-]{36}", person.page.locator("#reference").inner_text())


@pytest.mark.parametrize(("photo", "status"), [("id-other.jpg", "rejected"), ("id-instructions.jpg", "pending")])
def test_the_page_says_what_follows_from_each_outcome(visit, photo, status):
    for device in DEVICES:
        person = visit(device=DEVICES[device], camera_error="NotFoundError")
        person.open()
        person.to_send(photo)
        person.press("send")
        person.outcome(status)
        expect(person.page.locator("#outcome-next")).to_contain_text(person.page.locator("#partner-name").text_content())
        person.screenshot(f"{device}-11-{status}")


def test_both_sides_of_the_document_can_be_photographed_with_the_camera(visit):
    person = visit(has_clock=True)
    person.open()
    person.press("start")
    person.record()
    person.press("selfie_use")
    for field, name, camera in [("id_photo", "document", "document_camera"), ("id_photo_back", "document_back", "document_back_camera")]:
        person.at("document", field)
        expect(person.heading()).to_have_text(person.words[f"{name}_title"])
        person.press(camera)
        person.at("document-camera", field)
        expect(person.heading()).to_have_text(person.words[f"{name}_camera_title"])
        expect(person.button("document_shoot")).not_to_have_attribute("aria-disabled", "true")
        person.screenshot(f"phone-06-{name}-camera")
        person.press("document_shoot")
        person.at("document-review", field)
        expect(person.heading()).to_have_text(person.words[f"{name}_review_title"])
        expect(person.page.get_by_role("img", name=person.words[f"{name}_photo"], exact=True)).to_be_visible()
        assert person.page.evaluate("document.getElementById('document-live').srcObject") is None, "the camera is off again"
        size = person.page.locator("#document-photo").evaluate("(image) => image.decode().then(() => [image.naturalWidth, image.naturalHeight])")
        assert abs(size[0] / size[1] - 4 / 3) < 0.02, "what the frame showed is what is sent"
        person.press("document_use")
    person.at("send")


# ---------------------------------------------------------------- the back of a card


def test_both_sides_of_a_card_are_sent(visit):
    person = visit(camera_error="NotFoundError")
    person.open()
    person.to_send(back="card-back.jpg")
    person.screenshot("phone-08-send-both-sides")
    person.press("send")
    person.at("outcome")
    assert person.slots == ["selfie_video", "id_photo", "id_photo_back"]
    assert person.sent() == [["selfie_video", "id_photo", "id_photo_back"]]


def test_a_passport_takes_one_tap_and_no_photo_of_a_back(visit):
    # A phone whose browser's bars leave less of its screen.
    person = visit(camera_error="NotFoundError", device={**PHONE, "viewport": {"width": 390, "height": 664}})
    person.open()
    person.to_side("id_photo_back")
    person.screenshot("phone-07-document-back-small")
    expect(person.button("document_keep")).to_be_hidden()
    expect(person.button("document_no_back")).to_be_in_viewport(ratio=1)
    person.press("document_no_back")
    person.at("send")
    expect(person.page.locator('[data-step="send"] [data-field="id_photo_back"]')).to_contain_text(person.words["document_back_none"])
    person.press("send")
    person.outcome("verified")
    assert person.slots == ["selfie_video", "id_photo"]
    assert person.sent() == [["selfie_video", "id_photo"]]


def test_the_back_can_be_changed_kept_left_out_and_added_before_sending(visit):
    person = visit(camera_error="NotFoundError")
    row = person.page.locator('[data-step="send"] [data-field="id_photo_back"]')
    person.open()
    person.to_send(back="card-back.jpg")
    picture = row.locator("img").get_attribute("src")
    person.press("change_document_back")
    person.at("document", "id_photo_back")
    person.press("document_keep")
    person.at("send")
    assert row.locator("img").get_attribute("src") == picture
    person.press("change_document_back")
    person.press("document_no_back")
    person.at("send")
    assert row.locator("img").get_attribute("src") is None, "the earlier photo is gone"
    person.press("change_document_back")
    person.at("document", "id_photo_back")
    expect(person.button("document_keep")).to_be_hidden()
    person.choose_photo("card-back.jpg")
    person.press("document_retake")
    person.at("document", "id_photo_back")
    person.press("document_no_back")
    person.at("send")
    person.press("change_document")
    person.at("document", "id_photo")
    expect(person.button("document_no_back")).to_be_hidden()
    person.press("document_keep")
    person.at("send")
    person.press("send")
    person.outcome("verified")
    assert person.sent() == [["selfie_video", "id_photo"]]


# ---------------------------------------------------------------- what the person can mend


def asks_to_mend(*factors):
    """Answers the first submission with factors that the person can mend."""
    result = {"status": "pending", "next_step": "resubmit", "verificationAssessment": {"riskFactors": factors}}
    return fails_once(200, {"success": True, "check_id": "first", "result": result})


@pytest.mark.parametrize(("factors", "again"), [
    (["selfie_face_not_clear"], ["selfie_video"]),
    (["id_face_not_clear"], ["id_photo"]),
    (["document_not_read"], SIDES),
    (["document_expired", "document_not_read"], SIDES),
    (["not_an_identity_document"], SIDES),
    (["id_face_not_clear", "selfie_face_not_clear"], ["selfie_video", "id_photo"]),
    (["liveness_missing", "id_face_not_clear"], ["id_photo"]),
], ids=lambda value: "-".join(value))
def test_a_person_mends_what_was_wrong_and_the_rest_is_kept(visit, factors, again):
    person = visit(camera_error="NotFoundError")
    person.page.route("**/verif/submit", asks_to_mend(*factors))
    person.open()
    person.to_send()
    person.press("send")
    person.at("resubmit")
    expect(person.heading()).to_be_focused()
    expect(person.page.locator("#mending li")).to_have_text([person.words[f"mend_{factor}"] for factor in factors])
    person.press("try_again")
    for field in again:
        if field == "selfie_video":
            person.at("selfie")
            expect(person.button("selfie_keep")).to_be_hidden()
            person.choose_video()
            person.press("selfie_use")
        elif field == "id_photo":
            person.at("document", field)
            expect(person.button("document_keep")).to_be_hidden()
            person.choose_photo()
            person.press("document_use")
        else:
            person.at("document", field)
            person.press("document_no_back")
    person.at("send")
    person.press("send")
    person.outcome("verified")
    assert person.slots == ["selfie_video", "id_photo"] * 2, "the check has used up the uploads"


@pytest.mark.parametrize(("factors", "key"), [
    (["liveness_missing"], "mend_liveness_missing"), (["of_tomorrow"], "mend_other"), (["constructor"], "mend_other"),
    ([], "mend_other"), (None, "mend_other"),
])
def test_without_a_file_to_mend_the_page_begins_again_and_offers_to_keep_everything(visit, factors, key):
    person = visit(camera_error="NotFoundError")
    answer = {"success": True, "result": {"status": "pending", "next_step": "resubmit", "verificationAssessment": {"riskFactors": factors}}}
    person.page.route("**/verif/submit", fails_once(200, answer))
    person.open()
    person.to_send(back="card-back.jpg")
    person.press("send")
    person.at("resubmit")
    expect(person.page.locator("#mending li")).to_have_text([person.words[key]])
    person.press("try_again")
    person.at("selfie")
    person.press("selfie_keep")
    person.at("document", "id_photo")
    person.press("document_keep")
    person.at("document", "id_photo_back")
    expect(person.heading()).to_have_text(person.words["document_back_title"])
    person.press("document_keep")
    person.at("send")
    person.press("send")
    person.at("outcome")
    assert person.sent() == [["selfie_video", *SIDES]] * 2


@pytest.mark.parametrize("status", ["verified", "rejected"])
def test_an_outcome_that_is_decided_is_shown_whatever_the_next_step(visit, status):
    person = visit(camera_error="NotFoundError")
    answer = {"success": True, "result": {"status": status, "next_step": "resubmit", "verificationAssessment": {"riskFactors": ["document_expired"]}}}
    person.page.route("**/verif/submit", lambda route: route.fulfill(status=200, json=answer))
    person.open()
    person.to_send()
    person.press("send")
    person.outcome(status)


@pytest.mark.parametrize("theme", ["", DARK], ids=["own-colours", "dark-theme"])
@pytest.mark.parametrize("device", DEVICES)
def test_the_page_that_asks_to_mend_is_accessible_and_lets_the_person_leave(visit, device, theme):
    person = visit(camera_error="NotFoundError", device=DEVICES[device])
    person.page.route("**/verif/submit", asks_to_mend("selfie_face_not_clear", "document_not_read", "of_tomorrow"))
    person.open_altered(theme=theme)
    person.to_send()
    person.press("send")
    person.at("resubmit")
    expect(person.page.get_by_role("listitem")).to_have_count(3)
    person.settle()
    assert Axe().run(person.page, options=WCAG).violations_count == 0
    person.screenshot(f"{device}-15-resubmit{'-dark' if theme else ''}")
    asked = []
    person.page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    assert "token=" in person.page.url
    person.page.reload()
    person.at("welcome")
    assert asked == [], "what was taken has arrived"


def test_a_document_that_cannot_be_read_is_asked_for_again_by_the_server(visit, tmp_path):
    photo = tmp_path / "unreadable.jpg"
    description = {"person": "anna", "document_number": "", "name": "", "mrz_lines": []}
    subprocess.run([ROOT / ".venv/bin/python", ROOT / "tools/local/specimens.py", "photo", json.dumps(description), photo], check=True)
    person = visit(camera_error="NotFoundError")
    person.open()
    person.to_send(photo)
    person.press("send")
    person.at("resubmit")
    expect(person.page.locator("#mending li")).to_have_text([person.words["mend_document_not_read"]])
    person.press("try_again")
    person.at("document", "id_photo")
    person.choose_photo()
    person.press("document_use")
    person.press("document_no_back")
    person.press("send")
    person.outcome("verified")


def test_the_video_can_be_watched_and_taken_again_and_the_camera_is_only_on_meanwhile(visit):
    person = visit(has_clock=True)
    person.page.add_init_script("""
        const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        window.streams = [];
        navigator.mediaDevices.getUserMedia = async (wanted) => { const stream = await open(wanted); window.streams.push(stream); return stream; };
    """)
    live = "window.streams.flatMap((stream) => stream.getTracks()).filter((track) => track.readyState === 'live').length"
    sound = "window.streams.flatMap((stream) => stream.getAudioTracks()).length"
    person.open()
    person.press("start")
    person.record()
    assert person.page.evaluate(live) == 0
    person.press("play")
    expect(person.button("pause")).to_be_visible()
    expect(person.button("play")).to_be_visible()
    person.press("selfie_retake")
    person.at("selfie")
    expect(person.button("selfie_record")).not_to_have_attribute("aria-disabled", "true")
    assert person.page.evaluate(live) == 1
    person.press("selfie_keep")
    person.at("document")
    assert person.page.evaluate(live) == 0
    assert person.page.evaluate(sound) == 0


# ---------------------------------------------------------------- everybody can use it


def test_the_keyboard_alone_is_enough(visit):
    person = visit(device=DESKTOP)
    keyboard = person.page.keyboard
    # Playwright begins to catch choosers with the first listener, and not at once: well before the one that counts.
    person.page.on("filechooser", lambda chooser: None)

    def tab_to(key):
        for _ in range(12):
            keyboard.press("Tab")
            name = person.page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.labels?.[0]?.innerText ?? document.activeElement.innerText")
            if name.strip() == person.words[key]:
                outline = person.page.evaluate("getComputedStyle(document.activeElement.closest('label, button')).outlineStyle")
                assert outline == "solid", "where the focus is can be seen"
                return
        raise AssertionError(f"{person.words[key]} cannot be reached with Tab")

    def at_heading(step):
        person.at(step)
        assert person.page.evaluate("document.activeElement.tagName") == "H1", "screen readers read the new step's heading"

    person.open()
    at_heading("welcome")
    tab_to("start")
    keyboard.press("Enter")
    at_heading("selfie")
    expect(person.button("selfie_record")).not_to_have_attribute("aria-disabled", "true")
    tab_to("selfie_record")
    keyboard.press("Space")
    at_heading("selfie-review")
    tab_to("play")
    tab_to("selfie_use")
    keyboard.press("Enter")
    at_heading("document")
    tab_to("document_choose")
    with person.page.expect_file_chooser() as chooser:
        keyboard.press("Enter")
    chooser.value.set_files(SPECIMENS / "id-same.jpg")
    at_heading("document-review")
    tab_to("document_use")
    keyboard.press("Enter")
    at_heading("document")
    expect(person.heading()).to_have_text(person.words["document_back_title"])
    tab_to("document_back_camera")
    tab_to("document_choose")
    tab_to("document_no_back")
    keyboard.press("Enter")
    at_heading("send")
    tab_to("change_selfie")
    tab_to("change_document_back")
    tab_to("send")
    keyboard.press("Enter")
    person.outcome("verified")
    at_heading("outcome")


@pytest.mark.parametrize("theme", ["", DARK], ids=["own-colours", "dark-theme"])
def test_axe_finds_nothing_against_wcag_on_any_step(visit, theme):
    person = visit(has_clock=True)
    seen = []

    def check(name):
        person.settle()
        result = Axe().run(person.page, options=WCAG)
        assert result.violations_count == 0, f"{name}: {result.generate_report()}"
        seen.append(name)
        if theme:
            person.screenshot(f"dark-{len(seen):02}-{name}")

    # Requests are held until axe has looked at the step.
    waiting = []
    person.page.route("**/verif/submit", lambda route: waiting.append(route))
    person.route_uploads(lambda route: waiting.append(route))
    person.open_altered(theme=theme)
    check("welcome")
    person.press("start")
    expect(person.button("selfie_record")).not_to_have_attribute("aria-disabled", "true")
    check("selfie")
    person.begin_recording()
    # Axe needs the clock.
    person.page.clock.resume()
    check("recording")
    person.at("selfie-review")
    check("selfie-review")
    person.press("selfie_use")
    person.at("document")
    check("document")
    person.choose_photo({"name": "id.gif", "mimeType": "image/gif", "buffer": b"GIF89a"})
    person.alert("error_type_id_photo")
    check("document-alert")
    person.press("document_camera")
    expect(person.button("document_shoot")).not_to_have_attribute("aria-disabled", "true")
    check("document-camera")
    person.press("back")
    person.choose_photo()
    person.at("document-review")
    check("document-review")
    person.press("document_use")
    person.at("document", "id_photo_back")
    check("document-back")
    person.choose_photo({"name": "id.gif", "mimeType": "image/gif", "buffer": b"GIF89a"})
    person.alert("error_type_id_photo_back")
    check("document-back-alert")
    person.press("document_back_camera")
    expect(person.button("document_shoot")).not_to_have_attribute("aria-disabled", "true")
    check("document-back-camera")
    person.press("back")
    person.choose_photo("card-back.jpg")
    person.at("document-review", "id_photo_back")
    check("document-back-review")
    person.press("document_retake")
    person.press("document_no_back")
    person.at("send")
    check("send")
    person.press("send")
    for _ in range(2):
        person.until("an upload", lambda: waiting)
        check("sending")
        waiting.pop(0).continue_()
    person.at("checking")
    person.until("the submission", lambda: waiting)
    check("checking")
    waiting.pop(0).fulfill(status=500, json={"error": "Verification processing failed"})
    person.alert("error_failed")
    check("send-alert")
    person.press("send_again")
    person.until("the second submission", lambda: waiting)
    waiting.pop(0).continue_()
    person.outcome("verified")
    check("outcome")
    person.expect_trouble(STATUS_ERROR + "500")


@pytest.mark.parametrize("problem", ["expired", "decided", "not_found", "unsigned", "used_up"])
def test_a_link_that_cannot_work_says_so_and_what_to_do(visit, problem):
    person = visit()
    person.open_altered(lambda settings: {**settings, "problem": problem, "token": ""}, step="problem")
    expect(person.heading()).to_have_text(person.words[f"problem_{problem}_title"])
    expect(person.page.locator("#problem-next")).to_contain_text(person.page.locator("#partner-name").text_content())
    person.settle()
    assert Axe().run(person.page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}).violations_count == 0
    person.screenshot(f"phone-12-{problem}")


@pytest.mark.parametrize(("problem", "key"), [
    ("not_found", "problem_unknown_next"), ("unsigned", "problem_unsigned_unknown_next"), ("used_up", "problem_used_up_unknown_next"),
])
def test_a_link_without_a_partner_still_says_what_to_do(visit, problem, key):
    person = visit()
    person.open_altered(lambda settings: {**settings, "problem": problem, "partner": None, "token": None}, step="problem")
    expect(person.heading()).to_have_text(person.words[f"problem_{problem}_title"])
    expect(person.page.locator("#problem-next")).to_have_text(person.words[key])


def test_a_problem_that_the_page_does_not_know_is_a_link_that_does_not_work(visit):
    person = visit()
    person.open_altered(lambda settings: {**settings, "problem": "of_tomorrow", "token": None}, step="problem")
    expect(person.heading()).to_have_text(person.words["problem_not_found_title"])


@pytest.fixture
def signing_key():
    """The publishable key of a partner whose links have to be signed."""
    if not STACK:
        pytest.skip("only the stack of these tests can be given another partner")
    return partner_key(link_mode="signed")


def test_a_link_that_should_be_signed_and_is_not_asks_for_a_new_one(visit, signing_key):
    person = visit()
    answer = person.page.goto(open_link(person.user_identifier, signing_key))
    assert answer.status == 403
    person.at("problem")
    expect(person.heading()).to_have_text(person.words["problem_unsigned_title"])
    expect(person.page.locator("#problem-next")).not_to_have_text("")
    expect(person.button("start")).to_be_hidden()
    person.expect_trouble(STATUS_ERROR + "403")


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_cut_off_at_320_pixels_and_every_target_is_large_enough(visit, language):
    person = visit(device={"viewport": {"width": 320, "height": 640}}, language=language, camera_error="NotFoundError")

    def check():
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert person.page.evaluate(overflow) <= 0, f"{person.step} scrolls sideways"
        small = person.page.evaluate("""[...document.querySelectorAll('button, label.button')]
            .filter((each) => each.offsetParent && (each.offsetHeight < 44 || each.offsetWidth < 44)).map((each) => each.innerText)""")
        assert small == []

    person.open()
    check()
    person.press("start")
    person.at("selfie")
    check()
    person.screenshot(f"narrow-{language}-selfie")
    person.choose_video()
    person.at("selfie-review")
    check()
    person.press("selfie_use")
    check()
    person.choose_photo()
    person.at("document-review")
    check()
    person.press("document_use")
    person.at("document", "id_photo_back")
    check()
    person.screenshot(f"narrow-{language}-document-back")
    person.choose_photo("card-back.jpg")
    person.at("document-review", "id_photo_back")
    check()
    person.press("document_retake")
    check()
    person.press("document_no_back")
    person.at("send")
    check()
    person.screenshot(f"narrow-{language}-send")
    person.page.route("**/verif/submit", asks_to_mend(*mendable()))
    person.press("send")
    person.at("resubmit")
    check()
    person.screenshot(f"narrow-{language}-resubmit")


def test_the_countdown_the_recording_and_the_progress_are_announced(visit):
    person = visit()
    person.page.add_init_script("""
        window.said = [];
        addEventListener("DOMContentLoaded", () => new MutationObserver(() => {
            const text = document.getElementById("live").textContent;
            if (text) window.said.push(text);
        }).observe(document.getElementById("live"), { childList: true }));
    """)
    person.open()
    person.press("start")
    person.record()
    person.press("selfie_use")
    person.choose_photo()
    person.press("document_use")
    person.press("document_no_back")
    person.press("send")
    person.outcome("verified")
    said = person.page.evaluate("window.said")
    countdown = person.words["countdown"].replace("{seconds}", "3")
    expected = [person.words["camera_ready"], countdown, "2", "1", person.words["recording"], person.words["checking_hint"]]
    assert [text for text in said if text in expected] == expected
    sent = re.compile(person.words["progress_announcement"].replace("{percent}", r"\d+%"))
    assert any(sent.fullmatch(text) for text in said)


# ---------------------------------------------------------------- the camera fails


@pytest.mark.parametrize(("error", "key"), [
    ("NotAllowedError", "error_camera_refused"), ("NotFoundError", "error_camera_missing"), ("NotReadableError", "error_camera_busy"),
])
def test_without_the_camera_a_file_can_be_chosen_instead(visit, error, key):
    person = visit(camera_error=error)
    person.open()
    person.press("start")
    person.alert(key)
    expect(person.button("camera_again")).to_be_visible()
    person.screenshot(f"phone-13-{error}")
    person.choose_video()
    person.at("selfie-review")
    person.press("selfie_use")
    person.press("document_camera")
    person.at("document")
    person.alert(key)
    person.choose_photo()
    person.press("document_use")
    person.press("document_back_camera")
    person.at("document", "id_photo_back")
    person.alert(key)
    person.press("document_no_back")
    person.press("send")
    person.outcome("verified")


def test_a_camera_that_was_refused_can_be_allowed_and_tried_again(visit):
    person = visit(has_clock=True)
    person.page.add_init_script("""
        const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        let refused = false;
        navigator.mediaDevices.getUserMedia = (wanted) => {
            if (refused) return open(wanted);
            refused = true;
            return Promise.reject(new DOMException("", "NotAllowedError"));
        };
    """)
    person.open()
    person.press("start")
    person.alert("error_camera_refused")
    person.press("camera_again")
    person.record()


@pytest.mark.parametrize("missing", ["delete window.MediaRecorder", "Object.defineProperty(navigator, 'mediaDevices', { value: undefined })"])
def test_a_browser_that_cannot_record_is_offered_a_file(visit, missing):
    person = visit()
    person.page.add_init_script(missing)
    person.open()
    person.press("start")
    person.alert("error_camera_unsupported")
    person.choose_video()
    person.at("selfie-review")


def test_a_camera_that_is_unplugged_while_recording_leaves_no_half_video(visit):
    person = visit(has_clock=True)
    person.open()
    person.press("start")
    person.begin_recording()
    person.page.evaluate("document.getElementById('selfie-live').srcObject.getTracks().forEach((track) => { track.stop(); track.dispatchEvent(new Event('ended')); })")
    expect(person.page.get_by_role("alert")).to_be_visible()
    assert person.step == "selfie"
    person.page.clock.resume()
    person.press("camera_again")
    person.record()


# ---------------------------------------------------------------- the network fails


def test_sending_resumes_after_a_lost_connection_without_uploading_twice(visit):
    person = visit(camera_error="NotFoundError")
    posts = []

    def lose_the_second(route):
        posts.append(route.request)
        if len(posts) == 2:
            return route.abort("connectionreset")
        return route.continue_()

    person.route_uploads(lose_the_second)
    person.open()
    person.to_send()
    person.press("send")
    person.alert("error_network")
    person.screenshot("phone-14-network-lost")
    person.press("send_again")
    person.outcome("verified")
    assert person.slots == ["selfie_video", "id_photo", "id_photo"]
    assert len(posts) == 3
    person.expect_trouble(NETWORK_ERROR)


def test_sending_works_again_after_being_offline(visit):
    person = visit(camera_error="NotFoundError")
    person.open()
    person.to_send()
    person.context.set_offline(True)
    person.press("send")
    person.alert("error_offline")
    person.context.set_offline(False)
    expect(person.page.get_by_role("alert")).to_have_count(0)
    person.press("send_again")
    person.outcome("verified")
    person.expect_trouble(NETWORK_ERROR)


def test_the_progress_bar_counts_all_files_and_leaving_asks_for_confirmation(visit):
    person = visit(camera_error="NotFoundError")
    waiting = []
    person.route_uploads(lambda route: waiting.append(route))
    person.open()
    person.to_send()
    person.press("send")
    person.at("sending")
    bar = person.page.get_by_role("progressbar", name=person.words["progress_label"])
    expect(bar).to_have_attribute("aria-valuenow", re.compile(r"^\d+$"))
    person.screenshot("phone-09-sending")
    asked = []
    person.page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    person.page.evaluate("setTimeout(() => location.reload())")
    person.until("the question", lambda: asked)
    assert asked == ["beforeunload"]
    person.at("sending")
    person.until("the first upload", lambda: waiting)
    waiting.pop(0).continue_()
    person.until("the second upload", lambda: waiting)
    assert 0 < int(bar.get_attribute("aria-valuenow")) < 100
    waiting.pop(0).continue_()
    person.outcome("verified")
    person.page.reload()
    assert asked == ["beforeunload"], "afterwards nothing would be lost, and the address no longer opens anything"
    expect(person.page.locator("[data-step]")).to_have_count(0)
    person.expect_trouble(STATUS_ERROR + "400", r"favicon")


def test_a_double_click_sends_once_and_skips_no_step(visit):
    person = visit(camera_error="NotFoundError")
    person.open()
    person.button("start").dblclick()
    person.at("selfie")
    person.choose_video()
    person.button("selfie_use").dblclick()
    person.at("document")
    person.settle()
    assert person.step == "document"
    person.choose_photo()
    person.button("document_use").dblclick()
    person.at("document", "id_photo_back")
    person.settle()
    person.at("document", "id_photo_back")
    person.button("document_no_back").dblclick()
    person.at("send")
    person.settle()
    assert person.step == "send"
    person.button("send").dblclick()
    person.outcome("verified")
    assert person.slots == ["selfie_video", "id_photo"]
    assert len([request for request in person.requests if request.url.endswith("/verif/submit")]) == 1


# ---------------------------------------------------------------- files that cannot be used


@pytest.mark.parametrize("field", SIDES)
def test_a_photo_that_is_too_large_is_refused_before_it_is_sent(visit, tmp_path, field):
    person = visit(camera_error="NotFoundError")
    person.open()
    person.to_side(field)
    large = tmp_path / "large.jpg"
    large.write_bytes(b"\xff\xd8" + bytes(15 * 1024 * 1024))
    person.choose_photo(large)
    person.alert(f"error_too_large_{field}")
    expect(person.page.get_by_role("alert")).to_contain_text("15")
    assert person.slots == []
    person.choose_photo()
    person.at("document-review", field)


def test_a_photo_the_bucket_finds_too_large_is_asked_for_again_and_the_video_is_kept(visit):
    person = visit(camera_error="NotFoundError")
    refused = []

    def refuse_the_photo(route):
        if len(person.slots) == 2 and not refused:
            refused.append(True)
            xml = "<Error><Code>EntityTooLarge</Code></Error>"
            return route.fulfill(status=400, body=xml, content_type="application/xml", headers={"Access-Control-Allow-Origin": "*"})
        return route.continue_()

    person.route_uploads(refuse_the_photo)
    person.open()
    person.to_send()
    person.press("send")
    person.at("document")
    person.alert("error_too_large_id_photo")
    person.choose_photo()
    person.press("document_use")
    person.press("send")
    person.outcome("verified")
    assert person.slots == ["selfie_video", "id_photo", "id_photo"]
    person.expect_trouble(STATUS_ERROR + "400")


@pytest.mark.parametrize("field", SIDES)
@pytest.mark.parametrize("file", [
    {"name": "id.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7"},
    {"name": "id.heic", "mimeType": "image/heic", "buffer": b"0000ftypheic"},
    {"name": "empty.jpg", "mimeType": "image/jpeg", "buffer": b""},
])
def test_a_file_of_an_unsupported_type_is_refused_with_the_types_that_work(visit, file, field):
    person = visit(camera_error="NotFoundError")
    person.open()
    person.to_side(field)
    person.choose_photo(file)
    person.alert(f"error_type_{field}")


@pytest.mark.parametrize("field", SIDES)
def test_a_damaged_photo_is_noticed_before_it_is_sent(visit, field):
    person = visit(camera_error="NotFoundError")
    person.open()
    person.to_side(field)
    person.choose_photo({"name": "id.jpg", "mimeType": "image/jpeg", "buffer": b"\xff\xd8 not a picture"})
    person.alert(f"error_unusable_{field}")
    person.at("document", field)


def test_without_a_camera_an_unusable_video_is_asked_for_again_as_a_file(visit):
    person = visit(camera_error="NotFoundError")
    person.page.route("**/verif/submit", fails_once(400, {"error": "Invalid file", "field": "selfie_video"}))
    person.open()
    person.to_send()
    person.press("send")
    person.at("selfie")
    expect(person.page.get_by_label(person.words["selfie_choose"])).to_be_visible()
    person.alert("error_unusable_selfie_video")
    person.choose_video()
    person.press("selfie_use")
    person.press("send")
    person.outcome("verified")
    person.expect_trouble(STATUS_ERROR + "400")


def test_a_back_the_api_cannot_use_is_asked_for_again_or_left_out_and_the_rest_is_kept(visit):
    for again in [True, False]:
        person = visit(camera_error="NotFoundError")
        person.page.route("**/verif/submit", fails_once(400, {"error": "Invalid file", "field": "id_photo_back"}))
        person.open()
        person.to_send(back="card-back.jpg")
        person.press("send")
        person.at("document", "id_photo_back")
        person.alert("error_unusable_id_photo_back")
        expect(person.button("document_keep")).to_be_hidden()
        if again:
            person.choose_photo("card-back.jpg")
            person.press("document_use")
        else:
            person.press("document_no_back")
        person.press("send")
        person.at("outcome")
        assert person.slots == ["selfie_video", *SIDES, *(SIDES[1:] if again else [])]
        assert person.sent()[1] == ["selfie_video", *(SIDES if again else SIDES[:1])]
        person.expect_trouble(STATUS_ERROR + "400")


@pytest.mark.parametrize(("field", "step"), [("id_photo", "document"), ("selfie_video", "selfie")])
def test_a_file_the_api_cannot_use_is_asked_for_again_and_the_other_is_kept(visit, field, step):
    person = visit(camera_error="NotFoundError" if field == "id_photo" else None, has_clock=True)
    person.page.route("**/verif/submit", fails_once(400, {"error": "Invalid file", "message": "internal words", "field": field}))
    person.open()
    if field == "id_photo":
        person.to_send()
    else:
        person.press("start")
        person.record()
        person.press("selfie_use")
        person.choose_photo()
        person.press("document_use")
        person.press("document_no_back")
    person.press("send")
    person.at(step)
    person.alert(f"error_unusable_{field}")
    expect(person.page.locator("body")).not_to_contain_text("internal words")
    if field == "id_photo":
        person.choose_photo()
        person.press("document_use")
    else:
        person.record()
        person.press("selfie_use")
    person.press("send")
    person.outcome("verified")
    assert person.slots == ["selfie_video", "id_photo", field]
    person.expect_trouble(STATUS_ERROR + "400")


# ---------------------------------------------------------------- the API refuses


@pytest.mark.parametrize("path", ["/api/uploads", "/verif/submit"])
def test_a_session_that_expires_in_the_middle_sends_the_person_back_to_the_partner(visit, path):
    person = visit(camera_error="NotFoundError")
    person.page.route(f"**{path}", lambda route: route.fulfill(status=401, json={"error": "Bearer token expired"}))
    person.open()
    person.to_send()
    person.press("send")
    person.at("problem")
    expect(person.heading()).to_have_text(person.words["problem_expired_title"])
    person.expect_trouble(STATUS_ERROR + "401")


@pytest.mark.parametrize(("status", "body", "key"), [
    (500, {"error": "Verification processing failed"}, "error_failed"),
    (502, {"error": "Bad gateway"}, "error_busy"),
    (503, {"message": "Service Unavailable"}, "error_busy"),
    (504, {"message": "Endpoint request timed out"}, "error_busy"),
])
def test_a_check_that_fails_can_be_sent_again_without_uploading_again(visit, status, body, key):
    person = visit(camera_error="NotFoundError")
    person.page.route("**/verif/submit", fails_once(status, body))
    person.open()
    person.to_send()
    person.press("send")
    person.alert(key)
    person.press("send_again")
    person.outcome("verified")
    assert person.slots == ["selfie_video", "id_photo"]
    person.expect_trouble(STATUS_ERROR + str(status))


@pytest.mark.parametrize("path", ["/api/uploads", "/verif/submit"])
@pytest.mark.parametrize("body", [{"error": "Too many attempts"}, {"error": "Limit reached", "field": "id_photo", "reason": "of_tomorrow"}, {}])
def test_too_many_attempts_say_when_to_come_back(visit, path, body):
    person = visit(camera_error="NotFoundError")
    person.page.route(f"**{path}", lambda route: route.fulfill(status=429, json=body, headers={"Retry-After": "7200"}))
    person.open()
    person.to_send()
    person.press("send")
    person.alert("error_too_often")
    expect(person.page.get_by_role("alert")).to_contain_text("in 2 hours")
    person.expect_trouble(STATUS_ERROR + "429")


@pytest.mark.parametrize(("status", "body", "again"), [
    (404, {"error": "Upload not found"}, ["selfie_video", "id_photo"]),
    (409, {"error": "Upload was used", "field": "id_photo"}, ["id_photo"]),
])
def test_uploads_that_are_gone_are_made_again(visit, status, body, again):
    person = visit(camera_error="NotFoundError")
    person.page.route("**/verif/submit", fails_once(status, body))
    person.open()
    person.to_send()
    person.press("send")
    person.alert("error_gone")
    person.press("send_again")
    person.outcome("verified")
    assert person.slots == ["selfie_video", "id_photo", *again]
    person.expect_trouble(STATUS_ERROR + str(status))


def test_uploads_of_both_sides_that_are_gone_are_made_again(visit):
    person = visit(camera_error="NotFoundError")
    person.page.route("**/verif/submit", fails_once(404, {"error": "Upload not found"}))
    person.open()
    person.to_send(back="card-back.jpg")
    person.press("send")
    person.alert("error_gone")
    person.press("send_again")
    person.at("outcome")
    assert person.slots == ["selfie_video", *SIDES] * 2
    person.expect_trouble(STATUS_ERROR + "404")


def test_a_profile_decided_meanwhile_ends_the_visit(visit):
    person = visit(camera_error="NotFoundError")
    person.page.route("**/verif/submit", lambda route: route.fulfill(status=409, json={"error": "Profile already decided"}))
    person.open()
    person.to_send()
    person.press("send")
    person.at("problem")
    expect(person.heading()).to_have_text(person.words["problem_decided_title"])
    person.expect_trouble(STATUS_ERROR + "409")


# ---------------------------------------------------------------- languages


@pytest.mark.parametrize("locale", ["en-GB", "es-MX", "fr-FR", "de-AT"])
def test_the_page_speaks_the_browsers_language(visit, locale):
    person = visit(language=locale, camera_error="NotFoundError")
    person.open()
    assert person.page.locator("html").get_attribute("lang") == locale[:2]
    expect(person.heading()).to_have_text(person.words["welcome_title"])
    person.screenshot(f"phone-language-{locale[:2]}")
    person.to_send()
    person.press("send")
    person.outcome("verified")
    texts = person.page.evaluate("""[...document.querySelectorAll('body *:not(script):not(template)')].flatMap((element) => [
        ...[...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.textContent.trim()),
        element.getAttribute('aria-label'), element.getAttribute('alt')]).filter(Boolean)""")
    assert [text for text in texts if re.search(r"^[a-z]+(_[a-z]+)+$|\{|undefined|NaN", text)] == []


def test_every_language_has_the_same_messages_with_the_same_gaps():
    english = messages("en")
    for language in LANGUAGES:
        other = messages(language)
        assert list(other) == list(english), language
        assert all(other.values()), language
        for key, text in english.items():
            gaps = [set(re.findall(r"\{\w+\}", each)) for each in (text, other[key])]
            assert gaps[0] == gaps[1], f"{language}: {key}"


def mendable():
    """The risk factors that the page has its own message for."""
    script = (PAGE_FOLDER / "page.js").read_text("utf-8")
    return re.findall(r"^  (\w+):", re.search(r"const MENDING = \{\n(.*?)\n\};", script, re.DOTALL)[1], re.MULTILINE)


def test_every_message_of_the_page_exists_and_none_is_left_over():
    english = messages("en")
    html, script = ((PAGE_FOLDER / name).read_text("utf-8") for name in ("page.html", "page.js"))
    used = set(re.findall(r'data-(?:text|label|alt)(?:-back)?="(\w+)"', html)) | set(re.findall(r'"([a-z]+(?:_[a-z]+)+|play|pause|send)"', script)) | set(re.findall(r'say\("(\w+)"', script)) | {"page_title"}
    made = re.compile(r"(outcome|problem|error)_\w+_(title|text|next)")
    used |= {f"mend_{factor}" for factor in mendable()}
    assert sorted(key for key in english if key not in used and not made.fullmatch(key)) == []
    assert sorted(f"mend_{factor}" for factor in mendable() if f"mend_{factor}" not in english) == []
    assert sorted(set(re.findall(r'data-(?:text|label|alt)(?:-back)?="(\w+)"', html)) - set(english)) == []
    for kind in set(re.findall(r'new Failure\("(\w+)"', script)) | set(re.findall(r'onFile\("(\w+)"', script)):
        assert any(key.startswith(f"error_{kind}_") or key.startswith(f"problem_{kind}_") for key in english), kind


# ---------------------------------------------------------------- hostile texts


HOSTILE = '<img src=x onerror="document.title=\'owned\'"></script><script>document.title="owned"</script>{{script}}${7*7}'


def test_a_hostile_partner_name_stays_text(visit):
    person = visit(camera_error="NotFoundError")
    person.open_altered(lambda settings: {**settings, "partner": {"name": HOSTILE, "logo": "https://elsewhere.example/logo.png"}})
    expect(person.page.locator("#partner-name")).to_have_text(HOSTILE)
    expect(person.page.locator(".lead")).to_contain_text(HOSTILE)
    person.to_send()
    person.press("send")
    person.outcome("verified")
    assert "owned" not in person.page.title()
    assert person.page.locator("img[src='x']").count() == 0


def test_a_hostile_identifier_and_hostile_answers_stay_text(visit):
    person = visit(camera_error="NotFoundError")
    answer = {"success": True, "check_id": HOSTILE, "result": {"status": HOSTILE}}
    person.page.route("**/verif/submit", lambda route: route.fulfill(status=200, json=answer))
    person.open_altered(lambda settings: {**settings, "userIdentifier": HOSTILE})
    person.to_send()
    person.press("send")
    person.outcome("pending")
    expect(person.page.locator("#reference")).to_have_text(HOSTILE)
    assert "owned" not in person.page.title()


def test_a_hostile_theme_runs_nothing_and_asks_nobody_even_if_the_server_let_it_through(visit):
    person = visit()
    theme = "body{background:url(https://elsewhere.example/pixel.png)}</style><script>document.title='owned'</script><style>"
    person.open_altered(theme=theme)
    assert "owned" not in person.page.title()
    assert any("CSP violation" in text for text in person.trouble)
    person.expect_trouble("CSP violation", "Content Security Policy")
    person.requests = [request for request in person.requests if not request.failure]


LOGO = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def test_the_partners_logo_carries_the_partners_name(visit):
    person = visit()
    person.open_altered(lambda settings: {**settings, "partner": {"name": "Acme & Söhne", "logo": f"data:image/png;base64,{LOGO}"}})
    expect(person.page.get_by_role("img", name="Acme & Söhne")).to_be_visible()
