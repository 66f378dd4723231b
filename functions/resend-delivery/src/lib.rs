//! POST /api/webhooks/deliveries/{id}/resend: delivers a webhook once more, with its schedule from the start.
//!
//! PocketBase calls: two, one to see whose it is and one to make it due. SQS calls: one.

use std::time::Duration;

use chrono::Utc;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use shared::auth::Scope;
use shared::backend::Backend;
use shared::config::Env;
use shared::http::{ApiError, StartError, path_id, success};
use webhooks::{Announcer, DeliveryView};

/// What is made once in a process's life.
pub struct State {
    backend: Backend,
    announcer: Announcer,
}

impl State {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self { announcer: Announcer::from_env(env).await?, backend: Backend::from_env(env).await? })
    }
}

/// Answers a request: 202, for it is delivered after the answer.
///
/// # Errors
/// 401; 403 for a missing scope; 404; 409 for an endpoint that is disabled, or a webhook that is being delivered just now; PocketBase's
/// failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let caller = authenticator.bearer_or_key(request.headers(), pocketbase).await?;
    caller.require(Scope::WebhooksWrite)?;
    let id = path_id(&request).parse().map_err(|_| ApiError::delivery_not_found())?;
    let delivery = pocketbase.delivery(&id, caller.teams(), caller.key_partner().as_ref()).await?;
    let mut delivery = delivery.ok_or_else(ApiError::delivery_not_found)?;
    let conflict = |message: &str| ApiError::new(StatusCode::CONFLICT, "Delivery conflict").message(message);
    if delivery.webhook_disabled.is_some() || delivery.webhook_url.is_empty() {
        return Err(conflict("The endpoint is disabled; ask the operator to enable it, and what waits is delivered"));
    }
    if !pocketbase.resend_delivery(&delivery).await? {
        return Err(conflict("This webhook is being delivered just now"));
    }
    state.announcer.announce(&id, Duration::ZERO).await;
    "pending".clone_into(&mut delivery.state);
    delivery.delivered = None;
    delivery.next_attempt = Some(Utc::now());
    Ok(success(StatusCode::ACCEPTED, Some("Webhook will be delivered again"), DeliveryView::without_payload(delivery)))
}
