//! `webhook_deliveries`: the outbox of webhooks. A webhook is written in the transaction that it reports, and is pending until it
//! is delivered or given up.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::pocketbase::client::{
    Error, PocketBase, Write, Writer, created_before, equals, optional, or_default, time, timestamp, typed, visible_to,
};
use crate::types::{RecordId, Team, Teams};

/// The most partners of a team that receive webhooks.
const MAX_SUBSCRIBERS: &str = "100";

/// Event that a webhook reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WebhookEvent {
    /// A check has an outcome.
    #[serde(rename = "check.completed")]
    CheckCompleted,
    /// An entry was added to a status history. Only for partners that subscribe to it.
    #[serde(rename = "profile.status_changed")]
    StatusChanged,
    /// An event that this version does not know, such as one in a record that was edited by hand.
    #[serde(other, rename = "unknown")]
    Unknown,
}

impl WebhookEvent {
    /// The events that partners can subscribe to.
    pub const ALL: [Self; 2] = [Self::CheckCompleted, Self::StatusChanged];

    /// Its name in webhooks and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CheckCompleted => "check.completed",
            Self::StatusChanged => "profile.status_changed",
            Self::Unknown => "unknown",
        }
    }
}

/// State of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// It waits for its next attempt.
    Pending,
    /// The endpoint accepted it.
    Delivered,
    /// It was given up.
    Failed,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    /// Its name in records and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// A webhook to be delivered.
#[derive(Debug, Clone, Serialize)]
pub struct NewDelivery {
    /// Its record's id, chosen here so that it is known before the write.
    pub id: RecordId,
    /// The partner's team.
    pub team: Option<Team>,
    /// The receiving partner.
    pub partner: RecordId,
    /// The profile that it reports on.
    pub profile: RecordId,
    /// The check that it reports on.
    pub check: Option<RecordId>,
    /// The stream. Webhooks of one stream are delivered in the order in which they were written.
    pub stream: String,
    /// The event.
    pub event: WebhookEvent,
    /// The body, without the media URLs.
    pub payload: Value,
    state: DeliveryState,
    next_attempt: String,
}

impl NewDelivery {
    /// A webhook that is due immediately.
    pub fn new(partner: &Subscriber, profile: RecordId, stream: String, event: WebhookEvent, payload: Value) -> Self {
        Self {
            id: RecordId::random(),
            team: partner.team.clone(),
            partner: partner.id.clone(),
            profile,
            check: None,
            stream,
            event,
            payload,
            state: DeliveryState::Pending,
            next_attempt: timestamp(Utc::now()),
        }
    }

    pub(super) fn write(&self) -> Result<Write<'static>, Error> {
        Write::create("webhook_deliveries", Writer::Partner, self)
    }
}

/// A partner with a webhook endpoint.
#[derive(Debug, Clone, Deserialize)]
pub struct Subscriber {
    /// Its record.
    pub id: RecordId,
    /// The team whose records it receives webhooks for.
    #[serde(deserialize_with = "optional")]
    pub team: Option<Team>,
    #[serde(deserialize_with = "or_default")]
    webhook_events: Vec<WebhookEvent>,
}

impl Subscriber {
    /// Whether it is subscribed to an event. A partner without configured events is subscribed to
    /// [`WebhookEvent::CheckCompleted`].
    pub fn is_subscribed_to(&self, event: WebhookEvent) -> bool {
        match &*self.webhook_events {
            [] => event == WebhookEvent::CheckCompleted,
            events => events.contains(&event),
        }
    }
}

/// A webhook signing secret: `whsec_` and Base64.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SigningSecret {
    /// The secret.
    pub secret: String,
    /// End of its use beside a newer secret; `None` for the current secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

/// One attempt to deliver a webhook, as stored and as shown to the partner.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Attempt {
    /// Start of the attempt.
    pub at: DateTime<Utc>,
    /// HTTP status of the endpoint's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Reason why there was no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Duration in milliseconds.
    pub milliseconds: u64,
    /// First kilobyte of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
}

/// A webhook that is due, with its endpoint and signing secrets.
#[derive(Debug, Clone, Deserialize)]
pub struct QueuedDelivery {
    /// Its record, from which the `webhook-id` is made.
    pub id: RecordId,
    /// The receiving partner.
    pub partner: RecordId,
    /// The stream whose order it keeps.
    pub stream: String,
    /// The event.
    pub event: WebhookEvent,
    /// The endpoint.
    pub webhook_url: String,
    /// The signing secrets, newest first.
    #[serde(deserialize_with = "or_default")]
    pub webhook_secrets: Vec<SigningSecret>,
    /// Time since which all webhooks of the partner have failed.
    #[serde(deserialize_with = "optional")]
    pub webhook_failing_since: Option<DateTime<Utc>>,
    /// Time of the last failure.
    #[serde(deserialize_with = "optional")]
    pub webhook_last_failure: Option<DateTime<Utc>>,
    /// Object key of the check's video; empty once it is deleted.
    pub selfie_video: String,
    /// Object key of the check's photo; empty once it is deleted.
    pub id_photo: String,
    /// Object key of the photo of the back; empty without one, and once it is deleted.
    pub id_photo_back: String,
}

/// A webhook that is leased to this process.
#[derive(Debug, Deserialize)]
pub struct LeasedDelivery {
    state: DeliveryState,
    lease: String,
    /// The body, without the media URLs.
    pub payload: Value,
    /// Attempts since it was written or last resent.
    pub tries: u32,
    /// Log of all attempts.
    #[serde(deserialize_with = "or_default")]
    pub attempts: Vec<Attempt>,
}

/// Result of an attempt.
#[derive(Debug)]
pub enum AttemptResult {
    /// The webhook is delivered.
    Delivered,
    /// The next attempt is due at this time.
    Retry(DateTime<Utc>),
    /// The webhook is given up.
    GivenUp,
}

/// A webhook with its attempts and its endpoint.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)] // The names are the view's.
pub struct DeliveryOverview {
    pub id: RecordId,
    pub partner: RecordId,
    /// As stored: it may be an event of an earlier or later version.
    pub event: String,
    #[serde(default)]
    pub payload: Value,
    pub state: DeliveryState,
    #[serde(deserialize_with = "or_default")]
    pub attempts: Vec<Attempt>,
    #[serde(deserialize_with = "optional")]
    pub next_attempt: Option<DateTime<Utc>>,
    #[serde(deserialize_with = "optional")]
    pub delivered: Option<DateTime<Utc>>,
    #[serde(deserialize_with = "time")]
    pub created: DateTime<Utc>,
    pub check_id: String,
    pub webhook_url: String,
    #[serde(deserialize_with = "optional")]
    pub webhook_disabled: Option<DateTime<Utc>>,
    pub webhook_disabled_reason: String,
}

/// Statistics of the outbox, for metrics.
#[derive(Debug, Clone, Deserialize)]
pub struct WebhookStatistics {
    /// Webhooks that wait for an attempt, those of disabled endpoints aside.
    pub pending: u32,
    /// Time at which the one that waits longest became due.
    #[serde(deserialize_with = "optional")]
    pub oldest_due: Option<DateTime<Utc>>,
    /// Webhooks that were given up.
    pub failed: u32,
    /// Endpoints of active partners that are disabled.
    pub disabled_endpoints: u32,
}

/// Filters of a list of deliveries.
#[derive(Debug, Default)]
pub struct DeliveryQuery {
    /// Only those in this state.
    pub state: Option<DeliveryState>,
    /// Only those to this partner.
    pub partner: Option<RecordId>,
    /// Only those of this check.
    pub check_id: Option<uuid::Uuid>,
    /// Only those older than this position.
    pub before: Option<(DateTime<Utc>, RecordId)>,
    /// The most to return.
    pub limit: usize,
}

impl PocketBase {
    /// Active partners of a team with a webhook endpoint, at most 100. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn subscribers(&self, team: Option<&Team>) -> Result<Vec<Subscriber>, Error> {
        let filter = format!("active=true && webhook_url!=\"\" && {}", equals("team", team.map_or("", Team::as_str)));
        let query = [
            ("perPage", MAX_SUBSCRIBERS),
            ("skipTotal", "1"),
            ("filter", &filter),
            ("fields", "id,team,webhook_events"),
        ];
        self.list("partners", &query).await
    }

    /// A webhook, if it is due and first in its stream. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn queued_delivery(&self, id: &RecordId) -> Result<Option<QueuedDelivery>, Error> {
        self.first("webhook_queue", &format!("{} && next_attempt <= @now", equals("id", id.as_str())), "").await
    }

    /// The next due webhook of the same stream and partner. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn next_in_stream(&self, after: &QueuedDelivery) -> Result<Option<QueuedDelivery>, Error> {
        let (stream, partner) = (equals("stream", &after.stream), equals("partner", after.partner.as_str()));
        self.first("webhook_queue", &format!("{stream} && {partner} && next_attempt <= @now"), "").await
    }

    /// Partners with due webhooks, the longest overdue first; at most 1,000. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn partners_with_due_deliveries(&self) -> Result<Vec<RecordId>, Error> {
        #[derive(Deserialize)]
        struct Partner {
            id: RecordId,
        }
        let query = [
            ("perPage", "1000"),
            ("skipTotal", "1"),
            ("sort", "next_attempt"),
            ("filter", "next_attempt != \"\""),
            ("fields", "id"),
        ];
        let partners: Vec<Partner> = self.list("webhook_partners_due", &query).await?;
        Ok(partners.into_iter().map(|partner| partner.id).collect())
    }

    /// Due webhooks of a partner that no process is delivering, the longest overdue first. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn due_deliveries(&self, partner: &RecordId, limit: usize) -> Result<Vec<QueuedDelivery>, Error> {
        let partner = equals("partner", partner.as_str());
        let filter = format!("{partner} && next_attempt <= @now && (leased_until = \"\" || leased_until < @now)");
        let query =
            [("perPage", &*limit.to_string()), ("skipTotal", "1"), ("sort", "next_attempt"), ("filter", &filter)];
        self.list("webhook_queue", &query).await
    }

    /// Statistics of the outbox. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn webhook_statistics(&self) -> Result<WebhookStatistics, Error> {
        let statistics = self.first("webhook_statistics", "", "").await?;
        statistics.ok_or_else(|| Error::BadAnswer("no statistics".to_owned()))
    }

    /// Leases a webhook to this process until a time; `None` when another process has leased it, or it is not due any more. One
    /// call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn lease_delivery(
        &self,
        id: &RecordId,
        lease: &str,
        until: DateTime<Utc>,
    ) -> Result<Option<LeasedDelivery>, Error> {
        let fields = json!({ "lease": lease, "leased_until": timestamp(until) });
        let write = Write::update("webhook_deliveries", id, Writer::Partner, &fields)?;
        match self.write(&write).await.and_then(typed::<LeasedDelivery>) {
            Ok(leased) if leased.state == DeliveryState::Pending && leased.lease == lease => Ok(Some(leased)),
            Ok(_) | Err(Error::Refused) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores the result of an attempt, and ends the lease. One call.
    ///
    /// # Errors
    /// [`Error::Refused`] when another process has leased it in the meantime; else when PocketBase fails.
    pub async fn store_attempt(
        &self,
        id: &RecordId,
        lease: &str,
        tries: u32,
        attempts: &[Attempt],
        result: &AttemptResult,
    ) -> Result<(), Error> {
        let mut fields = json!({ "lease": lease, "leased_until": "", "tries": tries, "attempts": attempts });
        let more = match result {
            AttemptResult::Delivered => {
                json!({ "state": DeliveryState::Delivered, "delivered": timestamp(Utc::now()), "next_attempt": "" })
            }
            AttemptResult::Retry(next) => json!({ "state": DeliveryState::Pending, "next_attempt": timestamp(*next) }),
            AttemptResult::GivenUp => json!({ "state": DeliveryState::Failed, "next_attempt": "" }),
        };
        if let (Value::Object(fields), Value::Object(more)) = (&mut fields, more) {
            fields.extend(more);
        }
        self.write(&Write::update("webhook_deliveries", id, Writer::Partner, &fields)?).await.map(|_| ())
    }

    /// Makes a webhook due again in any state; `false` when it is being delivered. A pending webhook keeps its place in its
    /// stream. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn resend_delivery(&self, delivery: &DeliveryOverview) -> Result<bool, Error> {
        let id = &delivery.id;
        let mut fields = json!({
            "lease": "", "leased_until": "", "state": DeliveryState::Pending, "tries": 0, "delivered": "",
            "next_attempt": timestamp(Utc::now()),
        });
        if let (true, Some(fields)) = (delivery.state != DeliveryState::Pending, fields.as_object_mut()) {
            fields.insert("resent".to_owned(), true.into());
        }
        match self.write(&Write::update("webhook_deliveries", id, Writer::Partner, &fields)?).await {
            Ok(_) => Ok(true),
            Err(Error::Refused) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Stores the time since which a partner's endpoint has failed, and now as its last failure. `None` clears both after a
    /// success. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn set_endpoint_failing(&self, partner: &RecordId, since: Option<DateTime<Utc>>) -> Result<(), Error> {
        let last = since.map(|_| timestamp(Utc::now())).unwrap_or_default();
        let since = since.map(timestamp).unwrap_or_default();
        self.change_partner(partner, &json!({ "webhook_failing_since": since, "webhook_last_failure": last })).await
    }

    /// Changes a partner. A partner that was deleted in the meantime is no error.
    async fn change_partner(&self, partner: &RecordId, fields: &Value) -> Result<(), Error> {
        match self.write(&Write::update("partners", partner, Writer::Partner, fields)?).await {
            Ok(_) | Err(Error::Refused) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Disables a partner's endpoint with a reason. Its webhooks wait. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn disable_endpoint(&self, partner: &RecordId, reason: &str) -> Result<(), Error> {
        let fields = json!({ "webhook_disabled": timestamp(Utc::now()), "webhook_disabled_reason": reason });
        self.change_partner(partner, &fields).await
    }

    /// Webhooks that a caller sees, newest first. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn deliveries(&self, teams: &Teams, query: &DeliveryQuery) -> Result<Vec<DeliveryOverview>, Error> {
        let mut filter = visible_to(teams, "id!=\"\"");
        if let Some(partner) = &query.partner {
            filter = format!("{filter} && {}", equals("partner", partner.as_str()));
        }
        if let Some(state) = query.state {
            filter = format!("{filter} && {}", equals("state", state.as_str()));
        }
        if let Some(check_id) = query.check_id {
            filter = format!("{filter} && {}", equals("check_id", &check_id.to_string()));
        }
        if let Some((created, id)) = &query.before {
            let (same, earlier) = (equals("created", &timestamp(*created)), created_before(*created));
            filter = format!("{filter} && ({earlier} || ({same} && id<{}))", Value::from(id.as_str()));
        }
        let limit = query.limit.to_string();
        // Without the payload, which may be large.
        const FIELDS: &str = "id,partner,event,state,attempts,next_attempt,delivered,created,check_id,webhook_url,webhook_disabled,\
                              webhook_disabled_reason";
        let query = [
            ("perPage", &*limit),
            ("skipTotal", "1"),
            ("sort", "-created,-id"),
            ("filter", &filter),
            ("fields", FIELDS),
        ];
        self.list("webhook_delivery_overview", &query).await
    }

    /// A webhook that a caller sees; with `partner`, only one of that partner. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn delivery(
        &self,
        id: &RecordId,
        teams: &Teams,
        partner: Option<&RecordId>,
    ) -> Result<Option<DeliveryOverview>, Error> {
        let mut filter = visible_to(teams, &equals("id", id.as_str()));
        if let Some(partner) = partner {
            filter = format!("{filter} && {}", equals("partner", partner.as_str()));
        }
        self.first("webhook_delivery_overview", &filter, "").await
    }
}
