//! Amazon Rekognition, AWS JSON 1.1: Face Liveness sessions, CompareFaces, DetectFaces and DetectText.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::holder::lines;
use super::{SLOW, StandIns, Trouble, decoded, description, lock, page};

/// The reference image of every session: a drawn face.
const FACE: &[u8] = include_bytes!("face.jpg");

/// How long AWS keeps a session.
const SESSION_LIFETIME: Duration = Duration::from_secs(180);

/// The Face Liveness sessions by id.
pub(super) type Sessions = HashMap<String, Session>;

/// A Face Liveness session.
pub(super) struct Session {
    token: String,
    audit_images: u64,
    made: Instant,
    outcome: Outcome,
}

/// The state of a session: created, until a caller sets another one.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    Created,
    InProgress,
    Succeeded(f64),
    Failed,
    Expired,
    Forgotten,
    /// SUCCEEDED without a confidence, which AWS never answers.
    Senseless,
}

impl Outcome {
    fn named(name: &str) -> Option<Self> {
        match name {
            "created" => Some(Self::Created),
            "in_progress" => Some(Self::InProgress),
            "live" => Some(Self::Succeeded(95.5)),
            "not_live" => Some(Self::Succeeded(12.25)),
            "failed" => Some(Self::Failed),
            "expired" => Some(Self::Expired),
            "forgotten" => Some(Self::Forgotten),
            "senseless" => Some(Self::Senseless),
            score => score.parse().ok().filter(|score| (0.0..=100.0).contains(score)).map(Self::Succeeded),
        }
    }
}

/// PUT /simulate/face-liveness/{session}: sets the outcome of a session.
pub(super) async fn choose(State(standins): State<StandIns>, Path(session): Path<String>, outcome: String) -> Response {
    if Outcome::named(outcome.trim()).is_none() {
        let all = "send live, not_live, a score from 0 to 100, failed, expired, forgotten, in_progress or created\n";
        (StatusCode::BAD_REQUEST, all).into_response()
    } else if end(&standins, &session, outcome.trim()) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        (StatusCode::NOT_FOUND, "there is no such session\n").into_response()
    }
}

pub(super) fn end(standins: &StandIns, session: &str, outcome: &str) -> bool {
    let mut sessions = lock(&standins.0.sessions);
    match (sessions.get_mut(session), Outcome::named(outcome)) {
        (Some(session), Some(outcome)) => {
            session.outcome = outcome;
            true
        }
        _ => false,
    }
}

/// POST /: every operation.
pub(super) async fn call(State(standins): State<StandIns>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let Some(operation) = target.strip_prefix("RekognitionService.") else {
        return error(StatusCode::BAD_REQUEST, "UnknownOperationException");
    };
    let signature = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !signature.starts_with("AWS4-HMAC-SHA256 ") {
        return error(StatusCode::BAD_REQUEST, "MissingAuthenticationTokenException");
    }
    let Ok(input) = serde_json::from_slice::<Value>(&body) else {
        return error(StatusCode::BAD_REQUEST, "SerializationException");
    };
    standins.record(operation, &input);
    match standins.next_trouble(operation) {
        Some(Trouble::Throttled) => return error(StatusCode::BAD_REQUEST, "ProvisionedThroughputExceededException"),
        Some(Trouble::Denied) => return error(StatusCode::BAD_REQUEST, "AccessDeniedException"),
        Some(Trouble::Failing) => return error(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError"),
        Some(Trouble::Slow) => tokio::time::sleep(SLOW).await,
        Some(Trouble::Malformed) => return page(),
        None => {}
    }
    match operation {
        "CreateFaceLivenessSession" => create_session(&standins, &input),
        "GetFaceLivenessSessionResults" => session_results(&standins, &input),
        "CompareFaces" => compare_faces(&input),
        "DetectFaces" => detect_faces(&input),
        "DetectText" => detect_text(&input),
        _ => error(StatusCode::BAD_REQUEST, "UnknownOperationException"),
    }
}

fn answer(body: Value) -> Response {
    ([(header::CONTENT_TYPE, "application/x-amz-json-1.1")], body.to_string()).into_response()
}

fn error(status: StatusCode, code: &str) -> Response {
    let body = json!({ "__type": code, "Message": format!("{code}, says the stand-in") });
    (status, [(header::CONTENT_TYPE, "application/x-amz-json-1.1")], body.to_string()).into_response()
}

fn invalid_parameter() -> Response {
    error(StatusCode::BAD_REQUEST, "InvalidParameterException")
}

fn create_session(standins: &StandIns, input: &Value) -> Response {
    let token = input["ClientRequestToken"].as_str().unwrap_or_default();
    let is_plain = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let audit_images = input["Settings"]["AuditImagesLimit"].as_u64().unwrap_or(0);
    if token.len() > 64 || !is_plain || audit_images > 4 {
        return invalid_parameter();
    }
    let mut sessions = lock(&standins.0.sessions);
    sessions.retain(|_, session| session.made.elapsed() < SESSION_LIFETIME);
    let same = sessions.iter().find(|(_, session)| !token.is_empty() && session.token == token);
    let id = match same {
        Some((id, _)) => id.clone(),
        None => {
            let id = uuid();
            let session =
                Session { token: token.to_owned(), audit_images, made: Instant::now(), outcome: Outcome::Created };
            sessions.insert(id.clone(), session);
            id
        }
    };
    answer(json!({ "SessionId": id }))
}

fn uuid() -> String {
    let hex = format!("{:032x}", rand::random::<u128>());
    let part = |range| hex.get(range).unwrap_or_default();
    format!("{}-{}-4{}-a{}-{}", part(0..8), part(8..12), part(13..16), part(17..20), part(20..32))
}

fn session_results(standins: &StandIns, input: &Value) -> Response {
    let id = input["SessionId"].as_str().unwrap_or_default();
    let sessions = lock(&standins.0.sessions);
    let session = sessions.get(id).filter(|session| session.made.elapsed() < SESSION_LIFETIME);
    let Some(session) = session.filter(|session| session.outcome != Outcome::Forgotten) else {
        return error(StatusCode::BAD_REQUEST, "SessionNotFoundException");
    };
    let of = |status: &str| answer(json!({ "SessionId": id, "Status": status }));
    match session.outcome {
        Outcome::Created => of("CREATED"),
        Outcome::InProgress => of("IN_PROGRESS"),
        Outcome::Failed => of("FAILED"),
        Outcome::Expired | Outcome::Forgotten => of("EXPIRED"),
        Outcome::Senseless => of("SUCCEEDED"),
        Outcome::Succeeded(confidence) => {
            let image = json!({
                "Bytes": STANDARD.encode(FACE),
                "BoundingBox": { "Width": 0.5, "Height": 0.6, "Left": 0.2, "Top": 0.1 },
            });
            answer(json!({
                "SessionId": id,
                "Status": "SUCCEEDED",
                "Confidence": confidence,
                "ReferenceImage": image,
                "AuditImages": vec![image; usize::try_from(session.audit_images).unwrap_or(0)],
                "Challenge": { "Type": "FaceMovementAndLightChallenge", "Version": "1.0.0" },
            }))
        }
    }
}

/// The image in a request and its description.
fn image(input: &Value) -> Option<(Vec<u8>, Value)> {
    let bytes = decoded(input["Bytes"].as_str()?)?;
    let description = description(&bytes);
    infer::is_image(&bytes).then_some((bytes, description))
}

fn faces(description: &Value) -> u64 {
    description["faces"].as_u64().unwrap_or(1)
}

fn face() -> Value {
    json!({
        "BoundingBox": { "Width": 0.5, "Height": 0.6, "Left": 0.2, "Top": 0.1 },
        "Confidence": 99.9,
        "Landmarks": [],
        "Pose": { "Roll": 0.0, "Yaw": 0.0, "Pitch": 0.0 },
        "Quality": { "Brightness": 80.0, "Sharpness": 90.0 },
    })
}

/// Two images show the same person unless their descriptions name different ones.
fn compare_faces(input: &Value) -> Response {
    let (Some(source), Some(target)) = (image(&input["SourceImage"]), image(&input["TargetImage"])) else {
        return error(StatusCode::BAD_REQUEST, "InvalidImageFormatException");
    };
    if faces(&source.1) == 0 {
        return invalid_parameter();
    }
    let threshold = input["SimilarityThreshold"].as_f64().unwrap_or(80.0);
    let similarity = if source.1["person"] == target.1["person"] { 99.5 } else { 3.5 };
    // The code of a blurred frame cannot be read: no face is found in it.
    let is_blurred = target.1.is_null() && !source.1["person"].is_null();
    let count = if is_blurred { 0 } else { usize::try_from(faces(&target.1)).unwrap_or(1) };
    let matches = similarity >= threshold && count > 0;
    let found = json!({ "Similarity": similarity, "Face": face() });
    answer(json!({
        "SourceImageFace": { "BoundingBox": face()["BoundingBox"], "Confidence": 99.9 },
        "FaceMatches": if matches { vec![found] } else { Vec::new() },
        "UnmatchedFaces": vec![face(); count.saturating_sub(usize::from(matches))],
    }))
}

/// The lines of text in an image, each with its words, as Rekognition answers.
fn detect_text(input: &Value) -> Response {
    let Some((_, description)) = image(&input["Image"]) else {
        return error(StatusCode::BAD_REQUEST, "InvalidImageFormatException");
    };
    let found =
        |kind: &str, text: &str, id: usize| json!({ "DetectedText": text, "Type": kind, "Id": id, "Confidence": 99.0 });
    let lines = lines(&description);
    let words = lines.iter().flat_map(|line| line.split_whitespace());
    let words = words.enumerate().map(|(id, word)| found("WORD", word, lines.len() + id));
    let texts: Vec<_> = lines.iter().enumerate().map(|(id, line)| found("LINE", line, id)).chain(words).collect();
    answer(json!({ "TextDetections": texts, "TextModelVersion": "3.0" }))
}

fn detect_faces(input: &Value) -> Response {
    match image(&input["Image"]) {
        Some((_, description)) => {
            let count = usize::try_from(faces(&description)).unwrap_or(1);
            answer(json!({ "FaceDetails": vec![face(); count] }))
        }
        None => error(StatusCode::BAD_REQUEST, "InvalidImageFormatException"),
    }
}
