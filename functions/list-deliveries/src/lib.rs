//! GET /api/webhooks/deliveries: webhooks with their delivery attempts, newest first.
//!
//! Query parameters: `state`, `check_id`, `limit` (1 to 100, 50 by default) and `cursor`, the `next_cursor` of the page before.
//! PocketBase calls: one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, RequestExt, Response};
use serde::Serialize;
use shared::auth::Scope;
use shared::http::{ApiError, credentials, json_response};
use shared::pocketbase::records::{DeliveryOverview, DeliveryQuery, DeliveryState};
pub use shared::runtime::Backend as State;
use shared::types::RecordId;
use webhooks::DeliveryView;

/// Default page size.
const LIMIT: usize = 50;

/// The largest page size.
const MAX_LIMIT: usize = 100;

#[derive(Serialize)]
struct Page {
    success: bool,
    data: Vec<DeliveryView>,
    next_cursor: Option<String>,
}

/// Answers a request.
///
/// # Errors
/// 400 for a bad parameter; 401; 403 for a missing scope; PocketBase's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let caller = state.authenticator.authenticate(credentials(request.headers()), &state.pocketbase).await?;
    caller.require(Scope::WebhooksRead)?;
    let mut query = query(&request)?;
    let limit = query.limit;
    // One more than the page shows whether there is a next page.
    query.limit += 1;
    query.partner = caller.key_partner();
    let mut found = state.pocketbase.deliveries(caller.teams(), &query).await?;
    let is_more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| is_more).map(cursor);
    let data = found.into_iter().map(DeliveryView::without_payload).collect();
    Ok(json_response(StatusCode::OK, &Page { success: true, data, next_cursor }))
}

fn query(request: &Request) -> Result<DeliveryQuery, ApiError> {
    let parameters = request.query_string_parameters_ref();
    let given = |name: &str| parameters.and_then(|all| all.first(name)).filter(|value| !value.is_empty());
    let state = given("state").map(|state| {
        let known = DeliveryState::ALL.into_iter().find(|known| known.as_str() == state);
        let names = DeliveryState::ALL.map(DeliveryState::as_str).join(", ");
        known.ok_or_else(|| ApiError::invalid_field("state", format!("must be one of {names}")))
    });
    let check_id = given("check_id")
        .map(|id| id.parse().map_err(|_| ApiError::invalid_field("check_id", "must be the check_id of a submission")));
    let before = given("cursor").map(|cursor| {
        position(cursor).ok_or_else(|| ApiError::invalid_field("cursor", "must be the next_cursor of a page"))
    });
    let limit = given("limit").map(|limit| {
        let number = limit.parse().ok().filter(|number| (1..=MAX_LIMIT).contains(number));
        number.ok_or_else(|| ApiError::invalid_field("limit", format!("must be a number from 1 to {MAX_LIMIT}")))
    });
    Ok(DeliveryQuery {
        state: state.transpose()?,
        check_id: check_id.transpose()?,
        before: before.transpose()?,
        limit: limit.transpose()?.unwrap_or(LIMIT),
        partner: None,
    })
}

/// Cursor of a webhook: its position in the list, encoded.
fn cursor(delivery: &DeliveryOverview) -> String {
    URL_SAFE_NO_PAD.encode(format!("{} {}", delivery.created.timestamp_millis(), delivery.id))
}

fn position(cursor: &str) -> Option<(DateTime<Utc>, RecordId)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let (created, id) = text.split_once(' ')?;
    Some((DateTime::from_timestamp_millis(created.parse().ok()?)?, id.parse().ok()?))
}
