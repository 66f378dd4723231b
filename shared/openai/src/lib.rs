//! Client of OpenAI's Chat Completions API, or of a compatible server. It sends text and images, and gets JSON of a schema.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::{Client, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::env::{ConfigError, Env};
use shared::upstream::{self, ReadError};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The largest answer that is read, in bytes. Typical answers have about 1 kB.
const MAX_ANSWER: usize = 128 * 1024;

/// The most tokens of an answer with its reasoning. An answer takes about 300 tokens, reasoning a few thousand.
const MAX_TOKENS: u32 = 8_000;

/// Settings of the client.
#[derive(Clone)]
pub struct Settings {
    /// `OPENAI_API_KEY`; without it every question fails as not configured.
    pub api_key: Option<String>,
    /// `OPENAI_BASE_URL`, without a trailing slash; `https://api.openai.com/v1` by default.
    pub base_url: String,
    /// `OPENAI_MODEL`, `o4-mini` by default.
    pub model: String,
    /// `OPENAI_TIMEOUT_MS`: time limit of a call, 1,000 to 25,000 ms, 24,000 by default. A request has 27 s.
    pub timeout: Duration,
}

impl Settings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When a variable is malformed.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self {
            api_key: env.get_owned("OPENAI_API_KEY"),
            base_url: env.url("OPENAI_BASE_URL")?.unwrap_or_else(|| "https://api.openai.com/v1".to_owned()),
            model: env.get("OPENAI_MODEL").unwrap_or("o4-mini").to_owned(),
            timeout: Duration::from_millis(env.number("OPENAI_TIMEOUT_MS", 24_000, 1_000..=25_000)?),
        })
    }
}

/// Client of a model. Built once per execution environment.
pub struct OpenAi {
    http: Client,
    settings: Settings,
}

/// A question to a model: instructions, input, and the JSON schema of the answer.
pub struct Question<'a> {
    /// Instructions. They contain nothing that a caller sent.
    pub instructions: &'a str,
    /// Text and images as data, in order.
    pub parts: Vec<Part>,
    /// Name of the schema.
    pub name: &'a str,
    /// The schema, with every property required and no others allowed.
    pub schema: &'a Value,
}

/// Part of a model's input.
pub enum Part {
    /// Text.
    Text(String),
    /// An image, with its media type.
    Image(&'static str, Bytes),
}

/// Failure to get an answer. The messages repeat nothing of the question or the answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `OPENAI_API_KEY` is not set.
    #[error("OPENAI_API_KEY is not set")]
    NotConfigured,
    /// The server throttles requests.
    #[error("OpenAI throttles")]
    Throttled {
        /// `Retry-After` in seconds.
        retry_after: Option<u64>,
    },
    /// The key is refused.
    #[error("OpenAI refused OPENAI_API_KEY")]
    KeyRefused,
    /// The account's quota is used up.
    #[error("OpenAI: the account's quota is used up")]
    QuotaUsedUp,
    /// The model or its content filter refused the input.
    #[error("OpenAI: {0}")]
    Refused(&'static str),
    /// An image cannot be read.
    #[error("OpenAI: {0}")]
    BadImage(String),
    /// No answer in time, or no connection.
    #[error("OpenAI: {0}")]
    TimedOut(String),
    /// An unexpected or unusable answer.
    #[error("OpenAI: {0}")]
    BadAnswer(String),
}

/// Answer of a model.
pub struct Reply {
    /// Its text, which should be JSON of the schema.
    pub text: String,
    /// Tokens used, if the server states them in OpenAI's form.
    pub usage: Option<Usage>,
}

/// Tokens used by an answer.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[allow(missing_docs)] // The names are OpenAI's.
pub struct Usage {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub total_tokens: u64,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: Value,
    max_completion_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    response_format: Value,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    /// Compatible servers send other forms of it, or none.
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
    refusal: Option<String>,
}

impl OpenAi {
    /// A client.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(settings: Settings) -> Result<Self, reqwest::Error> {
        Ok(Self { http: upstream::client(CONNECT_TIMEOUT, settings.timeout)?, settings })
    }

    /// Name of the model.
    pub fn model(&self) -> &str {
        &self.settings.model
    }

    /// Asks the model. One call, repeated once when no connection could be made.
    ///
    /// # Errors
    /// When there is no key, or no usable answer.
    pub async fn ask(&self, question: Question<'_>) -> Result<Reply, Error> {
        let key = self.settings.api_key.as_ref().ok_or(Error::NotConfigured)?;
        let body = self.request(question);
        let url = format!("{}/chat/completions", self.settings.base_url);
        let send = || upstream::send("OpenAI", self.http.post(&url).bearer_auth(key).json(&body));
        let response = match send().await {
            Err(error) if error.is_connect() => send().await,
            outcome => outcome,
        };
        let response = response.map_err(no_answer)?;
        match response.status().as_u16() {
            200..=299 => reply(response).await,
            401 | 403 => Err(Error::KeyRefused),
            status => Err(failure(status, response).await),
        }
    }

    fn request<'a>(&'a self, question: Question<'a>) -> Request<'a> {
        let parts = question.parts.into_iter().map(|part| match part {
            Part::Text(text) => json!({ "type": "text", "text": text }),
            Part::Image(media_type, bytes) => {
                let url = format!("data:{media_type};base64,{}", STANDARD.encode(&bytes));
                json!({ "type": "image_url", "image_url": { "url": url, "detail": "high" } })
            }
        });
        let parts: Vec<_> = parts.collect();
        // Little reasoning is enough to read images, and keeps the answer fast. Models without reasoning refuse the parameter.
        let effort = is_reasoning(&self.settings.model).then_some("low");
        Request {
            model: &self.settings.model,
            messages: json!([
                { "role": "system", "content": question.instructions },
                { "role": "user", "content": parts },
            ]),
            max_completion_tokens: MAX_TOKENS,
            reasoning_effort: effort,
            response_format: json!({
                "type": "json_schema",
                "json_schema": { "name": question.name, "strict": true, "schema": question.schema },
            }),
        }
    }
}

/// Whether a model accepts `reasoning_effort`: OpenAI's o3, o4-mini, gpt-5 and the like, but not their chat and pro variants.
fn is_reasoning(model: &str) -> bool {
    let numbered =
        model.strip_prefix('o').is_some_and(|rest| rest.starts_with(|first: char| matches!(first, '3'..='9')));
    (numbered || model.starts_with("gpt-5")) && !model.contains("-chat") && !model.contains("-pro")
}

/// Reads the text of a successful answer.
async fn reply(response: Response) -> Result<Reply, Error> {
    let bad = |cause: &str| Error::BadAnswer(cause.to_owned());
    let body = upstream::read(response, MAX_ANSWER).await.map_err(|error| match error {
        ReadError::TooLarge => bad("an answer too large to read"),
        ReadError::Broken(error) => no_answer(error),
    })?;
    let completion: Completion = serde_json::from_slice(&body).map_err(|_| bad("no chat completion"))?;
    let choice = completion.choices.into_iter().next().ok_or_else(|| bad("no choice"))?;
    if choice.message.refusal.is_some_and(|refusal| !refusal.is_empty()) {
        return Err(Error::Refused("the model refused"));
    }
    match choice.finish_reason.as_deref() {
        Some("length") => return Err(bad("the model ran out of tokens")),
        Some("content_filter") => return Err(Error::Refused("the content filter stopped the model")),
        _ => {}
    }
    let text = choice.message.content.filter(|text| !text.is_empty()).ok_or_else(|| bad("an empty answer"))?;
    Ok(Reply { text, usage: serde_json::from_value(completion.usage).ok() })
}

/// Error for an error answer, by its code. Its message is not used, since it may repeat the question.
async fn failure(status: u16, response: Response) -> Error {
    let retry_after = upstream::retry_after(&response);
    let body: Value = match upstream::read(response, MAX_ANSWER).await {
        Ok(body) => serde_json::from_slice(&body).unwrap_or_default(),
        Err(_) => Value::Null,
    };
    let code = body.pointer("/error/code").and_then(Value::as_str).unwrap_or_default();
    let is_plain = code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let code = if is_plain { code } else { "" };
    match (status, code) {
        (429, "insufficient_quota") => Error::QuotaUsedUp,
        (429, _) => Error::Throttled { retry_after },
        (400, "image_content_policy_violation") => Error::Refused("the content policy forbids the image"),
        (400, code) if code.contains("image") => Error::BadImage(code.to_owned()),
        (status, code) => Error::BadAnswer(format!("status {status} {code}")),
    }
}

/// Error for a failed connection or a timeout.
fn no_answer(error: reqwest::Error) -> Error {
    Error::TimedOut(error.without_url().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_base_url_is_refused() {
        assert!(Settings::from_env(&Env::from([("OPENAI_BASE_URL", "api.openai.com")])).is_err());
    }

    #[test]
    fn reasoning_models_are_known_by_their_names() {
        for model in ["o3", "o3-mini", "o4-mini", "gpt-5", "gpt-5.1-mini"] {
            assert!(is_reasoning(model), "{model}");
        }
        for model in ["gpt-4o", "gpt-4.1", "ollama", "openchat", "llava", "o1-mini", "o3-pro", "gpt-5-chat-latest"] {
            assert!(!is_reasoning(model), "{model}");
        }
    }
}
