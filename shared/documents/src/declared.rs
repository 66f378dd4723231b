//! Comparison of a reading with what the partner's backend declared of the person.

use chrono::NaiveDate;
use serde::Serialize;

use crate::checks::{alphanumerics, compared, same_day};
use crate::reading::{Reading, date};
use crate::{country, mrz, name};

/// What the partner's backend declared of a person. A blank value was not declared.
#[derive(Debug, Clone, Copy, Default)]
pub struct Declared<'a> {
    /// The name, or words of it.
    pub name: &'a str,
    /// The name on the document, if the partner declared it apart from the name.
    pub document_name: &'a str,
    /// The document's number.
    pub document_number: &'a str,
    /// The date of birth, `YYYY-MM-DD`; a time may follow.
    pub date_of_birth: &'a str,
    /// The country that issued the document, or the person's nationality: a code or a name.
    pub country: &'a str,
}

/// Whether a declared value is the one on the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    /// It is.
    Agrees,
    /// The document has another value.
    Differs,
    /// It was not read on the document.
    NotRead,
    /// The partner declared none.
    NotDeclared,
}

/// Agreement of each declared value with the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // The names say it.
pub struct Matches {
    pub name: Agreement,
    pub document_number: Agreement,
    pub date_of_birth: Agreement,
    pub country: Agreement,
}

impl Matches {
    /// Whether a declared value differs from the document, or was not read there.
    pub fn is_contradicted(&self) -> bool {
        [self.name, self.document_number, self.date_of_birth, self.country]
            .iter()
            .any(|agreement| matches!(agreement, Agreement::Differs | Agreement::NotRead))
    }
}

/// Compares a reading with what was declared. Printed fields count; the machine-readable zone counts where a printed field was not
/// read. Whether the two agree is a check of its own. A country agrees with the printed country, the issuing state of the zone, or
/// its nationality.
pub fn compare(reading: &Reading, declared: &Declared<'_>, today: NaiveDate) -> Matches {
    let mrz = mrz::read(&reading.mrz_lines, today).ok();
    let mrz = mrz.as_ref();
    let agreement = |declared: &str, same: &dyn Fn(&str) -> Option<bool>| match declared.trim() {
        "" => Agreement::NotDeclared,
        declared => match same(declared) {
            Some(true) => Agreement::Agrees,
            Some(false) => Agreement::Differs,
            None => Agreement::NotRead,
        },
    };
    Matches {
        name: {
            let same = |declared: &str| {
                let printed = compared(&reading.name, |name| name::contains(name, declared));
                let zone = || mrz.map(|mrz| name::contains(&format!("{} {}", mrz.surname, mrz.given_names), declared));
                printed.or_else(zone)
            };
            let both = [declared.name, declared.document_name].map(|name| agreement(name, &same));
            let of = |wanted: Agreement| both.contains(&wanted).then_some(wanted);
            of(Agreement::Differs)
                .or(of(Agreement::NotRead))
                .or(of(Agreement::Agrees))
                .unwrap_or(Agreement::NotDeclared)
        },
        document_number: agreement(declared.document_number, &|declared| {
            let declared = alphanumerics(declared);
            let same = |number: &str| !declared.is_empty() && alphanumerics(number) == declared;
            compared(&reading.document_number, same).or_else(|| mrz.map(|mrz| same(&mrz.document_number)))
        }),
        date_of_birth: agreement(declared.date_of_birth, &|declared| {
            let day = date(declared);
            let printed = compared(&reading.date_of_birth, |printed| day.is_some() && date(printed) == day);
            printed.or_else(|| same_day(declared, mrz?.date_of_birth))
        }),
        country: agreement(declared.country, &|declared| {
            let declared = country::normalised(declared);
            let zone = mrz.map(|mrz| [mrz.issuing_state.as_str(), mrz.nationality.as_str()]);
            let read: Vec<_> = std::iter::once(reading.country.as_str())
                .chain(zone.into_iter().flatten())
                .filter(|country| !country.trim().is_empty())
                .collect();
            let same = |country: &&str| country::normalised(country).eq_ignore_ascii_case(&declared);
            (!read.is_empty()).then(|| read.iter().any(same))
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::mrz::tests::{TD3, day, lines};
    use Agreement::{Agrees, Differs, NotDeclared, NotRead};

    const DECLARED: Declared<'_> = Declared {
        name: "Anna Eriksson",
        document_name: "",
        document_number: "l898902-c3",
        date_of_birth: "1974-08-12",
        country: "Utopia",
    };

    fn printed() -> Reading {
        Reading {
            name: "ANNA MARIA ERIKSSON".to_owned(),
            document_number: "L898902C3".to_owned(),
            date_of_birth: "1974-08-12".to_owned(),
            country: "Utopia".to_owned(),
            ..Reading::default()
        }
    }

    fn compared_with(reading: &Reading, declared: Declared<'_>) -> [Agreement; 4] {
        let matches = compare(reading, &declared, day("2026-11-21"));
        [matches.name, matches.document_number, matches.date_of_birth, matches.country]
    }

    #[test]
    fn the_print_or_else_the_zone_is_compared() {
        assert_eq!(compared_with(&printed(), DECLARED), [Agrees; 4]);
        assert_eq!(compared_with(&printed(), Declared::default()), [NotDeclared; 4]);
        assert_eq!(compared_with(&Reading::default(), DECLARED), [NotRead; 4]);
        let zone = Reading { mrz_lines: lines(TD3), ..Reading::default() };
        let declared = Declared { country: "UTO", ..DECLARED };
        assert_eq!(compared_with(&zone, declared), [Agrees; 4]);
        // The print counts, although the zone agrees.
        let forged = Reading { mrz_lines: lines(TD3), name: "Eve Evil".to_owned(), ..printed() };
        assert_eq!(compared_with(&forged, DECLARED), [Differs, Agrees, Agrees, Agrees]);
    }

    #[test]
    fn other_values_differ() {
        let john = Declared {
            name: "John Doe",
            document_number: "X1234567",
            date_of_birth: "1980-01-01",
            country: "US",
            ..DECLARED
        };
        assert_eq!(compared_with(&printed(), john), [Differs; 4]);
        assert!(compare(&printed(), &john, day("2026-11-21")).is_contradicted());
        assert!(!compare(&printed(), &Declared::default(), day("2026-11-21")).is_contradicted());
        let marks = Declared { name: "--", document_number: "--", date_of_birth: "soon", country: "--", ..DECLARED };
        let other = Declared { document_name: "Eve Evil", ..DECLARED };
        assert_eq!(compared_with(&printed(), other), [Differs, Agrees, Agrees, Agrees]);
        assert_eq!(compared_with(&printed(), marks), [Differs; 4]);
    }
}
