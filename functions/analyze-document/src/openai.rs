//! OpenAI's Chat Completions, or any server that speaks them: an image in, JSON of one schema out.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambda_http::http::StatusCode;
use lambda_http::http::header::RETRY_AFTER;
use reqwest::{Client, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::config::OpenAiSettings;
use shared::http::{ApiError, File, RETRY_SECONDS};
use shared::upstream::{self, ReadError};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The largest answer that is read, in bytes. A document's fields take about 1 kB.
const MAX_ANSWER: usize = 128 * 1024;

/// The most tokens that a model may spend, its reasoning included: a document takes some 300, reasoning a few thousand.
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
    /// Text of a caller's, as data.
    pub text: Option<String>,
    /// The image.
    pub image: &'a File,
    /// The schema's name.
    pub name: &'a str,
    /// The schema: every property required, none other allowed.
    pub schema: &'a Value,
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
    /// 501 without an API key, 429 when it is throttled, 504 when it does not answer in time, 502 for any other answer and for a
    /// model that refuses or breaks off.
    pub async fn ask(&self, question: &Question<'_>) -> Result<Reply, ApiError> {
        let Some(key) = &self.settings.api_key else {
            return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, "OpenAI not configured")
                .message("OPENAI_API_KEY must be set in environment variables"));
        };
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
            401 | 403 => Err(no_account("it does not take OPENAI_API_KEY").suspecting_secret()),
            status => Err(failure(status, response).await),
        }
    }

    fn request(&self, question: &Question<'_>) -> Request<'_> {
        let image = format!("data:{};base64,{}", question.image.media_type, STANDARD.encode(&question.image.bytes));
        let image = json!({ "type": "image_url", "image_url": { "url": image, "detail": "high" } });
        let text = question.text.as_ref().map(|text| json!({ "type": "text", "text": text }));
        let content: Vec<_> = text.into_iter().chain([image]).collect();
        // Reading needs little thought, and a person is waiting. Other models refuse the parameter.
        let effort = is_reasoning(&self.settings.model).then_some("low");
        Request {
            model: &self.settings.model,
            messages: json!([
                { "role": "system", "content": question.instructions },
                { "role": "user", "content": content },
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

async fn reply(response: Response) -> Result<Reply, ApiError> {
    let body = upstream::read(response, MAX_ANSWER).await.map_err(|error| match error {
        ReadError::TooLarge => bad_answer(error),
        ReadError::Broken(error) => no_answer(error),
    })?;
    let completion: Completion = serde_json::from_slice(&body).map_err(|_| bad_answer("no chat completion"))?;
    let choice = completion.choices.into_iter().next().ok_or_else(|| bad_answer("no choice"))?;
    if choice.message.refusal.is_some_and(|refusal| !refusal.is_empty()) {
        return Err(refused("the model refused"));
    }
    match choice.finish_reason.as_deref() {
        Some("length") => return Err(bad_answer("the model ran out of tokens")),
        Some("content_filter") => return Err(refused("the content filter stopped the model")),
        _ => {}
    }
    let text = choice.message.content.filter(|text| !text.is_empty()).ok_or_else(|| bad_answer("an empty answer"))?;
    Ok(Reply { text, usage: serde_json::from_value(completion.usage).ok() })
}

/// What a refusal means, by its code; its words may repeat what was sent.
async fn failure(status: u16, response: Response) -> ApiError {
    let retry_after = upstream::retry_after(&response).unwrap_or(RETRY_SECONDS);
    let body: Value = match upstream::read(response, MAX_ANSWER).await {
        Ok(body) => serde_json::from_slice(&body).unwrap_or_default(),
        Err(_) => Value::Null,
    };
    let code = body.pointer("/error/code").and_then(Value::as_str).unwrap_or_default();
    let is_plain = code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let code = if is_plain { code } else { "" };
    match (status, code) {
        (429, "insufficient_quota") => no_account("the account's quota is used up"),
        (429, _) => ApiError::new(StatusCode::TOO_MANY_REQUESTS, "Too many requests")
            .message("The model takes no more requests just now; try again shortly")
            .header(RETRY_AFTER, &retry_after.to_string())
            .because("OpenAI throttles"),
        (400, "image_content_policy_violation") => refused("the content policy forbids the image"),
        (400, code) if code.contains("image") => {
            ApiError::invalid_field("document_front", "cannot be read as an image").because(format!("OpenAI: {code}"))
        }
        (status, code) => bad_answer(format!("status {status} {code}")),
    }
}

/// A model's failure in words of ours: its own may repeat what it was sent.
pub fn bad_answer(cause: impl std::fmt::Display) -> ApiError {
    ApiError::new(StatusCode::BAD_GATEWAY, "Document analysis failed")
        .message("The model did not answer as it should; try again")
        .because(format!("OpenAI: {cause}"))
}

fn no_account(cause: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_GATEWAY, "Document analysis failed")
        .message("The model refuses this deployment's account; its operator must fix this")
        .because(format!("OpenAI: {cause}"))
}

fn refused(cause: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_GATEWAY, "Document analysis failed")
        .message("The model would not read this image; take another photo of the document")
        .because(format!("OpenAI: {cause}"))
}

fn no_answer(error: reqwest::Error) -> ApiError {
    ApiError::upstream_timeout(format!("OpenAI: {}", error.without_url()))
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
