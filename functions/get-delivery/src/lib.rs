//! GET /api/webhooks/deliveries/{id}: a webhook with its payload and its delivery attempts. PocketBase calls: one.

use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use shared::auth::Scope;
use shared::http::{ApiError, credentials, path_parameter, success};
pub use shared::runtime::Backend as State;
use webhooks::{DeliveryView, delivery_not_found};

/// Answers a request.
///
/// # Errors
/// 401; 403 for a missing scope; 404; PocketBase's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let caller = state.authenticator.authenticate(credentials(request.headers()), &state.pocketbase).await?;
    caller.require(Scope::WebhooksRead)?;
    let id = path_parameter(&request, "id").parse().map_err(|_| delivery_not_found())?;
    let delivery = state.pocketbase.delivery(&id, caller.teams(), caller.key_partner().as_ref()).await?;
    let delivery = delivery.ok_or_else(delivery_not_found)?;
    Ok(success(StatusCode::OK, None, DeliveryView::from(delivery)))
}
