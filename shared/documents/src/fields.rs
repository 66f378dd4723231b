//! The fields of a document in normal form.

use chrono::NaiveDate;
use serde::Serialize;

use crate::country;
use crate::reading::{Reading, date, document_type, gender};

/// Fields that were read from a document, in normal form. A field that was not read is `None`. The lengths are those that the
/// verification history takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Fields {
    /// The full name.
    pub name: Option<String>,
    /// The number as printed.
    pub document_number: Option<String>,
    /// The issuing country: an ISO 3166-1 alpha-2 code where it has one.
    pub country: Option<String>,
    /// `passport`, `national_id`, `driver_license`, `residence_permit`, `visa`, or another kind in lower case.
    pub document_type: Option<String>,
    /// The address.
    pub address: Option<String>,
    /// `male`, `female` or `unknown`.
    pub gender: Option<String>,
    /// The date of birth.
    pub date_of_birth: Option<NaiveDate>,
    /// The last day of validity.
    pub date_of_expiry: Option<NaiveDate>,
}

/// A text that is not blank, at most `max` characters of it. Longer text is not that of a document.
fn given(text: &str, max: usize) -> Option<String> {
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(max).collect();
    Some(text).filter(|text| !text.is_empty())
}

impl From<&Reading> for Fields {
    fn from(reading: &Reading) -> Self {
        Self {
            name: given(&reading.name, 255),
            document_number: given(&reading.document_number, 128),
            country: given(&country::normalised(&reading.country), 128),
            document_type: given(&document_type(&reading.document_type), 64),
            address: given(&reading.address, 1_024),
            gender: given(gender(&reading.gender), 32),
            date_of_birth: date(&reading.date_of_birth),
            date_of_expiry: date(&reading.date_of_expiry),
        }
    }
}
