//! Answer of the model: the fields that it read from a document, and their normal forms.

use chrono::NaiveDate;
use serde::Deserialize;
use unicode_normalization::UnicodeNormalization;
use unicode_security::confusable_detection::skeleton;

use crate::checks::alphanumerics;
use crate::{country, mrz, name};

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
    /// Adds what was read on the back of the document. The back of another document, or a sheet of paper, must lend nothing to the
    /// front: only the address, the machine-readable zone and other text are taken over, and, where the zone has the name that the front
    /// has, the fields that the front lacks. What contradicts the front is noted.
    pub fn with_back(mut self, back: Self, today: NaiveDate) -> Self {
        let zone = mrz::read(&back.mrz_lines, today).ok();
        let is_of_front = zone.is_some_and(|zone| {
            let same = name::matches_mrz(&self.name, &zone.surname, &zone.given_names, zone.name_truncated);
            zone.wrong_check_digits().is_empty() && same == Some(true)
        });
        let name_differs = !self.name.trim().is_empty()
            && !back.name.trim().is_empty()
            && !name::contains(&self.name, &back.name)
            && !name::contains(&back.name, &self.name);
        let text = |text: &str| text.to_owned();
        type Form = fn(&str) -> String;
        let number: Form = |number| alphanumerics(number);
        let fields: [(&mut String, &String, Form); 6] = [
            (&mut self.document_number, &back.document_number, number),
            (&mut self.country, &back.country, country::normalised),
            (&mut self.document_type, &back.document_type, document_type),
            (&mut self.gender, &back.gender, |text| gender(text).to_owned()),
            (&mut self.date_of_birth, &back.date_of_birth, |text| text.trim().to_owned()),
            (&mut self.date_of_expiry, &back.date_of_expiry, |text| text.trim().to_owned()),
        ];
        let mut differs = name_differs;
        for (front, back, form) in fields {
            match (front.trim(), back.trim()) {
                (_, "") => {}
                ("", back) if is_of_front => *front = text(back),
                ("", _) => {}
                (front, back) => differs |= form(front) != form(back),
            }
        }
        self.sides_differ |= differs;
        if self.address.trim().is_empty() {
            self.address = back.address;
        }
        if self.mrz_lines.is_empty() {
            self.mrz_lines = back.mrz_lines;
        }
        if back.authenticity.trim().eq_ignore_ascii_case("suspicious") {
            self.authenticity = back.authenticity;
        }
        self.other_text = [self.other_text, back.name, back.document_number, back.other_text].join("\n");
        self
    }

    /// What tells the document from all others, each in a form that is the same for texts that look alike: its numbers, printed and in the
    /// machine-readable zone, and the name with the date of birth.
    pub fn identities(&self, today: NaiveDate) -> Vec<String> {
        let zone = mrz::read(&self.mrz_lines, today).ok();
        let mut numbers = vec![self.document_number.clone()];
        if let Some(zone) = zone {
            numbers.push(zone.document_number);
            numbers.extend(zone.optional_data);
        }
        let mut identities: Vec<_> = numbers
            .iter()
            .map(|number| folded(number))
            .filter(|number| number.chars().count() >= SHORTEST_NUMBER)
            .collect();
        if let (false, (Some(birth), _)) = (self.name.trim().is_empty(), self.dates(today)) {
            let mut words: Vec<_> = self.name.split_whitespace().map(folded).filter(|word| !word.is_empty()).collect();
            words.sort_unstable();
            identities.push(format!("{} {birth}", words.join(" ")));
        }
        identities.sort_unstable();
        identities.dedup();
        identities
    }

    /// The dates of birth and of expiry: as printed, else as in the machine-readable zone.
    pub fn dates(&self, today: NaiveDate) -> (Option<NaiveDate>, Option<NaiveDate>) {
        let mrz = mrz::read(&self.mrz_lines, today).ok();
        let zone = |day: fn(&mrz::Mrz) -> Option<NaiveDate>| mrz.as_ref().and_then(day);
        (
            date(&self.date_of_birth).or_else(|| zone(|mrz| mrz.date_of_birth)),
            date(&self.date_of_expiry).or_else(|| zone(|mrz| mrz.date_of_expiry)),
        )
    }

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

/// The shortest text that tells a document from others, in characters.
const SHORTEST_NUMBER: usize = 2;

/// Letters and digits in a form that is the same for texts that look alike.
fn folded(text: &str) -> String {
    let text: String = text.nfkc().collect::<String>().to_uppercase();
    skeleton(&text).filter(|c| c.is_alphanumeric()).collect()
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
    fn a_back_lends_nothing_to_a_front_unless_its_zone_has_the_name() {
        let text = str::to_owned;
        let today = NaiveDate::from_ymd_opt(2026, 11, 21).unwrap();
        let front = Reading { name: text("Anna Maria Eriksson"), ..Reading::default() };
        let back = Reading {
            document_number: text("B1"),
            date_of_expiry: text("2034-04-15"),
            address: text("1 Street"),
            authenticity: text("suspicious"),
            ..Reading::default()
        };
        let both = front.clone().with_back(back.clone(), today);
        assert_eq!((&*both.document_number, &*both.date_of_expiry, &*both.address), ("", "", "1 Street"));
        assert_eq!((&*both.authenticity, both.sides_differ), ("suspicious", false));
        let zone =
            ["I<UTOD231458907<<<<<<<<<<<<<<<", "7408122F3404159UTO<<<<<<<<<<<2", "ERIKSSON<<ANNA<MARIA<<<<<<<<<<"];
        let with_zone = Reading { mrz_lines: zone.map(text).to_vec(), ..back.clone() };
        let both = front.clone().with_back(with_zone.clone(), today);
        assert_eq!((&*both.document_number, both.mrz_lines.len()), ("B1", 3));
        assert_eq!(both.identities(today), ["ANNA ERlKSSON MARlA 1974-08-12", "Bl", "D23l4589O"].map(text));
        let eve = Reading { name: text("Eve Evil"), ..Reading::default() };
        assert_eq!(eve.clone().with_back(with_zone, today).document_number, "");
        for (front, back, differs) in [
            (eve.clone(), Reading { name: text("Anna Eriksson"), ..Reading::default() }, true),
            (eve.clone(), Reading { name: text("EVIL EVE"), ..Reading::default() }, false),
            (Reading { document_number: text("B-1"), ..eve.clone() }, back.clone(), false),
            (Reading { document_number: text("B2"), ..eve.clone() }, back.clone(), true),
            (Reading { date_of_expiry: text("2020-01-01"), ..eve.clone() }, back.clone(), true),
            (
                Reading { document_type: text("passport"), ..eve },
                Reading { document_type: text("visa"), ..Reading::default() },
                true,
            ),
        ] {
            assert_eq!(front.with_back(back, today).sides_differ, differs);
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
