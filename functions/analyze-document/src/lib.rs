//! POST /api/ollama/document-analysis: reads a document with a vision model, and checks the fields that it read.
//!
//! The path is that of the earlier service, which used Ollama. Nothing is stored. OpenAI calls: one. PocketBase calls: none; with a flow
//! token two, to load the profile and to count the analysis; for a file that was uploaded before two, to load the upload and to pin its
//! checksum. S3 calls for such a file: four.

use chrono::{NaiveDate, Utc};
use documents::{Checks, Fields, Hints, Reader, Reading};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use openai::{OpenAi, Usage};
use serde::Serialize;
use shared::auth::{Authenticator, Scope};
use shared::env::{Env, StartError};
use shared::file::Media;
use shared::http::{ApiError, FormFields, credentials, no_store, read_form, success};
use shared::pocketbase::records::FlowAction;
use shared::pocketbase::{self, PocketBase};
use shared::profiles::{self, DailyLimit, Quota};
use shared::types::Text;
use storage::{CopyPurpose, Uploads};

/// State built once per execution environment.
pub struct State {
    authenticator: Authenticator,
    pocketbase: PocketBase,
    daily_limit: DailyLimit,
    uploads: Uploads,
    openai: OpenAi,
    reader: Reader,
}

impl State {
    /// Reads the settings.
    ///
    /// # Errors
    /// When one is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self {
            authenticator: Authenticator::from_env(env)?,
            daily_limit: DailyLimit::from_env(Quota::Analyses, env)?,
            // Signs in with the first upload or flow token.
            pocketbase: PocketBase::new(pocketbase::Settings::from_env(env)?)?,
            uploads: Uploads::from_env(env).await?,
            openai: OpenAi::new(openai::Settings::from_env(env)?)?,
            reader: Reader::default(),
        })
    }
}

/// Fields of the form.
const FIELDS: FormFields = FormFields {
    texts: &["document_type_hint", "document_number_hint", "full_name_hint"],
    files: &[("document_front", Media::Scan)],
};

#[derive(Serialize)]
struct AnalysisView<'a> {
    model: &'a str,
    /// The model's text.
    analysis: &'a str,
    analysis_json: AnalysisFields,
    verification_history_fields: HistoryFields,
    checks: Checks,
    document: DocumentView<'a>,
    usage: Option<Usage>,
}

/// Fields that the model read, in the API's formats: countries as ISO 3166-1 alpha-2 codes where they have one, dates as in
/// PocketBase.
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

/// The same fields, as POST /api/verification_history/{id} accepts them.
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
/// 400 for a missing file, a bad field or an image that the model cannot read; 401; 403 for a missing scope; 404 for an upload that is not
/// the caller's, and for a flow token whose profile does not exist any more; 409 for an upload that cannot be used, and for a flow token
/// once the profile is decided; 413; 415 for anything but JPEG, PNG or WebP; 429 when the model is throttled, or the daily limit of
/// analyses by flow token is reached; 501 when no model or no bucket is configured; 502 when the model refuses or does not answer with
/// JSON; 504 when it takes too long; PocketBase's and AWS's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let caller = state.authenticator.authenticate_bearer(credentials(request.headers()))?;
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
    let State { authenticator, pocketbase, uploads, openai, reader, .. } = state;
    let profile = caller.flow_profile();
    let attempts = match profile {
        Some(profile) => {
            let profile = profiles::load_open(pocketbase, profile, &caller).await?;
            Some(state.daily_limit.attempts(&profile)?)
        }
        None => None,
    };
    let claim = uploads.claim(pocketbase, authenticator, &caller, profile, CopyPurpose::Transient, &mut form).await?;
    let document = form.files.remove("document_front");
    let document = document.ok_or_else(|| ApiError::internal("the form has no file"))?;
    let read = async {
        let image = (document.file_type.media_type, document.read().await?);
        // The analysis is counted after its upload is resolved, and before the model is asked, which costs.
        if let (Some(profile), Some(attempts)) = (profile, attempts) {
            let count =
                async |attempt: String| pocketbase.count_flow_action(profile, FlowAction::Analysis, &attempt).await;
            attempts.store(count).await?;
        }
        let read = reader.read(openai, image, &hints).await.map_err(model_error)?;
        // Last, because a request that has written is not handled again after a reload of the secret.
        for upload in &claim.uses {
            pocketbase.pin_upload(upload).await?;
        }
        Ok::<_, ApiError>(read)
    };
    let read = read.await;
    uploads.release(claim).await;
    let (reading, reply) = read?;
    let checks = documents::check(&reading, &hints, Utc::now().date_naive());
    let history_fields = HistoryFields::from(Fields::from(&reading));
    let view = AnalysisView {
        model: openai.model(),
        analysis: &reply.text,
        verification_history_fields: history_fields,
        analysis_json: AnalysisFields::from(reading),
        checks,
        document: DocumentView { name: &document.name, mimetype: document.file_type.media_type, size: document.size() },
        usage: reply.usage,
    };
    Ok(no_store(success(StatusCode::OK, None, view)))
}

/// Error answer for a model that gave no usable answer.
fn model_error(error: openai::Error) -> ApiError {
    use openai::Error;
    const REFUSED_ACCOUNT: &str = "The model refuses this deployment's account; its operator must fix this";
    let failed = |message: &str| ApiError::new(StatusCode::BAD_GATEWAY, "Document analysis failed").message(message);
    let answer = match &error {
        Error::NotConfigured => {
            return ApiError::new(StatusCode::NOT_IMPLEMENTED, "OpenAI not configured")
                .message("OPENAI_API_KEY must be set in environment variables");
        }
        Error::Throttled { retry_after } => {
            ApiError::throttled("The model takes no more requests just now; try again shortly", *retry_after)
        }
        Error::KeyRefused => failed(REFUSED_ACCOUNT).retry_after_secret_reload(),
        Error::QuotaUsedUp => failed(REFUSED_ACCOUNT),
        Error::Refused(_) => failed("The model would not read this image; take another photo of the document"),
        Error::BadImage(_) => ApiError::invalid_field("document_front", "cannot be read as an image"),
        Error::TimedOut(_) => return ApiError::upstream_timeout(error),
        Error::BadAnswer(_) => failed("The model did not answer as it should; try again"),
    };
    answer.with_cause(error)
}

impl From<Reading> for AnalysisFields {
    fn from(read: Reading) -> Self {
        let fields = Fields::from(&read);
        // A text that is not a calendar date is shown as it was read.
        let date = |date: Option<NaiveDate>, text: String| match date {
            Some(date) => format!("{date} 00:00:00.000Z"),
            None => text,
        };
        Self {
            country: fields.country.unwrap_or_default(),
            gender: fields.gender.unwrap_or_default(),
            date_of_birth: date(fields.date_of_birth, read.date_of_birth),
            date_of_expiry: date(fields.date_of_expiry, read.date_of_expiry),
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

impl From<Fields> for HistoryFields {
    fn from(fields: Fields) -> Self {
        Self {
            name: fields.name,
            document_number: fields.document_number,
            country: fields.country,
            address: fields.address,
            gender: fields.gender,
            date_of_birth: fields.date_of_birth,
        }
    }
}
