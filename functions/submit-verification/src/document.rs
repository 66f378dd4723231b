//! The document of a check: it is read by the vision model, or by Rekognition DetectText where only Rekognition compares the faces.

use chrono::NaiveDate;
use documents::{Checks, Declared, Fields, Hints, Matches, Reader, Reading};
use futures_util::future::try_join_all;
use serde::Serialize;
use shared::pocketbase::records::ProfileOverview;

use crate::compare::{CompareError, Comparison, Method, detect_text};
use crate::media::Photos;
use crate::rules::DocumentFindings;

/// Kinds of documents that prove an identity, as `documents` names them.
const IDENTITY_DOCUMENTS: [&str; 4] = ["passport", "national_id", "driver_license", "residence_permit"];

/// What was read on a document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Document {
    pub fields: Fields,
    pub checks: Checks,
    pub matches: Matches,
}

/// A document and what the rules need of it.
pub struct Judged {
    pub document: Document,
    pub findings: DocumentFindings,
}

/// Reads a document. Calls: one of the model per photo, at the same time, or one of Rekognition per photo.
///
/// # Errors
/// When a service is not configured, or gives no usable answer.
pub async fn read(
    comparison: &Comparison,
    reader: &Reader,
    photos: &Photos,
    today: NaiveDate,
) -> Result<Reading, CompareError> {
    let sides = std::iter::once(&photos.front).chain(&photos.back);
    match comparison.method {
        Method::OpenAiVision => {
            let sides = sides.map(async |photo| {
                let read = reader.read(&comparison.openai, ("image/jpeg", photo.clone()), &Hints::default()).await;
                read.map(|(reading, _)| reading).map_err(CompareError::of_model)
            });
            let mut sides = try_join_all(sides).await?.into_iter();
            let front = sides.next().unwrap_or_default();
            Ok(match sides.next() {
                Some(back) => front.with_back(back, today),
                None => front,
            })
        }
        Method::Rekognition => {
            let client = comparison.rekognition()?;
            let sides = try_join_all(sides.map(|photo| detect_text(client, photo))).await?;
            let lines = |place| sides.get(place).map(Vec::as_slice).unwrap_or_default();
            Ok(Reading::of_lines(lines(0), lines(1), today))
        }
    }
}

/// Computes what a reading says, and whether it is what the partner's backend declared. Nothing declared is sent to a service.
pub fn judge(reading: &Reading, profile: &ProfileOverview, today: NaiveDate) -> Judged {
    let declared = Declared {
        name: &profile.name,
        document_name: &profile.document_name,
        document_number: &profile.document_number,
        date_of_birth: &profile.declared_birth,
        country: &profile.country,
    };
    let fields = Fields::from(reading);
    let checks = documents::check(reading, &Hints::default(), today);
    let matches = documents::compare(reading, &declared, today);
    let (birth, expiry) = reading.dates(today);
    let findings = DocumentFindings {
        is_read: fields.name.is_some() && fields.document_number.is_some(),
        sides_differ: reading.sides_differ,
        has_dates: birth.is_some() && expiry.is_some(),
        is_identity_document: fields.document_type.as_deref().is_some_and(|kind| IDENTITY_DOCUMENTS.contains(&kind)),
        is_suspicious: reading.authenticity.trim().eq_ignore_ascii_case("suspicious"),
        checks: checks.clone(),
        matches,
    };
    Judged { document: Document { fields, checks, matches }, findings }
}
