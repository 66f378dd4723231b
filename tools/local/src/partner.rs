//! `make partner`: who has API keys of their own, where their webhooks go, and how the hosted page looks. Keys are shown once, when
//! they are made; PocketBase holds their hashes. Signing secrets it has to hold as they are.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{TimeDelta, Utc};
use clap::{Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};
use shared::auth::{KEY_PREFIX_PUBLISHABLE, KEY_PREFIX_SECRET, hash_api_key};
use shared::pocketbase::records::{SigningSecret, WebhookEvent};
use shared::types::Team;
use webhooks::{WebhookPolicy, check_url};

use crate::Error;
use crate::pocketbase::Superuser;

/// What to do with a partner.
#[derive(Subcommand)]
pub enum Action {
    /// Show the partners.
    List,
    /// Add one, and show its keys.
    Add {
        /// Its name, which no other partner has.
        name: String,
        /// The team whose records it sees; without one, the records that have none.
        #[arg(long)]
        team: Option<Team>,
    },
    /// Give it a new key in the place of one, which stops within 60 s.
    Rotate {
        /// Its name.
        name: String,
        /// Which of its keys.
        #[arg(long, value_enum, default_value = "secret")]
        key: Key,
    },
    /// Stop its keys within 60 s.
    Revoke {
        /// Its name.
        name: String,
    },
    /// Say where its webhooks go, and show the secret that signs them when it is new. An endpoint that was disabled is enabled; without
    /// --event its choice of events stays.
    Webhook {
        /// Its name.
        name: String,
        /// The URL, https.
        #[arg(long)]
        url: String,
        /// An event that it wants, once for each: check.completed (which it gets without choosing) or profile.status_changed.
        #[arg(long = "event", value_parser = clap::builder::PossibleValuesParser::new(WebhookEvent::ALL.map(WebhookEvent::as_str)))]
        events: Vec<String>,
    },
    /// Give it a new signing secret. The one before signs beside it for a while.
    RotateSecret {
        /// Its name.
        name: String,
        /// For how long, in hours.
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(0..=720))]
        hours: u32,
    },
    /// Say how the hosted page looks to its people.
    Theme {
        /// Its name.
        name: String,
        /// The colour of buttons, as #rrggbb.
        #[arg(long)]
        primary: Option<String>,
        /// The colour behind everything, as #rrggbb.
        #[arg(long)]
        background: Option<String>,
        /// The colour of text, as #rrggbb.
        #[arg(long)]
        text: Option<String>,
        /// A logo: a PNG, JPEG or WebP of at most 100 kB.
        #[arg(long)]
        logo: Option<PathBuf>,
    },
}

/// A partner's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Key {
    /// For its servers.
    Secret,
    /// For the hosted page.
    Publishable,
}

impl Key {
    fn field(self) -> &'static str {
        match self {
            Self::Secret => "secret_key_hash",
            Self::Publishable => "publishable_key_hash",
        }
    }

    /// A new key: 24 random bytes in hexadecimal after its prefix.
    fn new_key(self) -> String {
        let prefix = match self {
            Self::Secret => KEY_PREFIX_SECRET,
            Self::Publishable => KEY_PREFIX_PUBLISHABLE,
        };
        format!("{prefix}{:032x}{:016x}", rand::random::<u128>(), rand::random::<u64>())
    }
}

/// Does it, and says what there is to say.
///
/// # Errors
/// When there is no such partner, or there is one already; PocketBase's failures.
pub async fn run(superuser: &Superuser, policy: WebhookPolicy, action: &Action) -> Result<String, Error> {
    match action {
        Action::List => {
            let partners = superuser.find("partners", "").await?;
            let line = |partner: &Value| {
                let text = |field| partner.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
                let state = if partner.get("active") == Some(&Value::Bool(true)) { "active" } else { "revoked" };
                let webhook = match (text("webhook_url"), text("webhook_disabled_reason")) {
                    (url, _) if url.is_empty() => String::new(),
                    (url, reason) if reason.is_empty() => {
                        let events = partner.get("webhook_events").filter(|events| events.is_array());
                        format!("  {url}  {}", events.map(Value::to_string).unwrap_or_default())
                    }
                    (url, reason) => format!("  {url} DISABLED: {reason}"),
                };
                format!("{}  team {:?}  {state}{webhook}", text("name"), text("team"))
            };
            Ok(partners.iter().map(line).collect::<Vec<_>>().join("\n"))
        }
        Action::Add { name, team } => {
            if find(superuser, name).await?.is_some() {
                return Err(Error::new(format!(
                    "there is a partner {name} already: rotate its keys, or choose another name"
                )));
            }
            let (secret, publishable) = (Key::Secret.new_key(), Key::Publishable.new_key());
            let partner = json!({
                "name": name,
                "team": team,
                "active": true,
                Key::Secret.field(): hash_api_key(&secret),
                Key::Publishable.field(): hash_api_key(&publishable),
            });
            superuser.create("partners", partner).await?;
            Ok(format!("secret key       {secret}\npublishable key  {publishable}\nThey are not shown again."))
        }
        Action::Rotate { name, key } => {
            let made = key.new_key();
            change(superuser, name, json!({ key.field(): hash_api_key(&made), "active": true })).await?;
            Ok(format!("new key  {made}\nIt is not shown again. The one before it stops within 60 s."))
        }
        Action::Revoke { name } => {
            change(superuser, name, json!({ "active": false })).await?;
            Ok(format!(
                "The keys of {name} stop within 60 s. A rotation gives it a new key, and makes it active again."
            ))
        }
        Action::Webhook { name, url, events } => {
            check_url(url, policy).map_err(|error| Error::new(error.to_string()))?;
            let secrets = secrets(superuser, name).await?;
            let made = secrets.is_empty().then(new_secret);
            let secrets: Vec<_> = secrets.into_iter().chain(made.clone()).collect();
            let mut changes = json!({
                "webhook_url": url, "webhook_secrets": secrets,
                "webhook_failing_since": "", "webhook_disabled": "", "webhook_disabled_reason": "",
            });
            // Without a choice the one before stays.
            if let (false, Some(changes)) = (events.is_empty(), changes.as_object_mut()) {
                changes.insert("webhook_events".to_owned(), json!(events));
            }
            change(superuser, name, changes).await?;
            Ok(match made {
                Some(made) => format!("signing secret  {}\nIt is not shown again.", made.secret),
                None => format!("The webhooks of {name} go to {url}, signed as before."),
            })
        }
        Action::RotateSecret { name, hours } => {
            let now = Utc::now();
            let until = now + TimeDelta::hours(i64::from(*hours));
            let made = new_secret();
            let before = secrets(superuser, name).await?.into_iter();
            let before = before.filter(|secret| secret.until.is_none_or(|until| until > now));
            let before = before.map(|secret| SigningSecret { until: Some(secret.until.unwrap_or(until)), ..secret });
            let secrets: Vec<_> = std::iter::once(made.clone()).chain(before).collect();
            change(superuser, name, json!({ "webhook_secrets": secrets })).await?;
            Ok(format!(
                "new signing secret  {}\nIt is not shown again. The one before it signs beside it until {until:.0}.",
                made.secret
            ))
        }
        Action::Theme { name, primary, background, text, logo } => {
            let colours = [("primary", primary), ("background", background), ("text", text)];
            let mut theme = serde_json::Map::new();
            for (field, colour) in colours {
                if let Some(colour) = colour {
                    let is_colour = colour
                        .strip_prefix('#')
                        .is_some_and(|hex| hex.len() == 6 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
                    if !is_colour {
                        return Err(Error::new(format!("--{field} must be a colour as #rrggbb")));
                    }
                    theme.insert(field.to_owned(), colour.as_str().into());
                }
            }
            if let Some(logo) = logo {
                theme.insert("logo".to_owned(), data_url(logo)?.into());
            }
            change(superuser, name, json!({ "theme": theme })).await?;
            Ok(format!("The hosted page of {name} has a new look."))
        }
    }
}

async fn find(superuser: &Superuser, name: &str) -> Result<Option<String>, Error> {
    let found = superuser.find("partners", &format!("name={}", Value::from(name))).await?;
    Ok(found.first().and_then(|partner| partner.get("id")?.as_str().map(str::to_owned)))
}

async fn change(superuser: &Superuser, name: &str, changes: Value) -> Result<(), Error> {
    let id = find(superuser, name).await?.ok_or_else(|| Error::new(format!("there is no partner {name}")))?;
    let path = format!("/api/collections/partners/records/{id}");
    superuser.call(Method::PATCH, &path, Some(changes)).await.map(|_| ())
}

async fn secrets(superuser: &Superuser, name: &str) -> Result<Vec<SigningSecret>, Error> {
    let found = superuser.find("partners", &format!("name={}", Value::from(name))).await?;
    let partner = found.first().ok_or_else(|| Error::new(format!("there is no partner {name}")))?;
    let secrets = partner.get("webhook_secrets").cloned().unwrap_or_default();
    let secrets: Option<Vec<SigningSecret>> =
        serde_json::from_value(secrets).map_err(|_| Error::new("its signing secrets are malformed"))?;
    Ok(secrets.unwrap_or_default())
}

/// 32 random bytes, as Standard Webhooks has them.
fn new_secret() -> SigningSecret {
    let bytes: [u8; 32] = rand::random();
    SigningSecret { secret: format!("whsec_{}", STANDARD.encode(bytes)), until: None }
}

fn data_url(logo: &Path) -> Result<String, Error> {
    let bytes = std::fs::read(logo).map_err(|error| Error::new(format!("{}: {error}", logo.display())))?;
    let kind = infer::get(&bytes).map(|kind| kind.mime_type());
    match kind {
        Some(kind @ ("image/png" | "image/jpeg" | "image/webp")) if bytes.len() <= 100_000 => {
            Ok(format!("data:{kind};base64,{}", STANDARD.encode(bytes)))
        }
        _ => Err(Error::new("--logo must be a PNG, JPEG or WebP of at most 100 kB")),
    }
}
