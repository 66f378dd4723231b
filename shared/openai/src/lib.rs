//! OpenAI's Chat Completions, or any server that speaks them: images in, JSON of one schema out.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::{Client, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::config::OpenAiSettings;
use shared::upstream::{self, ReadError};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The largest answer that is read, in bytes. What we ask for takes about 1 kB.
const MAX_ANSWER: usize = 128 * 1024;

/// The most tokens that a model may spend, its reasoning included: an answer takes some 300, reasoning a few thousand.
const MAX_TOKENS: u32 = 8_000;

/// A client. Made once in a process's life.
pub struct OpenAi {
    http: Client,
    settings: OpenAiSettings,
}

/// What a model is asked: what it shall do, what it is given, and the JSON schema of its answer.
pub struct Question<'a> {
    /// What it shall do. Nothing of a caller's stands here.
    pub instructions: &'a str,
    /// Text and images, in order, as data.
    pub parts: Vec<Part>,
    /// The schema's name.
    pub name: &'a str,
    /// The schema: every property required, none other allowed.
    pub schema: &'a Value,
}

/// Something that a model is given.
pub enum Part {
    /// Text.
    Text(String),
    /// An image, and its media type.
    Image(&'static str, Bytes),
}

/// Why there is no answer. None repeats what was sent or said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `OPENAI_API_KEY` is not set.
    #[error("OPENAI_API_KEY is not set")]
    NotConfigured,
    /// It takes no more requests just now.
    #[error("OpenAI throttles")]
    Throttled {
        /// After how many seconds to come back, where it said so.
        retry_after: Option<u64>,
    },
    /// It does not take the key.
    #[error("OpenAI does not take OPENAI_API_KEY")]
    KeyRefused,
    /// The account has no more to spend.
    #[error("OpenAI: the account's quota is used up")]
    QuotaUsedUp,
    /// It would not look at what it was given.
    #[error("OpenAI: {0}")]
    Refused(&'static str),
    /// It cannot read an image.
    #[error("OpenAI: {0}")]
    BadImage(String),
    /// It did not answer in time.
    #[error("OpenAI: {0}")]
    TimedOut(String),
    /// It answered anything else than it should.
    #[error("OpenAI: {0}")]
    BadAnswer(String),
}

/// What a model answered.
pub struct Reply {
    /// Its text, which should be JSON of the schema.
    pub text: String,
    /// What it cost, where the server says.
    pub usage: Option<Usage>,
}

/// Tokens that were spent.
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
    /// Other servers than OpenAI's have it in other forms, or not at all.
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
    /// When no client of HTTP can be made on this machine.
    pub fn new(settings: OpenAiSettings) -> Result<Self, reqwest::Error> {
        Ok(Self { http: upstream::client(CONNECT_TIMEOUT, settings.timeout)?, settings })
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.settings.model
    }

    /// Asks the model. One call; a second only when no connection came about.
    ///
    /// # Errors
    /// When there is no key, or no answer that can be used.
    pub async fn ask(&self, question: Question<'_>) -> Result<Reply, Error> {
        let key = self.settings.api_key.as_ref().ok_or(Error::NotConfigured)?;
        let body = self.request(question);
        let url = format!("{}/chat/completions", self.settings.base_url);
        let send = || self.http.post(&url).bearer_auth(key).json(&body).send();
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
        // Looking needs little thought, and a person is waiting. Other models refuse the parameter.
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

/// OpenAI's models whose reasoning can be made shorter are called o3, o4-mini, gpt-5 and so on; not those made for chatting, nor
/// the ones that always think long.
fn is_reasoning(model: &str) -> bool {
    let numbered =
        model.strip_prefix('o').is_some_and(|rest| rest.starts_with(|first: char| matches!(first, '3'..='9')));
    (numbered || model.starts_with("gpt-5")) && !model.contains("-chat") && !model.contains("-pro")
}

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

/// What a refusal means, by its code; its words may repeat what was sent.
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

fn no_answer(error: reqwest::Error) -> Error {
    Error::TimedOut(error.without_url().to_string())
}

#[cfg(test)]
mod tests {
    use super::is_reasoning;

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
