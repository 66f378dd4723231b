//! POST /api/ollama/document-analysis: what a document says, read by a vision model, and whether it can be true, computed here.
//!
//! The path is the earlier service's, which used Ollama. Nothing is stored. OpenAI calls: one. PocketBase is asked
//! only for a file that was uploaded before: twice, whose it is and to hold fast which bytes were looked at; S3 then four times.

mod checks;
mod country;
mod mrz;
mod name;
mod prompt;
mod reading;

use chrono::{NaiveDate, Utc};
use lambda_http::http::StatusCode;
use lambda_http::http::header::{CACHE_CONTROL, HeaderValue, RETRY_AFTER};
use lambda_http::{Body, Request, Response};
use openai::{OpenAi, Part, Question, Usage};
use serde::Serialize;
use serde_json::Value;
use shared::auth::{Authenticator, Scope};
use shared::config::{Env, OpenAiSettings, PocketBaseSettings};
use shared::http::{ApiError, FormFields, Media, RETRY_SECONDS, StartError, read_form, success};
use shared::pocketbase::PocketBase;
use shared::types::Text;
use storage::{Copies, Uploads};

use checks::{Checks, Hints};
use reading::Reading;

/// What is made once in a process's life.
pub struct State {
    authenticator: Authenticator,
    pocketbase: PocketBase,
    uploads: Uploads,
    openai: OpenAi,
    schema: Value,
}

impl State {
    /// Reads the settings.
    ///
    /// # Errors
    /// When one is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self {
            authenticator: Authenticator::from_env(env)?,
            // Signed in with the first upload that it is asked for.
            pocketbase: PocketBase::new(PocketBaseSettings::from_env(env)?)?,
            uploads: Uploads::from_env(env).await?,
            openai: OpenAi::new(OpenAiSettings::from_env(env)?)?,
            schema: prompt::schema(),
        })
    }
}

/// What the form may hold.
const FIELDS: FormFields = FormFields {
    texts: &["document_type_hint", "document_number_hint", "full_name_hint"],
    files: &[("document_front", Media::Scan)],
};

#[derive(Serialize)]
struct AnalysisView<'a> {
    model: &'a str,
    /// The model's own words.
    analysis: &'a str,
    analysis_json: AnalysisFields,
    verification_history_fields: HistoryFields,
    checks: Checks,
    document: DocumentView<'a>,
    usage: Option<Usage>,
}

/// What was read, in the API's forms: countries as ISO 3166-1 alpha-2 where they have such a code, dates as PocketBase has them.
#[derive(Serialize)]
struct AnalysisFields {
    name: String,
    document_number: String,
    country: String,
    document_type: String,
    address: String,
    gender: String,
    date_of_birth: String,
    authenticity: String,
    date_of_expiry: String,
    authenticity_reasons: Vec<String>,
    mrz_lines: Vec<String>,
}

/// The same, as POST /api/verification_history/{id} takes it.
#[derive(Serialize)]
struct HistoryFields {
    name: Option<String>,
    document_number: Option<String>,
    country: Option<String>,
    address: Option<String>,
    gender: Option<String>,
    date_of_birth: Option<NaiveDate>,
}

#[derive(Serialize)]
struct DocumentView<'a> {
    name: &'a str,
    mimetype: &'a str,
    /// In bytes.
    size: u64,
}

/// Answers a request.
///
/// # Errors
/// 400 for a missing file or a bad field; 401; 403 for a missing scope; 413; 415 for anything but JPEG, PNG or WebP; 429 when the
/// model is throttled; 501 where none is configured; 502 when it refuses or does not answer with JSON; 504 when it takes too long.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let caller = state.authenticator.bearer(request.headers())?;
    caller.require(Scope::DocumentsAnalyze)?;
    let mut form = read_form(request, &FIELDS).await?;
    if !form.has_file("document_front") {
        return Err(ApiError::missing_fields(&["document_front"], &["document_front"]));
    }
    let document_type: Option<Text<64>> = form.get("document_type_hint")?;
    let document_number: Option<Text<128>> = form.get("document_number_hint")?;
    let full_name: Option<Text<255>> = form.get("full_name_hint")?;
    let hints = Hints {
        document_type: document_type.as_ref().map(Text::as_str),
        document_number: document_number.as_ref().map(Text::as_str),
        full_name: full_name.as_ref().map(Text::as_str),
    };
    let State { authenticator, pocketbase, uploads, openai, schema } = state;
    let taken =
        uploads.take(pocketbase, authenticator, &caller, caller.flow_profile(), Copies::Passing, &mut form).await?;
    let document = form.files.remove("document_front");
    let document = document.ok_or_else(|| ApiError::internal("a form without the file that it had"))?;
    let reply = async {
        for upload in &taken.uses {
            pocketbase.pin_upload(upload).await?;
        }
        let hints = prompt::hints(&[
            ("document_type", hints.document_type),
            ("document_number", hints.document_number),
            ("full_name", hints.full_name),
        ]);
        let mut parts: Vec<_> = hints.into_iter().map(Part::Text).collect();
        parts.push(Part::Image(document.media_type, document.read().await?));
        let question = Question { instructions: prompt::INSTRUCTIONS, parts, name: prompt::NAME, schema };
        openai.ask(question).await.map_err(failure)
    };
    let reply = reply.await;
    uploads.release(taken).await;
    let reply = reply?;
    let reading: Reading = serde_json::from_str(&reply.text)
        .map_err(|_| failure(openai::Error::BadAnswer("not JSON of the schema".to_owned())))?;
    let checks = checks::check(&reading, &hints, Utc::now().date_naive());
    let fields = AnalysisFields::from(reading);
    let view = AnalysisView {
        model: openai.model(),
        analysis: &reply.text,
        verification_history_fields: HistoryFields::from(&fields),
        analysis_json: fields,
        checks,
        document: DocumentView { name: &document.name, mimetype: document.media_type, size: document.size() },
        usage: reply.usage,
    };
    let mut response = success(StatusCode::OK, None, view);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What a caller is told of a model that gave no answer.
fn failure(error: openai::Error) -> ApiError {
    use openai::Error;
    let failed = |message: &str| ApiError::new(StatusCode::BAD_GATEWAY, "Document analysis failed").message(message);
    let told = match &error {
        Error::NotConfigured => {
            return ApiError::new(StatusCode::NOT_IMPLEMENTED, "OpenAI not configured")
                .message("OPENAI_API_KEY must be set in environment variables");
        }
        Error::Throttled { retry_after } => ApiError::new(StatusCode::TOO_MANY_REQUESTS, "Too many requests")
            .message("The model takes no more requests just now; try again shortly")
            .header(RETRY_AFTER, &retry_after.unwrap_or(RETRY_SECONDS).to_string()),
        Error::KeyRefused | Error::QuotaUsedUp => {
            let told = failed("The model refuses this deployment's account; its operator must fix this");
            if matches!(error, Error::KeyRefused) { told.suspecting_secret() } else { told }
        }
        Error::Refused(_) => failed("The model would not read this image; take another photo of the document"),
        Error::BadImage(_) => ApiError::invalid_field("document_front", "cannot be read as an image"),
        Error::TimedOut(_) => return ApiError::upstream_timeout(error),
        Error::BadAnswer(_) => failed("The model did not answer as it should; try again"),
    };
    told.because(error)
}

impl From<Reading> for AnalysisFields {
    fn from(read: Reading) -> Self {
        // A date that is none is shown as it was read.
        let date = |text: String| match reading::date(&text) {
            Some(date) => format!("{date} 00:00:00.000Z"),
            None => text,
        };
        Self {
            country: country::normalised(&read.country),
            gender: reading::gender(&read.gender).to_owned(),
            date_of_birth: date(read.date_of_birth),
            date_of_expiry: date(read.date_of_expiry),
            name: read.name,
            document_number: read.document_number,
            document_type: read.document_type,
            address: read.address,
            authenticity: read.authenticity,
            authenticity_reasons: read.authenticity_reasons,
            mrz_lines: read.mrz_lines,
        }
    }
}

impl From<&AnalysisFields> for HistoryFields {
    fn from(fields: &AnalysisFields) -> Self {
        let given = |text: &String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        Self {
            name: given(&fields.name),
            document_number: given(&fields.document_number),
            country: given(&fields.country),
            address: given(&fields.address),
            gender: given(&fields.gender),
            date_of_birth: reading::date(&fields.date_of_birth),
        }
    }
}
