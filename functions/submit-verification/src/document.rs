//! The document of a check: it is read by the vision model, or by Rekognition DetectText where only Rekognition compares the faces.

use bytes::Bytes;
use chrono::NaiveDate;
use documents::{Checks, Declared, Fields, Hints, Matches, Reader, Reading};
use futures_util::future::try_join_all;
use serde::Serialize;
use shared::pocketbase::records::ProfileOverview;

use crate::compare::{CompareError, Comparison, Method, detect_text};
use crate::rules::DocumentFindings;

/// Kinds of documents that prove an identity, as `documents` names them.
const IDENTITY_DOCUMENTS: [&str; 4] = ["passport", "national_id", "driver_license", "residence_permit"];

/// Photos of a document, as JPEG.
pub struct Photos {
    pub front: Bytes,
    pub back: Option<Bytes>,
}

/// What was read on a document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Document {
    pub fields: Fields,
    pub checks: Checks,
    pub matches: Matches,
}

/// A document and what the rules need of it.
pub struct Examined {
    pub document: Document,
    pub findings: DocumentFindings,
    /// All text that was read.
    pub text: String,
}

impl Examined {
    /// What tells the document from all others: its number and country. `None` when the number was not read.
    pub fn identity(&self) -> Option<String> {
        let Fields { document_number, country, .. } = &self.document.fields;
        let number = document_number.as_ref()?;
        let number: String = number.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_uppercase).collect();
        let country = country.as_deref().unwrap_or_default();
        (!number.is_empty()).then(|| format!("{country} {number}"))
    }
}

/// Reads a document and checks it. Calls: one of the model, or one of Rekognition per photo.
///
/// # Errors
/// When a service is not configured, or gives no usable answer.
pub async fn examine(
    comparison: &Comparison,
    reader: &Reader,
    photos: &Photos,
    profile: &ProfileOverview,
    today: NaiveDate,
) -> Result<Examined, CompareError> {
    let reading = match comparison.method {
        Method::OpenAiVision => {
            let jpeg = |bytes: &Bytes| ("image/jpeg", bytes.clone());
            let back = photos.back.as_ref().map(jpeg);
            let read = reader.read(&comparison.openai, jpeg(&photos.front), back, &Hints::default()).await;
            read.map(|(reading, _)| reading).map_err(CompareError::of_model)?
        }
        Method::Rekognition => {
            let client = comparison.rekognition()?;
            let photos = std::iter::once(&photos.front).chain(&photos.back);
            let lines = try_join_all(photos.map(|photo| detect_text(client, photo))).await?;
            Reading::of_lines(&lines.concat(), today)
        }
    };
    Ok(judge(&reading, profile, today))
}

/// Computes what a reading says. Nothing declared is sent to a service.
fn judge(reading: &Reading, profile: &ProfileOverview, today: NaiveDate) -> Examined {
    let name = if profile.name.is_empty() { &profile.document_name } else { &profile.name };
    let declared = Declared {
        name,
        document_number: &profile.document_number,
        date_of_birth: &profile.declared_birth,
        country: &profile.country,
    };
    let fields = Fields::from(reading);
    let checks = documents::check(reading, &Hints::default(), today);
    let matches = documents::compare(reading, &declared, today);
    let findings = DocumentFindings {
        is_read: fields.name.is_some() && fields.document_number.is_some(),
        is_identity_document: fields.document_type.as_deref().is_some_and(|kind| IDENTITY_DOCUMENTS.contains(&kind)),
        is_suspicious: reading.authenticity.trim().eq_ignore_ascii_case("suspicious"),
        checks: checks.clone(),
        matches,
    };
    Examined { document: Document { fields, checks, matches }, findings, text: reading.text() }
}
