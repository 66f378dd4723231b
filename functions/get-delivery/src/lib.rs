//! GET /api/webhooks/deliveries/{id}: a webhook, what it says, and what became of each attempt to deliver it. PocketBase calls: one.

use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use shared::auth::Scope;
pub use shared::backend::Backend as State;
use shared::http::{ApiError, path_id, success};
use webhooks::DeliveryView;

/// Answers a request.
///
/// # Errors
/// 401; 403 for a missing scope; 404; PocketBase's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let caller = state.authenticator.bearer_or_key(request.headers(), &state.pocketbase).await?;
    caller.require(Scope::WebhooksRead)?;
    let id = path_id(&request).parse().map_err(|_| ApiError::delivery_not_found())?;
    let delivery = state.pocketbase.delivery(&id, caller.teams(), caller.key_partner().as_ref()).await?;
    let delivery = delivery.ok_or_else(ApiError::delivery_not_found)?;
    Ok(success(StatusCode::OK, None, DeliveryView::from(delivery)))
}
