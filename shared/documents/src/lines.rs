//! A reading of the lines of text that an OCR service detected.

use chrono::NaiveDate;

use crate::checks::alphanumerics;
use crate::mrz::{self, Mrz};
use crate::name;
use crate::reading::Reading;

/// The shortest line of a machine-readable zone, in characters (ICAO Doc 9303-5, 4.2: 30). Some are lost by OCR.
const SHORTEST_LINE: usize = 28;

impl Reading {
    /// The reading of lines of text, top to bottom, of the front and the back: what the machine-readable zone says. The name is taken over
    /// and the number only if they are printed on the front as well, beside the portrait. Other printed fields are not recognised.
    pub fn of_lines(front: &[String], back: &[String], today: NaiveDate) -> Self {
        let (zone, print): (Vec<_>, Vec<_>) = front.iter().chain(back).cloned().partition(|line| is_of_zone(line));
        let other_text = print.join("\n");
        let on_front = front.iter().filter(|line| !is_of_zone(line)).cloned().collect::<Vec<_>>().join("\n");
        let Ok(mrz) = mrz::read(&zone, today) else {
            return Self { mrz_lines: zone, other_text, ..Self::default() };
        };
        let full_name = format!("{} {}", mrz.given_names, mrz.surname);
        let is_printed = name::contains(&on_front, &full_name);
        let numbers: Vec<_> = on_front.split_whitespace().map(alphanumerics).collect();
        let has_number = numbers.contains(&alphanumerics(&mrz.document_number));
        Self {
            name: if is_printed { full_name.trim().to_owned() } else { String::new() },
            document_number: if has_number { mrz.document_number.clone() } else { String::new() },
            country: mrz.issuing_state.clone(),
            document_type: kind(&mrz).to_owned(),
            gender: mrz.gender.to_owned(),
            date_of_birth: mrz.date_of_birth.map(|day| day.to_string()).unwrap_or_default(),
            date_of_expiry: mrz.date_of_expiry.map(|day| day.to_string()).unwrap_or_default(),
            mrz_lines: zone,
            other_text,
            ..Self::default()
        }
    }
}

/// The kind of document by the code of its zone (ICAO Doc 9303-3, 4.2).
fn kind(mrz: &Mrz) -> &'static str {
    match mrz.document_code.chars().next() {
        Some('P') => "passport",
        Some('V') => "visa",
        Some('A' | 'C' | 'I') => "national_id",
        _ => "",
    }
}

/// Whether a line has the length and the fillers of a machine-readable zone.
fn is_of_zone(line: &str) -> bool {
    let line: String = line.chars().filter(|c| !c.is_whitespace()).collect();
    line.len() >= SHORTEST_LINE
        && line.contains('<')
        && line.bytes().all(|byte| byte == b'<' || byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mrz::tests::{TD3, day, lines};

    #[test]
    fn a_name_and_a_number_count_only_if_they_are_printed_too() {
        let read = |print: &[&str]| Reading::of_lines(&lines(&[print, TD3].concat()), &[], day("2026-11-21"));
        let whole = read(&["UTOPIA PASSPORT", "ERIKSSON", "ANNA MARIA", "Passport No. L898902C3"]);
        assert_eq!((whole.name.as_str(), whole.document_number.as_str()), ("ANNA MARIA ERIKSSON", "L898902C3"));
        assert_eq!((whole.document_type.as_str(), whole.date_of_birth.as_str()), ("passport", "1974-08-12"));
        let other = read(&["UTOPIA PASSPORT", "EVE EVIL", "No. X1"]);
        assert_eq!((other.name.as_str(), other.document_number.as_str()), ("", ""));
        assert_eq!(other.mrz_lines, lines(TD3));
        // What is printed on the back is not beside the portrait.
        let print = ["ERIKSSON", "ANNA MARIA", "L898902C3"];
        let swapped = Reading::of_lines(&lines(&["UTOPIA"]), &lines(&[&print, TD3].concat()), day("2026-11-21"));
        assert_eq!((swapped.name.as_str(), swapped.document_number.as_str()), ("", ""));
        let none = Reading::of_lines(&lines(&["a selfie", "with a T-shirt"]), &[], day("2026-11-21"));
        assert_eq!((none.mrz_lines.len(), none.other_text.as_str()), (0, "a selfie\nwith a T-shirt"));
    }
}
