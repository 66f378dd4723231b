//! `webhook_deliveries`: the outbox. A webhook is written with what it tells of, and stays until it is delivered or given up.

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::batch::Write;
use super::filter::{equals, visible_to};
use super::session::optional_team;
use super::{Error, PocketBase, Writer, timestamp, typed};
use crate::types::{RecordId, Team, Teams};

/// The event of a check that is over.
pub const CHECK_COMPLETED: &str = "check.completed";

/// The event of an entry in a status history; for partners that ask for it.
pub const STATUS_CHANGED: &str = "profile.status_changed";

/// How many partners of a team are told.
const PAGE: &str = "100";

/// A webhook to be delivered.
#[derive(Debug, Clone, Serialize)]
pub struct NewDelivery {
    /// Its record's id, chosen here so that it is known before it is written.
    pub id: RecordId,
    /// Whose it is.
    pub team: Option<Team>,
    /// Whom it goes to.
    pub partner: RecordId,
    /// Whom it tells of.
    pub profile: RecordId,
    /// The check that it tells of.
    pub check: Option<RecordId>,
    /// Webhooks of one stream are delivered in the order in which they were written.
    pub stream: String,
    /// [`CHECK_COMPLETED`] or [`STATUS_CHANGED`].
    pub event: &'static str,
    /// The body, but for the links to media.
    pub payload: Value,
    state: &'static str,
    next_attempt: String,
}

impl NewDelivery {
    /// A webhook that is due at once.
    pub fn new(partner: &Subscriber, profile: RecordId, stream: String, event: &'static str, payload: Value) -> Self {
        Self {
            id: RecordId::random(),
            team: partner.team.clone(),
            partner: partner.id.clone(),
            profile,
            check: None,
            stream,
            event,
            payload,
            state: "pending",
            next_attempt: timestamp(Utc::now()),
        }
    }

    pub(super) fn write(&self) -> Result<Write<'static>, Error> {
        Write::create("webhook_deliveries", Writer::Partner, self)
    }
}

/// A partner that is sent webhooks.
#[derive(Debug, Clone, Deserialize)]
pub struct Subscriber {
    /// Its record.
    pub id: RecordId,
    /// Whose records it hears of.
    #[serde(deserialize_with = "optional_team")]
    pub team: Option<Team>,
    #[serde(deserialize_with = "or_default")]
    webhook_events: Vec<String>,
}

impl Subscriber {
    /// Whether it wants an event. Who has chosen none wants every event but [`STATUS_CHANGED`].
    pub fn wants(&self, event: &str) -> bool {
        match &*self.webhook_events {
            [] => event != STATUS_CHANGED,
            events => events.iter().any(|wanted| wanted == event),
        }
    }
}

/// A secret that webhooks are signed with, `whsec_` and Base64.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SigningSecret {
    /// The secret.
    pub secret: String,
    /// Until when it signs beside the one that took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

/// One try to deliver a webhook, as its partner is shown it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began.
    pub at: DateTime<Utc>,
    /// The status that the endpoint answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why there was no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it took.
    pub milliseconds: u64,
    /// The first kilobyte of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
}

/// A webhook whose turn it is, with where it goes and how it is signed.
#[derive(Debug, Clone, Deserialize)]
pub struct QueuedDelivery {
    /// Its record, which gives it its `webhook-id`.
    pub id: RecordId,
    /// Whom it goes to.
    pub partner: RecordId,
    /// What it has to keep its place in.
    pub stream: String,
    /// What it tells.
    pub event: String,
    /// Where it goes.
    pub webhook_url: String,
    /// What it is signed with, the newest first.
    #[serde(deserialize_with = "or_default")]
    pub webhook_secrets: Vec<SigningSecret>,
    /// Since when every webhook of the partner's has failed.
    #[serde(deserialize_with = "optional_time")]
    pub webhook_failing_since: Option<DateTime<Utc>>,
    /// When one failed last.
    #[serde(deserialize_with = "optional_time")]
    pub webhook_last_failure: Option<DateTime<Utc>>,
    /// Where the check's video is, if it is still there.
    pub selfie_video: String,
    /// Where the check's photo is, if it is still there.
    pub id_photo: String,
}

/// A webhook that this process alone may deliver now.
#[derive(Debug, Deserialize)]
pub struct LeasedDelivery {
    state: String,
    lease: String,
    /// The body, but for the links to media.
    pub payload: Value,
    /// How often it has been tried since it was written or last asked for again.
    pub tries: u32,
    /// What became of every try.
    #[serde(deserialize_with = "or_default")]
    pub attempts: Vec<Attempt>,
}

/// What became of a try.
#[derive(Debug)]
pub enum Settled {
    /// It is delivered.
    Delivered,
    /// It will be tried again.
    Later(DateTime<Utc>),
    /// It is given up.
    GivenUp,
}

/// A webhook as its partner is shown it.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)] // The names are the view's.
pub struct DeliveryOverview {
    pub id: RecordId,
    pub event: String,
    #[serde(default)]
    pub payload: Value,
    pub state: String,
    #[serde(deserialize_with = "or_default")]
    pub attempts: Vec<Attempt>,
    #[serde(deserialize_with = "optional_time")]
    pub next_attempt: Option<DateTime<Utc>>,
    #[serde(deserialize_with = "optional_time")]
    pub delivered: Option<DateTime<Utc>>,
    #[serde(deserialize_with = "time")]
    pub created: DateTime<Utc>,
    pub check_id: String,
    pub webhook_url: String,
    #[serde(deserialize_with = "optional_time")]
    pub webhook_disabled: Option<DateTime<Utc>>,
    pub webhook_disabled_reason: String,
}

/// Which deliveries are wanted.
#[derive(Debug, Default)]
pub struct DeliveryQuery {
    /// Only those in this state.
    pub state: Option<&'static str>,
    /// Only those to this partner.
    pub partner: Option<RecordId>,
    /// Only those of this check.
    pub check_id: Option<uuid::Uuid>,
    /// Only those that are older than this one.
    pub before: Option<(DateTime<Utc>, RecordId)>,
    /// At most so many.
    pub limit: usize,
}

/// A JSON list, as far as it is one: null while nothing has been stored, or anything that somebody has entered by hand. One bad record
/// must not keep all others from being read.
fn or_default<'de, T: DeserializeOwned + Default, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).unwrap_or_default())
}

/// A time as PocketBase writes it, where none is empty.
pub(super) fn optional_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    // RFC 3339 lets a space stand for the T.
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    optional_time(deserializer)?.ok_or_else(|| serde::de::Error::custom("no time"))
}

impl PocketBase {
    /// The partners that hear of a team's records. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn subscribers(&self, team: Option<&Team>) -> Result<Vec<Subscriber>, Error> {
        let filter = format!("active=true && webhook_url!=\"\" && {}", equals("team", team.map_or("", Team::as_str)));
        let query = [("perPage", PAGE), ("skipTotal", "1"), ("filter", &filter), ("fields", "id,team,webhook_events")];
        self.list("partners", &query).await
    }

    /// A webhook, if it is its turn. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn queued_delivery(&self, id: &RecordId) -> Result<Option<QueuedDelivery>, Error> {
        self.first("webhook_queue", &format!("{} && next_attempt <= @now", equals("id", id.as_str())), "").await
    }

    /// The webhook of a stream whose turn it is. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn next_in_stream(&self, after: &QueuedDelivery) -> Result<Option<QueuedDelivery>, Error> {
        let (stream, partner) = (equals("stream", &after.stream), equals("partner", after.partner.as_str()));
        self.first("webhook_queue", &format!("{stream} && {partner} && next_attempt <= @now"), "").await
    }

    /// Webhooks whose turn it is and which nobody is delivering, the longest overdue first; at most 500. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn due_deliveries(&self) -> Result<Vec<QueuedDelivery>, Error> {
        let filter = "next_attempt <= @now && (leased_until = \"\" || leased_until < @now)";
        self.list(
            "webhook_queue",
            &[("perPage", "500"), ("skipTotal", "1"), ("sort", "next_attempt"), ("filter", filter)],
        )
        .await
    }

    /// Takes a webhook for this process alone until a time; `None` when somebody else has it or it is delivered. One call.
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
        match self.write(write, &[]).await.and_then(typed::<LeasedDelivery>) {
            Ok(leased) if leased.state == "pending" && leased.lease == lease => Ok(Some(leased)),
            Ok(_) | Err(Error::Refused) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps what became of a try, and gives the webhook back. One call.
    ///
    /// # Errors
    /// [`Error::Refused`] when somebody else has taken it meanwhile; else when PocketBase fails.
    pub async fn settle_delivery(
        &self,
        id: &RecordId,
        lease: &str,
        tries: u32,
        attempts: &[Attempt],
        settled: &Settled,
    ) -> Result<(), Error> {
        let mut fields = json!({ "lease": lease, "leased_until": "", "tries": tries, "attempts": attempts });
        let more = match settled {
            Settled::Delivered => {
                json!({ "state": "delivered", "delivered": timestamp(Utc::now()), "next_attempt": "" })
            }
            Settled::Later(next) => json!({ "state": "pending", "next_attempt": timestamp(*next) }),
            Settled::GivenUp => json!({ "state": "failed", "next_attempt": "" }),
        };
        if let (Value::Object(fields), Value::Object(more)) = (&mut fields, more) {
            fields.extend(more);
        }
        self.write(Write::update("webhook_deliveries", id, Writer::Partner, &fields)?, &[]).await.map(|_| ())
    }

    /// Makes a webhook due again, whatever became of it; `false` when it is being delivered just now. One that is not delivered yet
    /// keeps its place in its stream. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn resend_delivery(&self, delivery: &DeliveryOverview) -> Result<bool, Error> {
        let id = &delivery.id;
        let mut fields = json!({
            "lease": "", "leased_until": "", "state": "pending", "tries": 0, "delivered": "",
            "next_attempt": timestamp(Utc::now()),
        });
        if let (true, Some(fields)) = (delivery.state != "pending", fields.as_object_mut()) {
            fields.insert("resent".to_owned(), true.into());
        }
        match self.write(Write::update("webhook_deliveries", id, Writer::Partner, &fields)?, &[]).await {
            Ok(_) => Ok(true),
            Err(Error::Refused) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Keeps since when a partner's endpoint has failed, and that it did so now; or, without a time, that it works again. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn set_endpoint_failing(&self, partner: &RecordId, since: Option<DateTime<Utc>>) -> Result<(), Error> {
        let last = since.map(|_| timestamp(Utc::now())).unwrap_or_default();
        let since = since.map(timestamp).unwrap_or_default();
        self.change_partner(partner, &json!({ "webhook_failing_since": since, "webhook_last_failure": last })).await
    }

    /// A partner that is gone by now needs no change.
    async fn change_partner(&self, partner: &RecordId, fields: &Value) -> Result<(), Error> {
        match self.write(Write::update("partners", partner, Writer::Partner, fields)?, &[]).await {
            Ok(_) | Err(Error::Refused) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends a partner's endpoint nothing more, and keeps why. Its webhooks wait. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn disable_endpoint(&self, partner: &RecordId, reason: &str) -> Result<(), Error> {
        let fields = json!({ "webhook_disabled": timestamp(Utc::now()), "webhook_disabled_reason": reason });
        self.change_partner(partner, &fields).await
    }

    /// Webhooks that a caller sees, the newest first. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn deliveries(&self, teams: &Teams, query: &DeliveryQuery) -> Result<Vec<DeliveryOverview>, Error> {
        let mut filter = visible_to(teams, "id!=\"\"");
        if let Some(partner) = &query.partner {
            filter = format!("{filter} && {}", equals("partner", partner.as_str()));
        }
        if let Some(state) = query.state {
            filter = format!("{filter} && {}", equals("state", state));
        }
        if let Some(check_id) = query.check_id {
            filter = format!("{filter} && {}", equals("check_id", &check_id.to_string()));
        }
        if let Some((created, id)) = &query.before {
            let created = timestamp(*created);
            let (same, earlier) = (equals("created", &created), format!("created<{}", Value::from(created)));
            filter = format!("{filter} && ({earlier} || ({same} && id<{}))", Value::from(id.as_str()));
        }
        let limit = query.limit.to_string();
        // Bodies may be large, and a list has none.
        const FIELDS: &str = "id,event,state,attempts,next_attempt,delivered,created,check_id,webhook_url,webhook_disabled,\
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

    /// A webhook that a caller sees; with `partner`, only if it goes to that one. One call.
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
