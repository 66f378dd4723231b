const settings = JSON.parse(document.getElementById("settings").textContent);
/** The partner; empty when the link is invalid and its partner unknown. */
const partner = settings.partner ?? { name: "", logo: null };

const COUNTDOWN_SECONDS = 3;
const RECORDING_SECONDS = 4;
const VIDEO_BITS_PER_SECOND = 2_500_000;
const PHOTO_QUALITY = 0.92;
/** Time limit of an answer. The gateway gives up after 30 s, so that no answer can come later. */
const ANSWER_TIMEOUT_MS = 40_000;
/** An upload without progress for this long has failed. */
const STALL_MS = 30_000;
const FIRST_PICTURE_MS = 15_000;
/** Recording formats by preference. Safari records MP4 in hardware; Firefox and older Chromium support only WebM. */
const RECORDING_TYPES = ["video/mp4;codecs=avc1.42E01E", "video/mp4", "video/webm;codecs=vp8", "video/webm"];
const SELFIE_CAMERA = { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 720 } };
const DOCUMENT_CAMERA = { facingMode: { ideal: "environment" }, width: { ideal: 2560 }, height: { ideal: 1440 } };
const PHOTO_TYPES = ["image/jpeg", "image/png", "image/webp"];
const ACCEPTED_TYPES = {
  selfie_video: ["video/mp4", "video/webm", "video/quicktime", "video/x-m4v", "video/x-matroska"],
  id_photo: PHOTO_TYPES,
  id_photo_back: PHOTO_TYPES,
};
/** Media types by file name extension, for files whose type the browser does not know. */
const TYPES_BY_ENDING = {
  mp4: "video/mp4", m4v: "video/x-m4v", webm: "video/webm", mov: "video/quicktime", mkv: "video/x-matroska",
  jpg: "image/jpeg", jpeg: "image/jpeg", png: "image/png", webp: "image/webp",
};
/** In the order in which the page asks for them. A document without a back has no `id_photo_back`. */
const FIELDS = ["selfie_video", "id_photo", "id_photo_back"];
const BOTH_SIDES = ["id_photo", "id_photo_back"];
/** Risk factors that the person can mend, with the files to take again. Each has a message `mend_<factor>`. */
const MENDING = {
  selfie_face_not_clear: ["selfie_video"],
  id_face_not_clear: ["id_photo"],
  document_not_read: BOTH_SIDES,
  document_expired: BOTH_SIDES,
  not_an_identity_document: BOTH_SIDES,
  liveness_missing: [],
};
/** Failures that require another file. Each field has its own messages for them. */
const FILE_FAILURES = ["unusable", "too_large", "type"];
/** Reasons why nothing, or nothing more, can be done on this page. Answers of the API cause the first three. */
const PROBLEMS = ["expired", "decided", "not_found", "unsigned", "used_up"];
/** Index of the part in the progress bar that a step belongs to. */
const PART_OF_STEP = {
  "selfie": 0, "selfie-review": 0,
  "document": 1, "document-camera": 1, "document-review": 1,
  "send": 2, "sending": 2, "checking": 2,
};

/** A failure. `kind` is the name of its messages, `field` the file that caused it, `wait` the seconds until another try. */
class Failure extends Error {
  constructor(kind, { field = null, wait = null } = {}) {
    super(kind);
    Object.assign(this, { kind, field, wait });
  }
}

const byId = (id) => document.getElementById(id);

// ---------------------------------------------------------------- texts

/** The retention time in the page's language, such as "7 days". */
const readableDays = new Intl.NumberFormat(settings.language, { style: "unit", unit: "day", unitDisplay: "long" })
  .format(settings.retentionDays);

function say(key, values = {}) {
  const message = settings.messages[key] ?? key;
  const all = { partner: partner.name, days: readableDays, ...values };
  return message.replace(/\{(\w+)\}/g, (whole, name) => all[name] ?? whole);
}

/** Fills in the messages that elements name. Some name another one for the back of a document. */
function fillWords(place, isBack = false) {
  const word = ({ dataset }, kind) => say((isBack && dataset[`${kind}Back`]) || dataset[kind]);
  for (const element of place.querySelectorAll("[data-text]")) element.textContent = word(element, "text");
  for (const element of place.querySelectorAll("[data-label]")) element.setAttribute("aria-label", word(element, "label"));
  for (const element of place.querySelectorAll("[data-alt]")) element.alt = word(element, "alt");
}

function readableSize(bytes) {
  const megabytes = bytes / 1_048_576;
  const digits = megabytes < 10 ? 1 : 0;
  return new Intl.NumberFormat(settings.language, { style: "unit", unit: "megabyte", maximumFractionDigits: digits })
    .format(Math.max(megabytes, 0.1));
}

const readablePercent = (percent) => new Intl.NumberFormat(settings.language, { style: "percent" }).format(percent / 100);

/** A waiting time in the page's language, such as "in 5 minutes". */
function readableWait(seconds) {
  const relative = new Intl.RelativeTimeFormat(settings.language);
  if (seconds < 60) return relative.format(Math.ceil(seconds), "second");
  if (seconds < 3600) return relative.format(Math.ceil(seconds / 60), "minute");
  return relative.format(Math.ceil(seconds / 3600), "hour");
}

function announce(text) {
  byId("live").textContent = text;
}

// ---------------------------------------------------------------- steps

const pageTitle = document.title;
let currentStep = null;

const section = (step) => document.querySelector(`[data-step="${step}"]`);

function show(step, failure = null) {
  if (currentStep !== step) camera.close();
  currentStep = step;
  for (const each of document.querySelectorAll("[data-step]")) each.hidden = true;
  // Lays the page out without the step, so that a step which follows itself, such as the back of a document, arrives like others.
  byId("main").getBoundingClientRect();
  section(step).hidden = false;
  showPart(PART_OF_STEP[step]);
  showFailure(step, failure);
  const heading = section(step).querySelector("h1");
  document.title = `${heading.textContent} – ${pageTitle}`;
  announce("");
  window.scrollTo(0, 0);
  heading.focus({ preventScroll: true });
}

function showPart(part) {
  byId("steps").hidden = part === undefined;
  for (const [index, item] of [...byId("steps").children].entries()) {
    item.classList.toggle("done", index < part);
    item.classList.toggle("current", index === part);
    if (index === part) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  }
}

/** Shows or removes the alert of a step. A new element is created each time, because screen readers announce only new ones. */
function showFailure(step, failure) {
  const place = section(step).querySelector("[data-alert]");
  if (!place) return;
  place.replaceChildren();
  if (!failure) return;
  const alert = byId("alert").content.cloneNode(true);
  const limit = failure.field && readableSize(settings.limits[failure.field]);
  const wait = readableWait(failure.wait ?? 60);
  const key = FILE_FAILURES.includes(failure.kind) ? `error_${failure.kind}_${failure.field}` : `error_${failure.kind}`;
  alert.firstElementChild.dataset.kind = failure.kind;
  alert.querySelector("strong").textContent = say(`${key}_title`);
  alert.querySelector("p").textContent = say(`${key}_text`, { limit, wait });
  place.append(alert);
}

// ---------------------------------------------------------------- camera

const camera = {
  stream: null,
  /** Incremented whenever the camera is opened or closed. A pending function compares it to detect that it is outdated. */
  turn: 0,

  /** Opens the camera. Resolves to false when it was closed or opened again in the meantime. */
  async open(video, constraints, onLost) {
    this.close();
    const { turn } = this;
    if (!navigator.mediaDevices?.getUserMedia) throw new Failure("camera_unsupported");
    const stream = await navigator.mediaDevices.getUserMedia({ video: constraints, audio: false }).catch(cameraFailure);
    if (turn !== this.turn) {
      stopTracks(stream);
      return false;
    }
    this.stream = stream;
    for (const track of stream.getTracks()) track.addEventListener("ended", () => turn === this.turn && onLost());
    video.srcObject = stream;
    await firstPicture(video);
    return turn === this.turn;
  },

  close() {
    this.turn += 1;
    if (this.stream) stopTracks(this.stream);
    this.stream = null;
    for (const video of [byId("selfie-live"), byId("document-live")]) video.srcObject = null;
  },
};

function stopTracks(stream) {
  for (const track of stream.getTracks()) track.stop();
}

function cameraFailure(error) {
  const kinds = {
    NotAllowedError: "camera_refused", SecurityError: "camera_refused",
    NotFoundError: "camera_missing", OverconstrainedError: "camera_missing",
  };
  throw new Failure(kinds[error.name] ?? "camera_busy");
}

/** Waits for the first picture. Some cameras open long before they deliver one, and cameras in use may never deliver one. */
function firstPicture(video) {
  return new Promise((resolve, reject) => {
    video.addEventListener("loadeddata", resolve, { once: true });
    setTimeout(() => reject(new Failure("camera_busy")), FIRST_PICTURE_MS);
  });
}

const recordingType = () => window.MediaRecorder && RECORDING_TYPES.find((type) => MediaRecorder.isTypeSupported(type));

const bareType = (type) => type.split(";")[0].trim().toLowerCase();

/** Records the selfie. An interrupted recording (camera unplugged, page in the background) is rejected. */
function record(stream) {
  return new Promise((resolve, reject) => {
    const recorder = new MediaRecorder(stream, { mimeType: recordingType(), videoBitsPerSecond: VIDEO_BITS_PER_SECOND });
    const parts = [];
    let complete = false;
    const stop = () => recorder.state !== "inactive" && recorder.stop();
    const timer = setTimeout(() => { complete = true; stop(); }, RECORDING_SECONDS * 1000);
    recorder.addEventListener("dataavailable", ({ data }) => parts.push(data));
    recorder.addEventListener("error", stop);
    recorder.addEventListener("stop", () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", stop);
      const blob = new Blob(parts, { type: bareType(recorder.mimeType) });
      if (complete && blob.size) resolve(blob);
      else reject(new Failure("recording"));
    });
    document.addEventListener("visibilitychange", stop);
    recorder.start();
  });
}

/** The visible part of the camera's picture, as a JPEG. */
function photograph(video) {
  const scale = Math.max(video.clientWidth / video.videoWidth, video.clientHeight / video.videoHeight);
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(video.clientWidth / scale);
  canvas.height = Math.round(video.clientHeight / scale);
  const left = (video.videoWidth - canvas.width) / 2;
  const top = (video.videoHeight - canvas.height) / 2;
  canvas.getContext("2d").drawImage(video, -left, -top);
  return new Promise((resolve, reject) => canvas.toBlob(
    (blob) => (blob ? resolve(blob) : reject(new Failure("camera_busy"))), "image/jpeg", PHOTO_QUALITY));
}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// ---------------------------------------------------------------- captured files

/** Per field `{blob, type, url, uploadId}`. `uploadId` is set after the upload, so that no file is sent twice. */
const captures = Object.fromEntries(FIELDS.map((field) => [field, null]));
/** Fields that the page still has to ask for. */
const unanswered = new Set(FIELDS);

function keep(field, blob) {
  discard(field);
  captures[field] = { blob, type: typeOf(blob), url: URL.createObjectURL(blob), uploadId: null };
}

function discard(field) {
  if (captures[field]) URL.revokeObjectURL(captures[field].url);
  captures[field] = null;
  unanswered.add(field);
}

const captured = () => FIELDS.filter((field) => captures[field]);

function typeOf(blob) {
  const ending = (blob.name ?? "").split(".").pop().toLowerCase();
  return bareType(blob.type) || TYPES_BY_ENDING[ending] || "";
}

async function checkChosen(field, file) {
  if (!ACCEPTED_TYPES[field].includes(typeOf(file)) || !file.size) throw new Failure("type", { field });
  if (file.size > settings.limits[field]) throw new Failure("too_large", { field });
  if (field !== "selfie_video") await checkPicture(field, file);
}

/** Rejects a damaged picture before the upload. */
async function checkPicture(field, file) {
  const url = URL.createObjectURL(file);
  const image = new Image();
  image.src = url;
  await image.decode()
    .catch(() => { throw new Failure("unusable", { field }); })
    .finally(() => URL.revokeObjectURL(url));
}

const startCapture = (field, failure) => (field === "selfie_video" ? startSelfie(failure) : startDocument(field, failure));

/** Continues with the first file to ask for. After one file is retaken, the page does not ask for the others again. */
function goOn() {
  const next = FIELDS.find((field) => unanswered.has(field));
  return next ? startCapture(next) : showSend();
}

function use(field) {
  unanswered.delete(field);
  return goOn();
}

/** Continues without the file of a field, and without an earlier one. */
function skip(field) {
  discard(field);
  return use(field);
}

// ---------------------------------------------------------------- step: selfie

/** Shows the step and opens the camera. `failure` is the reason why another video is needed. It stays visible when the camera
 * cannot be opened, since a file can be chosen instead. */
async function startSelfie(failure = null) {
  byId("selfie-recorded").pause();
  show("selfie", failure);
  setSelfieStage("starting");
  byId("keep-selfie").hidden = !captures.selfie_video;
  announce(say("camera_starting"));
  const lost = () => selfieCameraFailed(new Failure("camera_busy"));
  const opening = recordingType() ? camera.open(byId("selfie-live"), SELFIE_CAMERA, lost) : Promise.reject(new Failure("camera_unsupported"));
  const { turn } = camera;
  try {
    if (!await opening) return;
    setSelfieStage("live");
    byId("selfie-file-label").hidden = !failure;
    announce(say("camera_ready"));
  } catch (error) {
    if (turn === camera.turn) selfieCameraFailed(failure ?? error);
  }
}

function selfieCameraFailed(error) {
  const focusWasOnRecord = document.activeElement === byId("record");
  camera.close();
  setSelfieStage("off");
  if (focusWasOnRecord) byId("camera-again").focus();
  announce("");
  showFailure("selfie", asFailure(error));
}

/** `state`: `starting`, `live`, `counting`, `recording` or `off`. */
function setSelfieStage(state) {
  byId("selfie-stage").dataset.state = state;
  byId("selfie-stage").hidden = state === "off";
  byId("record").hidden = state === "off";
  byId("record").setAttribute("aria-disabled", String(state !== "live"));
  byId("camera-again").hidden = state !== "off";
  byId("selfie-file-label").hidden = state !== "off";
}

async function recordSelfie() {
  if (byId("selfie-stage").dataset.state !== "live") return;
  const { turn } = camera;
  showFailure("selfie", null);
  try {
    await countDown();
    if (turn !== camera.turn) return;
    if (document.hidden) throw new Failure("recording");
    setSelfieStage("recording");
    announce(say("recording"));
    keep("selfie_video", await record(camera.stream));
    reviewSelfie();
  } catch (error) {
    if (turn === camera.turn) selfieCameraFailed(error);
  }
}

async function countDown() {
  setSelfieStage("counting");
  // In landscape orientation the button is below the visible part of the picture.
  byId("selfie-stage").scrollIntoView({ block: "nearest" });
  byId("selfie-file-label").hidden = true;
  for (let seconds = COUNTDOWN_SECONDS; seconds > 0; seconds -= 1) {
    byId("count").textContent = seconds;
    announce(seconds === COUNTDOWN_SECONDS ? say("countdown", { seconds }) : String(seconds));
    await sleep(1000);
  }
}

/** URL of the preview of a file. Without a time in the URL, Safari shows no picture of a video before playback. */
const preview = (field) => captures[field].url + (field === "selfie_video" ? "#t=0.1" : "");

function reviewSelfie() {
  const video = byId("selfie-recorded");
  video.src = preview("selfie_video");
  showPlayButton();
  section("selfie-review").querySelector(".hint").textContent = say("selfie_review_hint");
  show("selfie-review");
}

function togglePlay() {
  const video = byId("selfie-recorded");
  if (!video.paused) return video.pause();
  // Not every browser plays the formats of phones. The check can still decode them.
  return video.play().catch(() => {
    section("selfie-review").querySelector(".hint").textContent = say("cannot_play");
    announce(say("cannot_play"));
  });
}

function showPlayButton() {
  const paused = byId("selfie-recorded").paused;
  byId("play").setAttribute("aria-label", say(paused ? "play" : "pause"));
  byId("play").classList.toggle("playing", !paused);
  byId("play").querySelector("use").setAttribute("href", paused ? "#icon-play" : "#icon-pause");
}

// ---------------------------------------------------------------- steps: document, for each of its sides

/** Shows a step for the front or the back. */
function showSide(step, field, failure = null) {
  section(step).dataset.field = field;
  fillWords(section(step), field === "id_photo_back");
  show(step, failure);
}

function startDocument(field, failure = null) {
  showSide("document", field, failure);
  byId("no-back").hidden = field !== "id_photo_back";
  byId("keep-document").hidden = !captures[field];
}

async function openDocumentCamera(field) {
  showSide("document-camera", field);
  setDocumentStage("starting");
  announce(say("camera_starting"));
  const lost = () => startDocument(field, new Failure("camera_busy"));
  const opening = camera.open(byId("document-live"), DOCUMENT_CAMERA, lost);
  const { turn } = camera;
  try {
    if (!await opening) return;
    setDocumentStage("live");
    announce(say("camera_ready"));
  } catch (error) {
    if (turn === camera.turn) startDocument(field, asFailure(error));
  }
}

/** `state`: `starting`, `live` or `taken`. */
function setDocumentStage(state) {
  byId("document-stage").dataset.state = state;
  byId("shoot").setAttribute("aria-disabled", String(state !== "live"));
}

async function shoot(field) {
  if (byId("document-stage").dataset.state !== "live") return;
  setDocumentStage("taken");
  try {
    keep(field, await photograph(byId("document-live")));
    reviewDocument(field);
  } catch (error) {
    startDocument(field, asFailure(error));
  }
}

function reviewDocument(field) {
  byId("document-photo").src = preview(field);
  showSide("document-review", field);
}

// ---------------------------------------------------------------- chosen files

async function choose(field, input) {
  const [file] = input.files;
  if (!file) return;
  const step = currentStep;
  try {
    await checkChosen(field, file);
    // A large picture takes a while to check. A person who went on meanwhile does not want it.
    if (currentStep !== step) return;
    keep(field, file);
    if (field === "selfie_video") reviewSelfie();
    else reviewDocument(field);
  } catch (error) {
    if (currentStep === step) refuseChosen(field, asFailure(error));
  } finally {
    // Without this, choosing the same file again would fire no event.
    input.value = "";
  }
}

function refuseChosen(field, failure) {
  if (field !== "selfie_video") return startDocument(field, failure);
  show("selfie");
  return selfieCameraFailed(failure);
}

// ---------------------------------------------------------------- step: send

function showSend(failure = null) {
  for (const row of section("send").querySelectorAll("[data-field]")) {
    const { field } = row.dataset;
    const thumbnail = row.querySelector(".thumbnail");
    if (captures[field]) thumbnail.src = preview(field);
    else thumbnail.removeAttribute("src");
    row.querySelector("span").textContent = captures[field] ? readableSize(captures[field].blob.size) : say("document_back_none");
  }
  byId("send").textContent = say(failure ? "send_again" : "send");
  show("send", failure);
}

async function send() {
  if (currentStep !== "send") return;
  try {
    await uploadMissing();
    show("checking");
    announce(say("checking_hint"));
    showAnswer(await submit());
  } catch (error) {
    sendingFailed(asFailure(error));
  }
}

async function uploadMissing() {
  const missing = captured().filter((field) => !captures[field].uploadId);
  if (!missing.length) return;
  show("sending");
  const progress = progressOf(missing);
  for (const field of missing) {
    await upload(field, (bytes) => progress(field, bytes));
    progress(field, Infinity);
  }
}

/** Returns a function that shows the progress of all files together. Files of an earlier attempt count as sent. */
function progressOf(missing) {
  const fields = captured();
  const sizes = fields.map((field) => captures[field].blob.size);
  const sent = fields.map((field, index) => (missing.includes(field) ? 0 : sizes[index]));
  const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
  let announced = 0;
  const update = (field, bytes) => {
    const index = fields.indexOf(field);
    sent[index] = Math.min(bytes, sizes[index]);
    const percent = Math.floor((sum(sent) / sum(sizes)) * 100);
    showProgress(percent);
    if (percent < announced + 25) return;
    announced = percent;
    announce(say("progress_announcement", { percent: readablePercent(percent) }));
  };
  update(missing[0], 0);
  return update;
}

function showProgress(percent) {
  byId("progress").setAttribute("aria-valuenow", percent);
  byId("progress").setAttribute("aria-valuetext", readablePercent(percent));
  byId("progress-bar").style.width = `${percent}%`;
  byId("progress-text").textContent = readablePercent(percent);
}

async function upload(field, onProgress) {
  const capture = captures[field];
  const slot = await call(settings.uploadPath, {
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ field, contentType: capture.type, size: capture.blob.size }),
  }, field);
  await post(slot, field, capture.blob, onProgress);
  capture.uploadId = slot.upload_id;
}

/** Sends a file to the bucket. Uses XMLHttpRequest, because fetch does not report upload progress. */
function post(slot, field, blob, onProgress) {
  const form = new FormData();
  for (const [name, value] of Object.entries(slot.fields)) form.append(name, value);
  // The file is named after the field, because the name of a chosen file may contain personal data.
  form.append("file", blob, field);
  const request = new XMLHttpRequest();
  return new Promise((resolve, reject) => {
    let watchdog;
    const moved = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => request.abort(), STALL_MS);
    };
    const lost = () => reject(networkFailure());
    request.upload.addEventListener("progress", ({ loaded }) => { moved(); onProgress(loaded); });
    request.addEventListener("load", () => (request.status < 300 ? resolve() : reject(uploadRefusal(request, field))));
    request.addEventListener("error", lost);
    request.addEventListener("abort", lost);
    request.addEventListener("loadend", () => clearTimeout(watchdog));
    request.open("POST", slot.url);
    request.send(form);
    moved();
  });
}

function uploadRefusal(request, field) {
  if (request.status === 413 || request.responseText.includes("EntityTooLarge")) return new Failure("too_large", { field });
  return new Failure("busy");
}

async function submit() {
  const form = new FormData();
  form.append("user_identifier", settings.userIdentifier);
  for (const field of captured()) form.append(field, `upload:${captures[field].uploadId}`);
  return call(settings.submitPath, { body: form });
}

async function call(path, options, field = null) {
  const response = await fetch(path, {
    method: "POST", cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS), ...options,
    headers: { ...options.headers, Authorization: `Bearer ${settings.token}` },
  }).catch((error) => { throw error.name === "TimeoutError" ? new Failure("busy") : networkFailure(); });
  const body = await response.json().catch(() => ({}));
  if (response.ok && body.success) return body;
  throw answerFailure(response, body, field);
}

const networkFailure = () => new Failure(navigator.onLine ? "network" : "offline");

/** Failure for an error answer. `asked` is the field of the request, for answers that name none. */
function answerFailure(response, body, asked) {
  const named = FIELDS.includes(body.field) ? body.field : null;
  const field = named ?? asked;
  const onFile = (kind) => (field ? new Failure(kind, { field }) : new Failure("failed"));
  switch (response.status) {
    case 400: return onFile("unusable");
    case 401: return new Failure("expired");
    case 403: return new Failure("not_found");
    case 404: return asked ? new Failure("not_found") : new Failure("gone", { field });
    case 409: return named ? new Failure("gone", { field }) : new Failure("decided");
    case 413: return onFile("too_large");
    case 415: return onFile("type");
    case 429: return new Failure("too_often", { wait: Number.parseInt(response.headers.get("Retry-After"), 10) || null });
    case 502: case 503: case 504: return new Failure("busy");
    default: return new Failure("failed");
  }
}

/** Turns an unexpected error, which is a defect of the page, into a failure that the page can show. */
function asFailure(error) {
  if (error instanceof Failure) return error;
  console.error(error);
  return new Failure("failed");
}

function sendingFailed(failure) {
  if (PROBLEMS.includes(failure.kind)) return showProblem(failure.kind);
  if (FILE_FAILURES.includes(failure.kind)) {
    discard(failure.field);
    return startCapture(failure.field, failure);
  }
  if (failure.kind === "gone") forgetUploads(failure.field);
  return showSend(failure);
}

/** Makes the page upload a file again, or without a field all of them. */
function forgetUploads(field = null) {
  for (const each of captured()) if (!field || each === field) captures[each].uploadId = null;
}

// ---------------------------------------------------------------- the answer

function showAnswer(answer) {
  const { status, next_step: nextStep, verificationAssessment: assessment } = answer.result ?? {};
  const isDecided = status === "verified" || status === "rejected";
  if (!isDecided && nextStep === "resubmit") return showResubmit(assessment?.riskFactors);
  return showOutcome(answer);
}

/** Says what to mend, and has the files in question taken again. If that is none in particular, the page asks for each, and offers
 * to keep it. */
function showResubmit(riskFactors) {
  const factors = Array.isArray(riskFactors) ? riskFactors : [];
  const known = factors.filter((factor) => Object.hasOwn(MENDING, factor));
  const sentences = known.map((factor) => say(`mend_${factor}`));
  if (!known.length || known.length < factors.length) sentences.push(say("mend_other"));
  byId("mending").replaceChildren(...[...new Set(sentences)].map(listItem));
  // The check has used up the uploads.
  forgetUploads();
  known.flatMap((factor) => MENDING[factor]).forEach(discard);
  if (!unanswered.size) FIELDS.forEach((field) => unanswered.add(field));
  show("resubmit");
}

function listItem(text) {
  const item = document.createElement("li");
  item.textContent = text;
  return item;
}

// ---------------------------------------------------------------- the end

function showOutcome({ check_id: checkId, result }) {
  const status = ["verified", "rejected"].includes(result?.status) ? result.status : "pending";
  const icons = { verified: "#icon-check", rejected: "#icon-cross", pending: "#icon-clock" };
  section("outcome").dataset.status = status;
  byId("outcome-badge").querySelector("use").setAttribute("href", icons[status]);
  byId("outcome-title").textContent = say(`outcome_${status}_title`);
  byId("outcome-text").textContent = say(`outcome_${status}_text`);
  byId("outcome-next").textContent = say(`outcome_${status}_next`);
  byId("reference").textContent = checkId ?? "";
  byId("reference").parentElement.hidden = !checkId;
  show("outcome");
  letGo();
  // Removes the token from the browser's history.
  history.replaceState(null, "", location.pathname);
}

function showProblem(given) {
  const problem = PROBLEMS.includes(given) ? given : "not_found";
  byId("problem-title").textContent = say(`problem_${problem}_title`);
  byId("problem-text").textContent = say(`problem_${problem}_text`);
  byId("problem-next").textContent = say(partner.name ? `problem_${problem}_next` : unnamedNext(problem));
  show("problem");
  letGo();
}

/** The message that tells what to do without a partner's name. */
function unnamedNext(problem) {
  const own = `problem_${problem}_unknown_next`;
  return own in settings.messages ? own : "problem_unknown_next";
}

function letGo() {
  const previews = section("send").querySelectorAll(".thumbnail");
  for (const media of [byId("selfie-recorded"), byId("document-photo"), ...previews]) media.removeAttribute("src");
  FIELDS.forEach(discard);
}

/** Asks before the page is left while captured files would be lost. After an answer they have arrived. */
function askBeforeLeaving(event) {
  if (captured().length && currentStep !== "resubmit") event.preventDefault();
}

// ---------------------------------------------------------------- start

/** What buttons do, with the field that they belong to. */
const actions = {
  "start": goOn,
  "record": recordSelfie,
  "camera-again": () => startSelfie(),
  "play": togglePlay,
  "document-camera": openDocumentCamera,
  "shoot": shoot,
  "retake": (field) => startCapture(field),
  "use": use,
  "skip": skip,
  "send": send,
  "try-again": goOn,
};

const fieldOf = (element) => element.closest("[data-field]")?.dataset.field;

function onClick(event) {
  const button = event.target.closest("[data-action]");
  // The second click of a double click is ignored, since it would hit a button of the next step.
  if (button && event.detail <= 1) actions[button.dataset.action](fieldOf(button));
}

function onlineAgain() {
  const alert = section("send").querySelector('[data-kind="offline"]');
  if (!alert) return;
  alert.remove();
  announce(say("online_again"));
}

function showPartner() {
  const { name, logo } = partner;
  byId("partner-name").textContent = name;
  if (!/^data:image\/(png|jpeg|webp);base64,/.test(logo ?? "")) return;
  byId("logo").src = logo;
  byId("logo").alt = name;
  byId("logo").hidden = false;
  byId("partner-name").hidden = true;
}

function begin() {
  fillWords(document);
  showPartner();
  document.addEventListener("click", onClick);
  window.addEventListener("beforeunload", askBeforeLeaving);
  window.addEventListener("online", onlineAgain);
  for (const type of ["play", "pause", "ended"]) byId("selfie-recorded").addEventListener(type, showPlayButton);
  for (const id of ["selfie-file", "document-file"]) byId(id).addEventListener("change", ({ target }) => choose(fieldOf(target), target));
  if (settings.problem) showProblem(settings.problem);
  else show("welcome");
}

begin();
