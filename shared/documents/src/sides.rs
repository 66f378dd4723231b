//! Both sides of a document as one reading, and what tells a document from all others.

use chrono::NaiveDate;
use unicode_normalization::UnicodeNormalization;
use unicode_security::confusable_detection::skeleton;

use crate::checks::alphanumerics;
use crate::reading::{Reading, date, document_type, gender};
use crate::{country, mrz, name};

/// The shortest text that tells a document from others, in characters.
const SHORTEST_NUMBER: usize = 2;

/// Letters and digits in a form that is the same for texts that look alike.
fn folded(text: &str) -> String {
    let text: String = text.nfkc().collect::<String>().to_uppercase();
    skeleton(&text).filter(|c| c.is_alphanumeric()).collect()
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
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

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
}
