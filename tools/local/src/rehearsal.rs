//! `local rehearse-restore`: loses the disk of a PocketBase under load, restores it from a backup, and reports what was lost.
//!
//! Everything is temporary: a PocketBase with the project's schema and hooks, moto's S3, and the functions of target/debug behind the
//! local gateway.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::join_all;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use shared::env::Env;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::functions::{Function, Functions, Output};
use crate::gateway::Gateway;
use crate::pocketbase::{Superuser, wait_for};
use crate::process::root;
use crate::server::{Moto, Server};
use crate::{Error, standins, storage, within_limit};

/// Clients that write at the same time.
const WRITERS: usize = 4;

/// Profiles that are created before the backup, and as many between the backup and the loss.
const PROFILES: usize = 40;

/// Profiles that are deleted between the backup and the loss.
const REDACTIONS: usize = 5;

/// How often is looked whether something has happened.
const POLL: Duration = Duration::from_millis(50);

/// What the rehearsal found.
#[derive(Debug)]
pub struct Report {
    /// Profiles whose creation was acknowledged before the backup began.
    pub before: usize,
    /// Profiles whose creation was acknowledged after that.
    pub after: usize,
    /// Profiles of the first kind that the restored PocketBase does not have. Must be 0.
    pub lost_before: usize,
    /// Profiles of the second kind that it does not have.
    pub lost_after: usize,
    /// Profiles that were redacted after the backup.
    pub redacted: usize,
    /// Those of them whose data was back after the restore.
    pub back: usize,
    /// Those of them whose data is still there after the redactions were applied again. Must be 0.
    pub left: usize,
    /// Time that the backup took.
    pub backup: Duration,
    /// Time from the start of the backup to the loss: the writes of this time can be lost (RPO).
    pub rpo: Duration,
    /// Time from the loss to the first answer of the API with the restored data (RTO), without a new host and the download.
    pub rto: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, after, lost_before, lost_after, redacted, back, left, backup, rpo, rto } = self;
        writeln!(formatter, "profiles acknowledged before the backup  {before}, of which lost {lost_before}")?;
        writeln!(formatter, "profiles acknowledged after it           {after}, of which lost {lost_after}")?;
        writeln!(formatter, "profiles redacted after it               {redacted}, of which back {back}")?;
        writeln!(formatter, "left after they were redacted again      {left}")?;
        writeln!(formatter, "backup under writes                      {:.2} s", backup.as_secs_f64())?;
        writeln!(formatter, "RPO: from the backup to the loss         {:.2} s", rpo.as_secs_f64())?;
        write!(formatter, "RTO: from the loss to the first answer   {:.2} s", rto.as_secs_f64())
    }
}

/// Rehearses a restore, with the settings of .env as variables.
///
/// # Errors
/// When a part does not start or fails, or when something was lost that must not be.
pub async fn run(variables: Vec<(String, String)>) -> Result<Report, Error> {
    let mut stage = Stage::start(variables).await?;
    let report = stage.rehearse().await?;
    if report.lost_before > 0 || report.left > 0 {
        return Err(Error::new(format!("the restore is not complete\n{report}")));
    }
    Ok(report)
}

/// The parts of the rehearsal, and a token of the API.
struct Stage {
    server: Server,
    superuser: Superuser,
    moto: Moto,
    http: Client,
    api: String,
    token: String,
    // Ends before the gateway.
    _functions: Functions,
    _gateway: Gateway,
}

/// Profiles that were acknowledged.
#[derive(Default)]
struct Written {
    ids: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

impl Written {
    fn ids(&self) -> Vec<String> {
        self.ids.lock().map(|ids| ids.clone()).unwrap_or_default()
    }

    async fn reach(&self, count: usize) -> Result<(), Error> {
        let reached = async {
            while self.ids().len() < count {
                sleep(POLL).await;
            }
        };
        within_limit(reached, "profiles to be created").await
    }
}

impl Stage {
    async fn start(mut variables: Vec<(String, String)>) -> Result<Self, Error> {
        let env = &variables.iter().cloned().collect::<Env>();
        let (server, moto) = (Server::start("127.0.0.1", env).await?, Moto::start().await?);
        storage::make_bucket(&moto.url).await?;
        let gateway = Gateway::start().await?;
        let services = standins::variables(env, &moto.url, &moto.url).into_iter();
        variables.extend(services.map(|(name, value)| (name.to_owned(), value)));
        let own = [("POCKETBASE_URL", &*server.url), ("UPLOADS_BUCKET", storage::BUCKET), ("WEBHOOK_QUEUE_URL", "")];
        variables.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let functions = [("issue-token", 1), ("create-profile", WRITERS), ("get-profile", 1), ("delete-profile", 1)];
        let functions = functions.map(|(binary, processes)| Function::new(binary, processes));
        let functions = Functions::start(&gateway.url, &functions, variables, Output::Discard).await?;
        functions.ready().await?;
        let (http, superuser) = (Client::new(), server.superuser().await?);
        let api = gateway.url.clone();
        let credentials = json!({
            "client_id": env.require("JWT_CLIENT_ID")?, "client_secret": env.require("JWT_CLIENT_SECRET")?,
        });
        let answer = http.post(format!("{api}/api/auth/token")).json(&credentials).send().await?.error_for_status()?;
        let token = text(&answer.json().await?, "access_token");
        Ok(Self { server, superuser, moto, http, api, token, _functions: functions, _gateway: gateway })
    }

    async fn rehearse(&mut self) -> Result<Report, Error> {
        let folder = TempDir::new().map_err(|error| Error::new(error.to_string()))?;
        let archive = folder.path().join("backup.zip");
        let written = Written::default();
        let loss = async {
            written.reach(PROFILES).await?;
            let before = written.ids();
            let (started, at) = (Instant::now(), SystemTime::now());
            self.back_up(&archive).await?;
            let backup = started.elapsed();
            written.reach(before.len() + PROFILES).await?;
            for id in before.iter().take(REDACTIONS) {
                self.redact(id).await?;
            }
            written.is_over.store(true, Ordering::Relaxed);
            Ok::<_, Error>((before, started, at, backup))
        };
        let (loss, ()) = tokio::join!(loss, self.write(&written));
        let (before, started, at, backup) = loss?;
        let (rpo, lost) = (started.elapsed(), Instant::now());

        self.server.down();
        std::fs::remove_dir_all(self.server.data()).map_err(|error| Error::new(error.to_string()))?;
        unpack(&archive, self.server.data())?;
        self.server.up()?;
        wait_for(&self.http, &format!("{}/api/health", self.server.url)).await?;
        let first = before.last().cloned().unwrap_or_default();
        self.until(&first, StatusCode::OK).await?;
        let rto = lost.elapsed();

        let restored = self.profiles().await?;
        let all = written.ids();
        let after: Vec<_> = all.iter().filter(|id| !before.contains(id)).collect();
        let redacted: Vec<_> = before.iter().take(REDACTIONS).collect();
        let mut back = 0;
        for id in &redacted {
            back += usize::from(self.status(Method::GET, id).await? == StatusCode::OK);
        }
        for id in self.redactions_since(at).await? {
            self.redact(&id).await?;
        }
        let mut left = 0;
        for id in &redacted {
            left += usize::from(self.status(Method::GET, id).await? != StatusCode::NOT_FOUND);
        }
        Ok(Report {
            before: before.len(),
            after: after.len(),
            lost_before: before.iter().filter(|id| !restored.contains(*id)).count(),
            lost_after: after.iter().filter(|id| !restored.contains(**id)).count(),
            redacted: redacted.len(),
            back,
            left,
            backup,
            rpo,
            rto,
        })
    }

    /// Creates profiles until it is over.
    async fn write(&self, written: &Written) {
        let writer = async || {
            while !written.is_over.load(Ordering::Relaxed) {
                let person = json!({ "userID": format!("rehearsal-{:016x}", rand::random::<u64>()) });
                let request = self.http.post(format!("{}/api/profiles/create", self.api)).bearer_auth(&self.token);
                if let Ok(answer) = request.json(&person).send().await
                    && answer.status() == StatusCode::CREATED
                    && let Ok(body) = answer.json::<Value>().await
                    && let Ok(mut ids) = written.ids.lock()
                {
                    ids.push(text(&body, "id"));
                }
            }
        };
        join_all((0..WRITERS).map(|_| writer())).await;
    }

    /// Makes a backup with PocketBase's own command, and copies it off the data folder.
    async fn back_up(&self, archive: &Path) -> Result<(), Error> {
        const NAME: &str = "rehearsal.zip";
        self.superuser.call(Method::POST, "/api/backups", Some(json!({ "name": NAME }))).await?;
        let token = text(&self.superuser.call(Method::POST, "/api/files/token", None).await?, "token");
        let url = format!("{}/api/backups/{NAME}", self.server.url);
        let zip = self.http.get(url).query(&[("token", &token)]).send().await?.error_for_status()?.bytes().await?;
        std::fs::write(archive, zip).map_err(|error| Error::new(error.to_string()))
    }

    async fn status(&self, method: Method, id: &str) -> Result<StatusCode, Error> {
        let request = self.http.request(method, format!("{}/api/profiles/{id}", self.api)).bearer_auth(&self.token);
        Ok(request.send().await?.status())
    }

    async fn redact(&self, id: &str) -> Result<(), Error> {
        match self.status(Method::DELETE, id).await? {
            StatusCode::NO_CONTENT => Ok(()),
            status => Err(Error::new(format!("DELETE of a profile was answered {status}"))),
        }
    }

    /// Waits until a profile is answered with a status.
    async fn until(&self, id: &str, expected: StatusCode) -> Result<(), Error> {
        let answered = async {
            while !self.status(Method::GET, id).await.is_ok_and(|status| status == expected) {
                sleep(POLL).await;
            }
        };
        within_limit(answered, "the API to answer with the restored data").await
    }

    /// Ids of all profiles in PocketBase.
    async fn profiles(&self) -> Result<BTreeSet<String>, Error> {
        let found = self.superuser.find("profiles", "").await?;
        Ok(found.iter().map(|profile| text(profile, "id")).collect())
    }

    /// Ids of the profiles that were redacted since a time, as the bucket has them.
    async fn redactions_since(&self, time: SystemTime) -> Result<Vec<String>, Error> {
        let client = storage::bucket_client(&self.moto.url);
        let list = client.list_objects_v2().bucket(storage::BUCKET).prefix("redactions/").send().await;
        let list = list.map_err(|error| Error::new(format!("S3: {error}")))?;
        // S3 keeps times in seconds.
        let since =
            time.duration_since(SystemTime::UNIX_EPOCH).map_err(|error| Error::new(error.to_string()))?.as_secs();
        let recent = list.contents().iter().filter(|object| {
            object.last_modified().is_some_and(|written| u64::try_from(written.secs()).is_ok_and(|at| at >= since))
        });
        Ok(recent.filter_map(|object| object.key()?.strip_prefix("redactions/").map(str::to_owned)).collect())
    }
}

fn text(value: &Value, field: &str) -> String {
    value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Unpacks a ZIP archive into a new folder.
fn unpack(archive: &Path, folder: &Path) -> Result<(), Error> {
    let mut python = Command::new(root().join(".venv/bin/python"));
    let output = python.args(["-m", "zipfile", "--extract"]).arg(archive).arg(folder).output();
    let output = output.map_err(|error| Error::new(error.to_string()))?;
    if output.status.success() { Ok(()) } else { Err(Error::new(String::from_utf8_lossy(&output.stderr))) }
}
