//! Fingerprint's Server API v4: events by id. The id says which kind of event it is.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{SLOW, Trouble, page};

/// The visitor of every event of another kind than `other`.
const VISITOR: &str = "SpecimenVisitor00001";

/// GET /v4/events/{id}. An id is a kind, a dot and any text: `good.1`, `stale.1`, `replayed.1`, `bot.1`, `other.1`, or the name of a fault
/// (`slow.1`). Other ids are not found.
pub(super) async fn event(Path(id): Path<String>, headers: HeaderMap) -> Response {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if bearer.is_none_or(|key| key.is_empty() || key == "invalid") {
        return error(StatusCode::FORBIDDEN, "secret_api_key_not_found");
    }
    let kind = id.split('.').next().unwrap_or_default();
    match Trouble::named(kind) {
        Some(Trouble::Throttled) => return error(StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
        Some(Trouble::Denied) => return error(StatusCode::FORBIDDEN, "feature_not_enabled"),
        Some(Trouble::Failing) => return error(StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        Some(Trouble::Slow) => tokio::time::sleep(SLOW).await,
        Some(Trouble::Malformed) => return page(),
        None if !["good", "stale", "replayed", "bot", "other", "endless"].contains(&kind) => {
            return error(StatusCode::NOT_FOUND, "event_not_found");
        }
        None => {}
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let timestamp = u64::try_from(now).unwrap_or_default() - if kind == "stale" { 24 * 3_600_000 } else { 2_000 };
    Json(json!({
        "event_id": id,
        "timestamp": timestamp,
        "environment_id": "ae_stand-in",
        "url": "https://app.identivia.com/",
        "ip_address": "203.0.113.7",
        "identification": {
            "visitor_id": match kind {
                "other" => "AnotherVisitor000002".to_owned(),
                "endless" => VISITOR.repeat(1_000),
                _ => VISITOR.to_owned(),
            },
            "confidence": { "score": 1, "version": "1.1" },
            "visitor_found": true,
            "first_seen_at": timestamp,
            "last_seen_at": timestamp,
        },
        "bot": if kind == "bot" { "bad" } else { "not_detected" },
        "replayed": kind == "replayed",
        "suspect_score": 0,
    }))
    .into_response()
}

fn error(status: StatusCode, code: &str) -> Response {
    (status, Json(json!({ "error": { "code": code, "message": format!("{code}, says the stand-in") } })))
        .into_response()
}
