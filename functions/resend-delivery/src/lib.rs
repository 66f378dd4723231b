//! POST /api/webhooks/deliveries/{id}/resend: delivers a webhook again, and restarts its retry schedule.
//!
//! PocketBase calls: two, to load the delivery and to make it due. SQS calls: one.

use std::time::Duration;

use chrono::Utc;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use shared::auth::Scope;
use shared::env::{Env, StartError};
use shared::http::{ApiError, credentials, path_parameter, success};
use shared::pocketbase::records::DeliveryState;
use shared::runtime::Backend;
use webhooks::{DeliveryQueue, DeliveryView, delivery_not_found};

/// State built once per execution environment.
pub struct State {
    backend: Backend,
    queue: DeliveryQueue,
}

impl State {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self { queue: DeliveryQueue::from_env(env).await?, backend: Backend::from_env(env).await? })
    }
}

/// Answers 202, since the webhook is delivered after the answer.
///
/// # Errors
/// 401; 403 for a missing scope; 404; 409 when the endpoint is disabled or the webhook is being delivered; PocketBase's
/// failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let caller = authenticator.authenticate(credentials(request.headers()), pocketbase).await?;
    caller.require(Scope::WebhooksWrite)?;
    let id = path_parameter(&request, "id").parse().map_err(|_| delivery_not_found())?;
    let delivery = pocketbase.delivery(&id, caller.teams(), caller.key_partner().as_ref()).await?;
    let mut delivery = delivery.ok_or_else(delivery_not_found)?;
    let conflict = |message| ApiError::conflict("Delivery conflict", message);
    if delivery.webhook_disabled.is_some() || delivery.webhook_url.is_empty() {
        return Err(conflict("The endpoint is disabled; ask the operator to enable it, and what waits is delivered"));
    }
    if !pocketbase.resend_delivery(&delivery).await? {
        return Err(conflict("This webhook is being delivered just now"));
    }
    state.queue.enqueue(&id, &delivery.partner, Duration::ZERO).await;
    delivery.state = DeliveryState::Pending;
    delivery.delivered = None;
    delivery.next_attempt = Some(Utc::now());
    Ok(success(StatusCode::ACCEPTED, Some("Webhook will be delivered again"), DeliveryView::without_payload(delivery)))
}
