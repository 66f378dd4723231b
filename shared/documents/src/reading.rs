//! Answer of the model: the fields that it read from a document, and their normal forms.

use chrono::NaiveDate;
use serde::Deserialize;

/// Fields that the model read from a document, as printed. A field that cannot be read is empty. The answer has a strict
/// schema, so that a missing field is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Reading {
    /// The holder's full name.
    pub name: String,
    /// The document's number.
    pub document_number: String,
    /// The issuing country: a code or a name.
    pub country: String,
    /// The kind of document, in any form that [`document_type`] accepts.
    pub document_type: String,
    /// The holder's address.
    pub address: String,
    /// The holder's sex, in any form that [`gender`] accepts.
    pub gender: String,
    /// The holder's date of birth, `YYYY-MM-DD`.
    pub date_of_birth: String,
    /// The last day on which the document is valid, `YYYY-MM-DD`.
    pub date_of_expiry: String,
    /// The model's opinion of the document's authenticity. No check reads it.
    pub authenticity: String,
    /// The model's reasons for its opinion. No check reads them.
    pub authenticity_reasons: Vec<String>,
    /// The lines of the machine-readable zone, top to bottom.
    pub mrz_lines: Vec<String>,
    /// All other text that was read, on the document or beside it. No check of the document reads it.
    pub other_text: String,
    /// Whether the back contradicts the front.
    #[serde(skip)]
    pub sides_differ: bool,
}

impl Reading {
    /// All text of the reading: that of the document, and the model's own.
    pub fn text(&self) -> String {
        let fields = [
            &self.name,
            &self.document_number,
            &self.country,
            &self.document_type,
            &self.address,
            &self.gender,
            &self.date_of_birth,
            &self.date_of_expiry,
            &self.other_text,
        ];
        let lines = fields.into_iter().chain(&self.mrz_lines).map(String::as_str);
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Parses a calendar date written `YYYY-MM-DD`. A time may follow after a space or a `T`, as in PocketBase's
/// `1990-01-15 00:00:00.000Z`.
pub fn date(text: &str) -> Option<NaiveDate> {
    let (day, rest) = text.trim().split_at_checked("YYYY-MM-DD".len())?;
    let time = rest.strip_prefix([' ', 'T']);
    let well_formed = match time {
        Some(time) => !time.is_empty() && time.chars().all(|c| matches!(c, '0'..='9' | ':' | '.' | '+' | '-' | 'Z')),
        None => rest.is_empty(),
    };
    let date = NaiveDate::parse_from_str(day, "%Y-%m-%d").ok()?;
    // The parser also accepts signs, spaces and missing zeros.
    (well_formed && date.to_string() == day).then_some(date)
}

/// Normal form of a sex: `male`, `female` or `unknown`. The text has one or more words or letters for it ("M", "K/F", "Female",
/// the `X` and `<` of ICAO Doc 9303-4, 4.1.1.1). Empty for an empty text.
pub fn gender(text: &str) -> &'static str {
    if text.trim().is_empty() {
        return "";
    }
    let text = text.to_lowercase();
    let said = |words: &[&str]| text.split(|c: char| !c.is_alphabetic()).any(|word| words.contains(&word));
    match (said(&["m", "male", "man"]), said(&["f", "female", "woman"])) {
        (true, false) => "male",
        (false, true) => "female",
        _ => "unknown",
    }
}

/// Normal form of a kind of document: `passport`, `national_id`, `driver_license`, `residence_permit` or `visa` for their usual
/// English names; for any other text its words in lower case, joined by `_`.
pub fn document_type(text: &str) -> String {
    let text = text.to_lowercase().replace(['\'', '’'], "").replace("licence", "license");
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let words = words.join("_");
    match words.as_str() {
        "p"
        | "e_passport"
        | "epassport"
        | "biometric_passport"
        | "travel_passport"
        | "international_passport"
        | "diplomatic_passport"
        | "official_passport"
        | "service_passport" => "passport".to_owned(),
        "id"
        | "id_card"
        | "idcard"
        | "id_document"
        | "eid"
        | "eid_card"
        | "national_id_card"
        | "national_identity"
        | "national_identity_card"
        | "national_identification_card"
        | "identity"
        | "identity_card"
        | "identity_document"
        | "identification"
        | "identification_card"
        | "citizen_card"
        | "nid"
        | "nic" => "national_id".to_owned(),
        "driver"
        | "driver_licenses"
        | "drivers_license"
        | "driving_license"
        | "driver_permit"
        | "drivers_permit"
        | "driving_permit"
        | "driver_license_card"
        | "dl" => "driver_license".to_owned(),
        "residence_card" | "resident_permit" | "resident_card" | "residency_permit" | "permanent_resident_card" => {
            "residence_permit".to_owned()
        }
        _ => words,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_calendar_dates_are_accepted() {
        for text in ["1990-01-15", " 1990-01-15 ", "1990-01-15 00:00:00.000Z", "1990-01-15T10:00:00+02:00"] {
            assert_eq!(date(text), NaiveDate::from_ymd_opt(1990, 1, 15), "{text}");
        }
        assert!(date("2000-02-29").is_some());
        for text in [
            "",
            "1990",
            "1990-1-15",
            "1990-02-30",
            "1900-02-29",
            "1990-00-00",
            "+199-01-15",
            "-199-01-15",
            "15.01.1990",
            "15-01-1990",
            "1990-01-15x",
            "1990-01-15T",
            "1990-01-15 is genuine",
            "１９９０-01-15",
            "1990-01-1é",
            "🪪🪪🪪🪪",
        ] {
            assert_eq!(date(text), None, "{text}");
        }
    }

    #[test]
    fn genders_are_normalised() {
        for (text, form) in [
            ("M", "male"),
            ("male", "male"),
            ("M / MALE", "male"),
            ("F", "female"),
            ("Female", "female"),
            ("K/F", "female"),
            ("X", "unknown"),
            ("<", "unknown"),
            ("M/F", "unknown"),
            ("mal", "unknown"),
            ("性别", "unknown"),
            ("", ""),
            ("  ", ""),
        ] {
            assert_eq!(gender(text), form, "{text}");
        }
    }

    #[test]
    fn kinds_of_document_are_normalised() {
        for (text, form) in [
            ("Passport", "passport"),
            ("PASSPORT", "passport"),
            ("passport card", "passport_card"),
            ("ID card", "national_id"),
            ("National-ID", "national_id"),
            ("Identity Card", "national_id"),
            ("driver's licence", "driver_license"),
            ("Driver’s License", "driver_license"),
            ("driving_license", "driver_license"),
            ("driver_license", "driver_license"),
            ("Residence permit", "residence_permit"),
            ("visa", "visa"),
            ("Library card!", "library_card"),
            ("", ""),
        ] {
            assert_eq!(document_type(text), form, "{text}");
        }
    }

    #[test]
    fn an_answer_with_a_missing_field_is_refused() {
        let whole = serde_json::json!({
            "name": "", "document_number": "", "country": "", "document_type": "", "address": "", "gender": "",
            "date_of_birth": "", "date_of_expiry": "", "authenticity": "", "authenticity_reasons": [], "mrz_lines": [],
            "other_text": "",
        });
        assert_eq!(serde_json::from_value::<Reading>(whole.clone()).unwrap(), Reading::default());
        let mut short = whole;
        short.as_object_mut().unwrap().remove("name");
        assert!(serde_json::from_value::<Reading>(short).is_err());
    }
}
