//! Management of partners: their API keys, their links, their budgets, their webhooks and the look of their hosted page.
//!
//! A key is shown once, when it is made; PocketBase stores its hash. Signing secrets and link secrets are stored as they are.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{TimeDelta, Utc};
use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};
use shared::auth::{KEY_PREFIX_PUBLISHABLE, KEY_PREFIX_SECRET, hash_api_key, sign_link};
use shared::pocketbase::records::{LinkSecret, SigningSecret, WebhookEvent};
use shared::types::{Team, UserId};
use webhooks::{WebhookPolicy, check_url};

use crate::Error;
use crate::pocketbase::Superuser;

/// A command on partners.
#[derive(Subcommand)]
pub enum Action {
    /// List the partners.
    List,
    /// Add a partner and show its keys.
    Add {
        /// The name of the partner, unique.
        name: String,
        /// The team whose records it sees; by default the records without a team.
        #[arg(long)]
        team: Option<Team>,
    },
    /// Replace a key of a partner. The old key stops within 60 s.
    Rotate {
        /// The name of the partner.
        name: String,
        /// The key to replace.
        #[arg(long, value_enum, default_value = "secret")]
        key: Key,
    },
    /// Revoke both keys of a partner. They stop within 60 s.
    Revoke {
        /// The name of the partner.
        name: String,
    },
    /// Set how the links of a partner to the hosted page are trusted.
    Links {
        /// The name of the partner.
        name: String,
        /// Signed: with the link secret. Open: by whoever has seen the publishable key.
        #[arg(long, value_enum)]
        mode: LinkMode,
    },
    /// Sign a link to the hosted page with a partner's link secret.
    SignLink {
        /// The name of the partner.
        name: String,
        /// The partner's identifier of the person.
        #[arg(long)]
        user: UserId,
        /// The minutes for which the link opens the page.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=525_600))]
        minutes: u32,
        /// The URL of the API.
        #[arg(long, env = "API_URL", default_value = "http://127.0.0.1:3000")]
        api: String,
        /// The partner's publishable key, which PocketBase does not store.
        #[arg(long, default_value = "PUBLISHABLE_KEY")]
        key: String,
    },
    /// Set what a partner can use per UTC day. What is left out stays as it is; 0 is the default.
    Budgets {
        /// The name of the partner.
        name: String,
        /// Checks, 10,000 by default.
        #[arg(long)]
        checks: Option<u32>,
        /// People that links to the hosted page create, 10,000 by default.
        #[arg(long)]
        people: Option<u32>,
        /// Megabytes of uploads, 500,000 by default.
        #[arg(long)]
        upload_megabytes: Option<u32>,
    },
    /// Set the endpoint of a partner's webhooks, and enable it if it was disabled. A first endpoint gets a signing secret, which is shown.
    Webhook {
        /// The name of the partner.
        name: String,
        /// The URL, https.
        #[arg(long)]
        url: String,
        /// An event to subscribe to, repeatable; without it the subscription stays as it is (check.completed by default).
        #[arg(long = "event", value_parser = clap::builder::PossibleValuesParser::new(WebhookEvent::ALL.map(WebhookEvent::as_str)))]
        events: Vec<String>,
    },
    /// Replace a partner's signing secret. For a time both secrets sign.
    RotateSecret {
        /// The name of the partner.
        name: String,
        /// The hours for which the old secret still signs.
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(0..=720))]
        hours: u32,
    },
    /// Set the colours and the logo of a partner's hosted page.
    Theme {
        /// The name of the partner.
        name: String,
        /// The new look.
        #[command(flatten)]
        theme: Theme,
    },
}

/// The look of a hosted page. What is left out is the default's.
#[derive(Debug, Args)]
pub struct Theme {
    /// The colour of buttons, as #rrggbb.
    #[arg(long)]
    primary: Option<String>,
    /// The colour of the background, as #rrggbb.
    #[arg(long)]
    background: Option<String>,
    /// The colour of text, as #rrggbb.
    #[arg(long)]
    text: Option<String>,
    /// A logo: a PNG, JPEG or WebP of at most 100 kB.
    #[arg(long)]
    logo: Option<PathBuf>,
}

/// A kind of API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Key {
    /// The key of the partner's servers.
    Secret,
    /// The key of links to the hosted page.
    Publishable,
    /// The secret that signs links to the hosted page.
    Link,
}

/// How links are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LinkMode {
    /// Links are signed with the link secret.
    Signed,
    /// Links need nothing but the publishable key.
    Open,
}

impl Key {
    fn field(self) -> &'static str {
        match self {
            Self::Secret => "secret_key_hash",
            Self::Publishable => "publishable_key_hash",
            Self::Link => "link_secret",
        }
    }

    /// The key as PocketBase stores it. Link secrets are stored as they are, since they verify signatures.
    fn stored(self, key: &str) -> String {
        if self == Self::Link { key.to_owned() } else { hash_api_key(key) }
    }

    /// A new key: its prefix and 24 random bytes in hexadecimal.
    fn generate(self) -> String {
        let prefix = match self {
            Self::Secret => KEY_PREFIX_SECRET,
            Self::Publishable => KEY_PREFIX_PUBLISHABLE,
            Self::Link => "ls_",
        };
        format!("{prefix}{:032x}{:016x}", rand::random::<u128>(), rand::random::<u64>())
    }
}

/// Executes a command; returns the text to show.
///
/// # Errors
/// When the partner does not exist (or exists already, for `add`), a value is malformed, or PocketBase fails.
pub async fn run(superuser: &Superuser, policy: WebhookPolicy, action: &Action) -> Result<String, Error> {
    match action {
        Action::List => list(superuser).await,
        Action::Add { name, team } => add(superuser, name, team.as_ref()).await,
        Action::Rotate { name, key } => rotate(superuser, name, *key).await,
        Action::Revoke { name } => {
            update(superuser, name, json!({ "active": false })).await?;
            Ok(format!("The keys of {name} stop within 60 s. `rotate` makes a new key, and the partner active again."))
        }
        Action::Links { name, mode } => {
            let mode = if *mode == LinkMode::Signed { "signed" } else { "open" };
            update(superuser, name, json!({ "link_mode": mode })).await?;
            Ok(format!("The links of {name} are {mode} within 60 s."))
        }
        Action::SignLink { name, user, minutes, api, key } => sign(superuser, name, user, *minutes, api, key).await,
        Action::Budgets { name, checks, people, upload_megabytes } => {
            let budgets =
                [("daily_checks", checks), ("daily_people", people), ("daily_upload_megabytes", upload_megabytes)];
            let given = budgets.into_iter().filter_map(|(field, budget)| Some((field.to_owned(), json!((*budget)?))));
            update(superuser, name, Value::Object(given.collect())).await?;
            Ok(format!("The budgets of {name} change within 60 s."))
        }
        Action::Webhook { name, url, events } => {
            check_url(url, policy).map_err(|error| Error::new(error.to_string()))?;
            set_webhook(superuser, name, url, events).await
        }
        Action::RotateSecret { name, hours } => rotate_secret(superuser, name, *hours).await,
        Action::Theme { name, theme } => {
            update(superuser, name, json!({ "theme": theme.to_json()? })).await?;
            Ok(format!("The hosted page of {name} has a new look."))
        }
    }
}

async fn list(superuser: &Superuser) -> Result<String, Error> {
    let partners = superuser.find("partners", "").await?;
    Ok(partners.iter().map(summary).collect::<Vec<_>>().join("\n"))
}

/// One line about a partner: name, team, state and webhook.
fn summary(partner: &Value) -> String {
    let text = |field| partner.get(field).and_then(Value::as_str).unwrap_or_default();
    let state = if partner.get("active") == Some(&Value::Bool(true)) { "active" } else { "revoked" };
    let webhook = match (text("webhook_url"), text("webhook_disabled_reason")) {
        ("", _) => String::new(),
        (url, "") => {
            let events = partner.get("webhook_events").filter(|events| events.is_array());
            format!("  {url}  {}", events.map(Value::to_string).unwrap_or_default())
        }
        (url, reason) => format!("  {url} DISABLED: {reason}"),
    };
    let links = if text("link_mode") == "open" { "open" } else { "signed" };
    format!("{}  team {:?}  {state}  {links} links{webhook}", text("name"), text("team"))
}

async fn add(superuser: &Superuser, name: &str, team: Option<&Team>) -> Result<String, Error> {
    if find(superuser, name).await?.is_some() {
        return Err(Error::new(format!("there is a partner {name} already: rotate its keys, or choose another name")));
    }
    let (secret, publishable, link) = (Key::Secret.generate(), Key::Publishable.generate(), Key::Link.generate());
    let partner = json!({
        "name": name,
        "team": team,
        "active": true,
        Key::Secret.field(): hash_api_key(&secret),
        Key::Publishable.field(): hash_api_key(&publishable),
        Key::Link.field(): link,
        "link_mode": "signed",
    });
    superuser.create("partners", partner).await?;
    Ok(format!(
        "secret key       {secret}\npublishable key  {publishable}\nlink secret      {link}\nThey are not shown again.\n\n\
         Links to the hosted page are signed with the link secret. A first one, for the person user123:\n\
         partner sign-link {name:?} --user user123 --key {publishable}"
    ))
}

async fn rotate(superuser: &Superuser, name: &str, key: Key) -> Result<String, Error> {
    let new = key.generate();
    update(superuser, name, json!({ key.field(): key.stored(&new), "active": true })).await?;
    Ok(format!("new key  {new}\nIt is not shown again. The old key stops within 60 s."))
}

/// A signed link.
async fn sign(
    superuser: &Superuser,
    name: &str,
    user: &UserId,
    minutes: u32,
    api: &str,
    key: &str,
) -> Result<String, Error> {
    let found = superuser.find("partners", &format!("name={}", Value::from(name))).await?;
    let partner = found.first().ok_or_else(|| Error::new(format!("there is no partner {name}")))?;
    let secret = partner.get("link_secret").and_then(Value::as_str).filter(|secret| !secret.is_empty());
    let secret = secret.ok_or_else(|| {
        Error::new(format!("{name} has no link secret: `partner rotate {name:?} --key link` makes one"))
    })?;
    let expires = (Utc::now() + TimeDelta::minutes(i64::from(minutes))).timestamp();
    let expires = u64::try_from(expires).map_err(|error| Error::new(error.to_string()))?;
    let signature =
        sign_link(&LinkSecret(secret.to_owned()), user, expires).map_err(|error| Error::new(error.to_string()))?;
    let mut link = reqwest::Url::parse(&format!("{}/verif/", api.trim_end_matches('/')))
        .map_err(|_| Error::new("--api must be a URL"))?;
    link.query_pairs_mut()
        .append_pair("api_key", key)
        .append_pair("user_identifier", user.as_str())
        .append_pair("expires", &expires.to_string())
        .append_pair("signature", &signature);
    Ok(link.into())
}

async fn set_webhook(superuser: &Superuser, name: &str, url: &str, events: &[String]) -> Result<String, Error> {
    let mut secrets = signing_secrets(superuser, name).await?;
    let new = secrets.is_empty().then(new_signing_secret);
    secrets.extend(new.clone());
    let mut changes = json!({
        "webhook_url": url, "webhook_secrets": secrets,
        "webhook_failing_since": "", "webhook_disabled": "", "webhook_disabled_reason": "",
    });
    if let (false, Some(changes)) = (events.is_empty(), changes.as_object_mut()) {
        changes.insert("webhook_events".to_owned(), json!(events));
    }
    update(superuser, name, changes).await?;
    Ok(match new {
        Some(new) => format!("signing secret  {}\nIt is not shown again.", new.secret),
        None => format!("The webhooks of {name} go to {url}, signed as before."),
    })
}

async fn rotate_secret(superuser: &Superuser, name: &str, hours: u32) -> Result<String, Error> {
    let now = Utc::now();
    let until = now + TimeDelta::hours(i64::from(hours));
    let new = new_signing_secret();
    let old = signing_secrets(superuser, name).await?.into_iter();
    let old = old.filter(|secret| secret.until.is_none_or(|until| until > now));
    let old = old.map(|secret| SigningSecret { until: Some(secret.until.unwrap_or(until)), ..secret });
    let secrets: Vec<_> = std::iter::once(new.clone()).chain(old).collect();
    update(superuser, name, json!({ "webhook_secrets": secrets })).await?;
    Ok(format!("new signing secret  {}\nIt is not shown again. The old secret signs too until {until:.0}.", new.secret))
}

impl Theme {
    fn to_json(&self) -> Result<Value, Error> {
        let mut theme = serde_json::Map::new();
        for (field, colour) in [("primary", &self.primary), ("background", &self.background), ("text", &self.text)] {
            let Some(colour) = colour else { continue };
            if !is_colour(colour) {
                return Err(Error::new(format!("--{field} must be a colour as #rrggbb")));
            }
            theme.insert(field.to_owned(), colour.as_str().into());
        }
        if let Some(logo) = &self.logo {
            theme.insert("logo".to_owned(), data_url(logo)?.into());
        }
        Ok(theme.into())
    }
}

fn is_colour(text: &str) -> bool {
    text.strip_prefix('#').is_some_and(|hex| hex.len() == 6 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The id of a partner.
async fn find(superuser: &Superuser, name: &str) -> Result<Option<String>, Error> {
    let found = superuser.find("partners", &format!("name={}", Value::from(name))).await?;
    Ok(found.first().and_then(|partner| partner.get("id")?.as_str().map(str::to_owned)))
}

async fn update(superuser: &Superuser, name: &str, changes: Value) -> Result<(), Error> {
    let id = find(superuser, name).await?.ok_or_else(|| Error::new(format!("there is no partner {name}")))?;
    let path = format!("/api/collections/partners/records/{id}");
    superuser.call(Method::PATCH, &path, Some(changes)).await.map(|_| ())
}

async fn signing_secrets(superuser: &Superuser, name: &str) -> Result<Vec<SigningSecret>, Error> {
    let found = superuser.find("partners", &format!("name={}", Value::from(name))).await?;
    let partner = found.first().ok_or_else(|| Error::new(format!("there is no partner {name}")))?;
    let secrets = partner.get("webhook_secrets").cloned().unwrap_or_default();
    let secrets: Option<Vec<SigningSecret>> = serde_json::from_value(secrets)
        .map_err(|_| Error::new(format!("the signing secrets of {name} are malformed")))?;
    Ok(secrets.unwrap_or_default())
}

/// A new signing secret in the form of Standard Webhooks, 32 random bytes.
fn new_signing_secret() -> SigningSecret {
    let bytes: [u8; 32] = rand::random();
    SigningSecret { secret: format!("whsec_{}", STANDARD.encode(bytes)), until: None }
}

/// The logo as a data URL.
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
