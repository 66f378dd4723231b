//! Where the parts of the local stack are, and the variables that lead the functions to them.

use shared::env::Env;

use crate::process::root;
use crate::{Error, standins, storage};

/// The variables with the ports of the local stack.
pub const PORTS: [&str; 5] = ["API_PORT", "PB_PORT", "STANDINS_PORT", "MOTO_PORT", "RECEIVER_PORT"];

/// The number of processes of each function, unless `FUNCTION_PROCESSES` says otherwise.
const FUNCTION_PROCESSES: usize = 2;

/// The addresses of the local stack, from the variables with its ports.
pub struct Addresses {
    /// The local gateway.
    pub api: String,
    /// The stand-ins of Rekognition, OpenAI and Fingerprint.
    pub standins: String,
    /// moto: S3, SQS, STS and Secrets Manager.
    pub moto: String,
    /// The receiver of webhooks.
    pub receiver: String,
}

impl Addresses {
    /// Reads the ports.
    ///
    /// # Errors
    /// When one of them is not set.
    pub fn from_env(env: &Env) -> Result<Self, Error> {
        let url = |port: &str| format!("http://127.0.0.1:{port}");
        Ok(Self {
            api: url(env.require("API_PORT")?),
            standins: url(env.require("STANDINS_PORT")?),
            moto: url(env.require("MOTO_PORT")?),
            receiver: url(env.require("RECEIVER_PORT")?),
        })
    }
}

/// The variables of the functions over those of the environment: the stand-ins, where no variable names the real service.
///
/// # Errors
/// When a port is not set.
pub fn function_variables(env: &Env) -> Result<Vec<(String, String)>, Error> {
    let addresses = Addresses::from_env(env)?;
    let mut variables = standins::variables(env, &addresses.standins, &addresses.moto);
    if variables.iter().any(|(name, _)| *name == "AWS_ENDPOINT_URL") {
        let queue = storage::queue_url(&addresses.moto);
        variables.extend([("UPLOADS_BUCKET", storage::BUCKET.to_owned()), ("WEBHOOK_QUEUE_URL", queue)]);
    }
    if env.get("FFMPEG_PATH").is_none() {
        variables.push(("FFMPEG_PATH", root().join(".venv/bin/ffmpeg").display().to_string()));
    }
    Ok(variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The number of processes of each function.
///
/// # Errors
/// When `FUNCTION_PROCESSES` is not a number from 1 to 64.
pub fn function_processes(env: &Env) -> Result<usize, Error> {
    let Some(text) = env.get("FUNCTION_PROCESSES") else { return Ok(FUNCTION_PROCESSES) };
    let number = text.parse().ok().filter(|number| (1..=64).contains(number));
    number.ok_or_else(|| Error::new("FUNCTION_PROCESSES must be a number from 1 to 64"))
}
