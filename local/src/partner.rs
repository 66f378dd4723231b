//! `make partner`: who has API keys of their own. Keys are shown once, when they are made; PocketBase holds their hashes.

use clap::{Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};
use shared::auth::{KEY_PREFIX_PUBLISHABLE, KEY_PREFIX_SECRET, hash_api_key};
use shared::types::Team;

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
pub async fn run(superuser: &Superuser, action: &Action) -> Result<String, Error> {
    match action {
        Action::List => {
            let partners = superuser.find("partners", "").await?;
            let line = |partner: &Value| {
                let text = |field| partner.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
                let state = if partner.get("active") == Some(&Value::Bool(true)) { "active" } else { "revoked" };
                format!("{}  team {:?}  {state}", text("name"), text("team"))
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
