//! Parser of the machine-readable zone (MRZ) of ICAO Doc 9303: TD1 (part 5), TD2 (6), TD3 (4), MRV-A and MRV-B (7).

use ::mrz::{Format, MrzData, MrzDate};
use chrono::{Datelike, NaiveDate};

use crate::reading::gender;

/// Fields of an MRZ. Texts are as in the MRZ, without fillers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mrz {
    /// One or two letters: `P` for a passport, `V` for a visa, `A`, `C` or `I` for other documents.
    pub document_code: String,
    /// The issuing state or organization, as a code of Doc 9303-3, 5.
    pub issuing_state: String,
    /// The holder's nationality, a code of the same list.
    pub nationality: String,
    /// The primary identifier.
    pub surname: String,
    /// The secondary identifier; may be empty.
    pub given_names: String,
    /// Whether the name fills its field, so that words may be cut short or missing (Doc 9303-3, 4.6).
    pub name_truncated: bool,
    /// The document number. Of a long one, the rest is taken from the optional data (Doc 9303-5, 4.2.2; 9303-6, 4.2.2).
    pub document_number: String,
    /// The optional data fields that are not empty.
    pub optional_data: Vec<String>,
    /// `male`, `female` or `unknown`.
    pub gender: &'static str,
    /// The latest matching day that is not after today, since an MRZ has two digits of the year. A holder of more than a
    /// hundred years gets a date a century too late. `None` when a part is unknown or impossible.
    pub date_of_birth: Option<NaiveDate>,
    /// The matching day nearest to today, on the assumption that no document is valid for fifty years. `None` when a part is
    /// unknown or impossible.
    pub date_of_expiry: Option<NaiveDate>,
    /// Whether a date is known and is not a calendar date, such as `741345`.
    pub has_impossible_date: bool,
    /// The check digits of the format by name, and whether each is right (Doc 9303-3, 4.9).
    pub check_digits: Vec<(&'static str, bool)>,
}

/// Reason why there is no [`Mrz`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotRead {
    /// There are no lines.
    Absent,
    /// The lines have a national format that Doc 9303 does not define: that of French identity cards before 2021.
    National,
    /// The lines have no format of Doc 9303.
    Unrecognised,
}

/// Parses the lines of an MRZ as a model transcribed them. Case, spaces, empty lines and the number of fillers after the name,
/// which no check digit covers, are ignored. Other errors are not repaired, since a repair could hide a forgery.
///
/// # Errors
/// [`NotRead`] when there are no lines of a known format.
pub fn read(lines: &[String], today: NaiveDate) -> Result<Mrz, NotRead> {
    // A fourth line, which no format has, shows that there are too many.
    let lines: Vec<String> =
        lines.iter().flat_map(|line| line.lines()).map(cleaned).filter(|line| !line.is_empty()).take(4).collect();
    let data = match lines.as_slice() {
        [] => return Err(NotRead::Absent),
        [name, data] if data.len() == 36 && name.len() == 36 && name.starts_with("IDFRA") => {
            return Err(NotRead::National);
        }
        [name, data] => match (name.starts_with('V'), data.len()) {
            (false, 44) => ::mrz::parse_td3(&padded(name, 44), data),
            (true, 44) => ::mrz::parse_mrv_a(&padded(name, 44), data),
            (false, 36) => ::mrz::parse_td2(&padded(name, 36), data),
            (true, 36) => ::mrz::parse_mrv_b(&padded(name, 36), data),
            _ => return Err(NotRead::Unrecognised),
        },
        [document, holder, name] => ::mrz::parse_td1(document, holder, &padded(name, 30)),
        _ => return Err(NotRead::Unrecognised),
    };
    data.map(|data| Mrz::new(data, today)).map_err(|_| NotRead::Unrecognised)
}

impl Mrz {
    fn new(data: MrzData, today: NaiveDate) -> Self {
        let name_line =
            if data.format == Format::Td1 { data.mrz_lines.lines().last() } else { data.mrz_lines.lines().next() };
        let name_truncated = name_line.is_some_and(|line| !line.ends_with('<'));
        let checks = &data.checks;
        // The library also accepts a wrong encoding of long numbers that its older releases wrote. No issuer uses it.
        let number = checks.document_number.map(|right| right && !data.document_number_legacy_encoding);
        let check_digits = [
            ("document_number", number),
            ("date_of_birth", checks.date_of_birth),
            ("date_of_expiry", checks.date_of_expiry),
            ("personal_number", checks.personal_number),
            ("composite", checks.composite),
        ];
        let birth = day(data.date_of_birth, today);
        let expiry = day(data.date_of_expiry, today);
        Self {
            document_number: data.full_document_number().to_owned(),
            name_truncated,
            gender: gender(&data.sex.to_string()),
            has_impossible_date: birth.is_err() || expiry.is_err(),
            date_of_birth: birth.unwrap_or_default().into_iter().rfind(|day| *day <= today),
            date_of_expiry: expiry.unwrap_or_default().into_iter().min_by_key(|day| (*day - today).abs()),
            check_digits: check_digits.into_iter().filter_map(|(name, right)| Some((name, right?))).collect(),
            optional_data: [data.optional_data_1, data.optional_data_2].into_iter().flatten().collect(),
            document_code: data.document_type,
            issuing_state: data.issuing_country,
            nationality: data.nationality,
            surname: data.surname,
            given_names: data.given_names,
        }
    }

    /// The names of the check digits that are wrong.
    pub fn wrong_check_digits(&self) -> Vec<&'static str> {
        self.check_digits.iter().filter(|(_, right)| !right).map(|(name, _)| *name).collect()
    }
}

/// Days of the previous, the current and the next century that a date may stand for, in order. None when a part is unknown,
/// which issuers write as fillers or zeros; an error when it is not a calendar date.
fn day(field: MrzDate, today: NaiveDate) -> Result<Vec<NaiveDate>, ()> {
    let (MrzDate::Calendar(read) | MrzDate::OutOfCalendar(read)) = field else {
        return if matches!(field, MrzDate::Unknown | MrzDate::PartiallyUnknown(_)) { Ok(vec![]) } else { Err(()) };
    };
    if read.month == 0 || read.day == 0 {
        return Ok(vec![]);
    }
    let year = today.year() - today.year().rem_euclid(100) + read.year.rem_euclid(100);
    let days: Vec<NaiveDate> = [year - 100, year, year + 100]
        .into_iter()
        .filter_map(|year| NaiveDate::from_ymd_opt(year, read.month, read.day))
        .collect();
    if days.is_empty() { Err(()) } else { Ok(days) }
}

/// A line in capitals and without spaces. Quotation marks become the fillers that they resemble.
fn cleaned(line: &str) -> String {
    let line: String = line.chars().filter(|c| !c.is_whitespace()).collect();
    line.to_ascii_uppercase().replace(['«', '≪'], "<<").replace('‹', "<")
}

/// The line that ends with the name, filled up to the width of its format. A line that is too long stays so.
fn padded(name: &str, width: usize) -> String {
    format!("{:<<width$}", name.trim_end_matches('<'))
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    pub(crate) const TD3: &[&str] =
        &["P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L898902C36UTO7408122F1204159ZE184226B<<<<<10"];
    const TD2: &[&str] = &["I<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<", "D231458907UTO7408122F1204159<<<<<<<6"];
    const TD1: &[&str] =
        &["I<UTOD231458907<<<<<<<<<<<<<<<", "7408122F1204159UTO<<<<<<<<<<<6", "ERIKSSON<<ANNA<MARIA<<<<<<<<<<"];
    /// The long document number of Doc 9303-5.
    const LONG: &[&str] =
        &["I<UTOD23145890<7349<<<<<<<<<<<", "3407127M9507122UTO<<<<<<<<<<<2", "STEVENSON<<PETER<JOHN<<<<<<<<<"];
    const MRV_A: &[&str] =
        &["V<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L898902C<3UTO6908061F9406236ZE184226B<<<<<<<"];
    const MRV_B: &[&str] = &["V<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<", "L898902C<3UTO6908061F9406236ZE184226"];
    const GERMAN: &[&str] =
        &["P<D<<MUSTERMANN<<ERIKA<<<<<<<<<<<<<<<<<<<<<<", "C01X00T478D<<6408125F2702283<<<<<<<<<<<<<<<4"];

    pub(crate) fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    pub(crate) fn day(text: &str) -> NaiveDate {
        crate::reading::date(text).unwrap()
    }

    fn parsed(text: &[&str]) -> Result<Mrz, NotRead> {
        read(&lines(text), day("2026-11-21"))
    }

    #[test]
    fn the_specimens_of_doc_9303_are_read_and_their_check_digits_are_right() {
        for (zone, number, surname, given, birth, expiry, digits) in [
            (TD3, "L898902C3", "ERIKSSON", "ANNA MARIA", "1974-08-12", "2012-04-15", 5),
            (TD2, "D23145890", "ERIKSSON", "ANNA MARIA", "1974-08-12", "2012-04-15", 4),
            (TD1, "D23145890", "ERIKSSON", "ANNA MARIA", "1974-08-12", "2012-04-15", 4),
            (LONG, "D23145890734", "STEVENSON", "PETER JOHN", "1934-07-12", "1995-07-12", 4),
            (MRV_A, "L898902C", "ERIKSSON", "ANNA MARIA", "1969-08-06", "1994-06-23", 3),
            (MRV_B, "L898902C", "ERIKSSON", "ANNA MARIA", "1969-08-06", "1994-06-23", 3),
            (GERMAN, "C01X00T47", "MUSTERMANN", "ERIKA", "1964-08-12", "2027-02-28", 5),
        ] {
            let mrz = parsed(zone).unwrap();
            assert_eq!(
                (mrz.document_number.as_str(), mrz.surname.as_str(), mrz.given_names.as_str()),
                (number, surname, given)
            );
            assert_eq!((mrz.date_of_birth, mrz.date_of_expiry), (Some(day(birth)), Some(day(expiry))));
            assert_eq!((mrz.wrong_check_digits(), mrz.check_digits.len()), (vec![], digits), "{zone:?}");
            assert!(!mrz.has_impossible_date && !mrz.name_truncated);
        }
        let mrz = parsed(TD3).unwrap();
        assert_eq!((mrz.document_code.as_str(), mrz.issuing_state.as_str(), mrz.gender), ("P", "UTO", "female"));
        assert_eq!(mrz.optional_data, ["ZE184226B"]);
        assert_eq!(parsed(GERMAN).unwrap().nationality, "D");
    }

    #[test]
    fn case_spaces_and_the_fillers_after_the_name_are_ignored() {
        let zone = ["", " p<uto eriksson«anna‹maria ", "L898902C3 6UTO 7408122F 1204159 ZE184226B<<<<<10\n"];
        assert_eq!(parsed(&zone), parsed(TD3));
        assert_eq!(parsed(&[&TD3.join("\n")]), parsed(TD3));
        assert_eq!(parsed(&[&format!("{}<<<", TD3[0]), TD3[1]]), parsed(TD3));
        assert!(parsed(&["P<UTONILAVADHANANANDA<<CHAYAPA<DEJTHAMRONG<K", TD3[1]]).unwrap().name_truncated);
    }

    #[test]
    fn every_change_of_one_checked_character_is_detected() {
        let value = |c: char| c.to_digit(36).unwrap_or(0) % 10;
        let checked = (0..10).chain(13..20).chain(21..44);
        for at in checked {
            let original = TD3[1].chars().nth(at).unwrap();
            for other in ('0'..='9').chain('A'..='Z').chain(['<']) {
                let data: String = TD3[1].chars().enumerate().map(|(i, c)| if i == at { other } else { c }).collect();
                let noticed = !parsed(&[TD3[0], &data]).is_ok_and(|mrz| mrz.wrong_check_digits().is_empty());
                // Check digits are sums modulo ten, and cannot tell characters of the same value modulo ten apart.
                if value(other) != value(original) {
                    assert!(noticed, "{other} at {at}");
                }
            }
        }
    }

    #[test]
    fn wrong_check_digits_are_named() {
        for (at, wrong) in [
            (9, &["document_number", "composite"][..]),
            (19, &["date_of_birth", "composite"]),
            (27, &["date_of_expiry", "composite"]),
            (42, &["personal_number", "composite"]),
            (43, &["composite"]),
        ] {
            let data: String = TD3[1].chars().enumerate().map(|(i, c)| if i == at { '8' } else { c }).collect();
            assert_eq!(parsed(&[TD3[0], &data]).unwrap().wrong_check_digits(), wrong);
        }
    }

    #[test]
    fn the_century_of_a_two_digit_year_depends_on_today() {
        let with = |birth: &str, expiry: &str| {
            let data = format!("L898902C36UTO{birth}2F{expiry}9ZE184226B<<<<<10");
            let mrz = parsed(&[TD3[0], &data]).unwrap();
            (mrz.date_of_birth, mrz.date_of_expiry, mrz.has_impossible_date)
        };
        for (birth, expiry, days) in [
            ("261121", "261121", (Some(day("2026-11-21")), Some(day("2026-11-21")), false)),
            ("261122", "360101", (Some(day("1926-11-22")), Some(day("2036-01-01")), false)),
            ("000229", "760101", (Some(day("2000-02-29")), Some(day("2076-01-01")), false)),
            ("000229", "770101", (Some(day("2000-02-29")), Some(day("1977-01-01")), false)),
            ("74<<<<", "<<<<<<", (None, None, false)),
            ("740000", "120400", (None, None, false)),
            ("741345", "120415", (None, Some(day("2012-04-15")), true)),
            ("740812", "12O415", (Some(day("1974-08-12")), None, true)),
            ("010229", "120415", (None, Some(day("2012-04-15")), true)),
        ] {
            assert_eq!(with(birth, expiry), days, "{birth} {expiry}");
        }
    }

    #[test]
    fn lines_of_other_formats_are_refused() {
        let long = "<".repeat(10_000);
        let cards = "🪪".repeat(44);
        for (zone, why) in [
            (&[][..], NotRead::Absent),
            (&["", " \n\t "], NotRead::Absent),
            (&["IDFRABERTHIER<<<<<<<<<<<<<<<<<<92C001", "8806923102858CORINNE<<<<<<<6512068F6"], NotRead::Unrecognised),
            (&["IDFRABERTHIER<<<<<<<<<<<<<<<<<92C001", "8806923102858CORINNE<<<<<<<6512068F6"], NotRead::National),
            (&["D1NLD11234567890123456789012<5"], NotRead::Unrecognised),
            (&[TD3[0]], NotRead::Unrecognised),
            (&[TD3[1], TD3[0]], NotRead::Unrecognised),
            (&[TD3[0], TD3[1], TD3[1]], NotRead::Unrecognised),
            (&[TD3[0], TD3[1], TD3[1], TD3[1], TD3[1]], NotRead::Unrecognised),
            (&[TD1[0], TD1[1]], NotRead::Unrecognised),
            (&[&long, &long], NotRead::Unrecognised),
            (&[TD3[0], &long], NotRead::Unrecognised),
            (&[&cards, TD3[1]], NotRead::Unrecognised),
            (&[TD3[0], &cards], NotRead::Unrecognised),
            (&["É".repeat(22).as_str(), "É".repeat(22).as_str()], NotRead::Unrecognised),
            (&[TD3[0], "<".repeat(44).as_str()], NotRead::Unrecognised),
            (&["<".repeat(30).as_str(); 3], NotRead::Unrecognised),
            (&["\0", "\u{202e}", "ß"], NotRead::Unrecognised),
        ] {
            assert_eq!(parsed(zone), Err(why), "{zone:?}");
        }
    }
}
