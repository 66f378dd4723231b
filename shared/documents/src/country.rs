//! Country names and codes, normalised to ISO 3166-1 alpha-2.

use std::{collections::HashMap, sync::LazyLock};

use ::mrz::TransliterationStyle::Simple;
use unicode_normalization::UnicodeNormalization;

/// Common names that neither ISO 3166-1 nor ICAO Doc 9303-3, 5 lists. The order and case of words do not matter.
const ALIASES: &[(&str, &str)] = &[
    ("America", "US"),
    ("Bosnia", "BA"),
    ("Britain", "GB"),
    ("Brunei", "BN"),
    ("Burma", "MM"),
    ("Cape Verde", "CV"),
    ("DPRK", "KP"),
    ("DR Congo", "CD"),
    ("DRC", "CD"),
    ("East Timor", "TL"),
    ("England", "GB"),
    ("Falkland Islands", "FK"),
    ("Great Britain", "GB"),
    ("Hellenic Republic", "GR"),
    ("Holland", "NL"),
    ("Ivory Coast", "CI"),
    ("Kyrgyz Republic", "KG"),
    ("Laos", "LA"),
    ("Lao", "LA"),
    ("Macau", "MO"),
    ("Macedonia", "MK"),
    ("Micronesia", "FM"),
    ("North Korea", "KP"),
    ("Northern Ireland", "GB"),
    ("PRC", "CN"),
    // Without this line, "China" would remain after the form of government is left out.
    ("Republic of China", "TW"),
    ("Republic of China Taiwan", "TW"),
    ("ROC", "TW"),
    ("Russia", "RU"),
    ("Scotland", "GB"),
    ("Slovak Republic", "SK"),
    ("South Korea", "KR"),
    ("Swaziland", "SZ"),
    ("Swiss Confederation", "CH"),
    ("Syria", "SY"),
    ("UAE", "AE"),
    ("UK", "GB"),
    ("US of A", "US"),
    ("United States", "US"),
    ("Vatican", "VA"),
    ("Vatican City", "VA"),
    ("Vatican City State", "VA"),
    ("Vietnam", "VN"),
    ("Wales", "GB"),
];

/// Words that are ignored in names, since spellings differ in them.
const PARTICLES: &[&str] = &["AND", "OF", "THE"];

/// Words for a form of government. They are left out when a name is unknown with them: "Republic of Poland" is "Poland".
const FORMS: &[&str] = &[
    "ARAB",
    "COMMONWEALTH",
    "DEMOCRATIC",
    "DUCHY",
    "FEDERAL",
    "FEDERATIVE",
    "GRAND",
    "HASHEMITE",
    "ISLAMIC",
    "KINGDOM",
    "PEOPLES",
    "PRINCIPALITY",
    "REPUBLIC",
    "SOCIALIST",
    "STATE",
    "SULTANATE",
];

/// Alpha-2 codes by the [`key`] of each known English name.
static NAMES: LazyLock<HashMap<String, &'static str>> = LazyLock::new(|| {
    let iso = rust_iso3166::ALL.iter().map(|country| (country.name, country.alpha2));
    let icao = ::mrz::codes().iter().chain(::mrz::alternate_names()).filter_map(|&(a, b)| {
        // One table holds (code, name), the other (name, code). Every name is longer than its code.
        let (code, name) = if a.len() < b.len() { (a, b) } else { (b, a) };
        Some((name, alpha2(code)?))
    });
    icao.chain(iso).chain(ALIASES.iter().copied()).map(|(name, code)| (key(name, &[]), code)).collect()
});

/// ISO 3166-1 alpha-2 code of a country: of an alpha-2, alpha-3 or numeric code, an English name, or a code of ICAO Doc
/// 9303-3, 5 that stands for a country (`D`, `GBN`, `RKS`). Any other text is returned trimmed.
///
/// Kosovo is `XK`, a user-assigned code of ISO 3166-1 in common use.
pub fn normalised(text: &str) -> String {
    let text = text.trim();
    // Also accepts "U.S.A.", and `D<<` with the fillers of an MRZ.
    let code = text.trim_end_matches('<').replace('.', "").to_ascii_uppercase();
    alpha2(&code)
        .or_else(|| NAMES.get(&key(text, &[])).copied())
        .or_else(|| NAMES.get(&key(text, FORMS)).copied())
        .map_or_else(|| text.to_owned(), str::to_owned)
}

/// The alpha-2 code of a code in capitals.
fn alpha2(code: &str) -> Option<&'static str> {
    match code {
        "D" => return Some("DE"),
        "GBD" | "GBN" | "GBO" | "GBP" | "GBS" => return Some("GB"),
        "RKS" | "XKX" | "XK" => return Some("XK"),
        _ => {}
    }
    rust_iso3166::from_alpha2(code)
        .or_else(|| rust_iso3166::from_alpha3(code))
        .or_else(|| rust_iso3166::from_numeric_str(code))
        .map(|country| country.alpha2)
}

/// Look-up key of a name: its words in capitals and in alphabetical order, without diacritics, particles and the words to
/// leave out. "Korea (Republic of)" and "The Republic of Korea" have the same key.
fn key(name: &str, leave_out: &[&str]) -> String {
    let name = ::mrz::transliterate(&name.nfc().collect::<String>(), Simple).replace(['\'', '’', '.'], "");
    let mut words: Vec<&str> = name
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty() && !PARTICLES.contains(word) && !leave_out.contains(word))
        .collect();
    words.sort_unstable();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_become_alpha_2_codes_and_other_text_is_kept() {
        for (text, code) in [
            ("US", "US"),
            ("us", "US"),
            ("USA", "US"),
            ("U.S.A.", "US"),
            ("840", "US"),
            ("United States", "US"),
            ("UNITED STATES OF AMERICA", "US"),
            ("UK", "GB"),
            ("Great Britain", "GB"),
            ("United Kingdom of Great Britain and Northern Ireland", "GB"),
            ("gbr", "GB"),
            ("GBN", "GB"),
            ("D", "DE"),
            ("D<<", "DE"),
            (" Federal Republic of Germany ", "DE"),
            ("RKS", "XK"),
            ("XKX", "XK"),
            ("Kosovo", "XK"),
            ("Russia", "RU"),
            ("Russian Federation", "RU"),
            ("South Korea", "KR"),
            ("Republic of Korea", "KR"),
            ("Korea, Republic of", "KR"),
            ("Democratic People’s Republic of Korea", "KP"),
            ("Viet Nam", "VN"),
            ("Vietnam", "VN"),
            ("Socialist Republic of Vietnam", "VN"),
            ("Türkiye", "TR"),
            ("Tu\u{308}rkiye", "TR"),
            ("TURKIYE", "TR"),
            ("Turkey", "TR"),
            ("Ivory Coast", "CI"),
            ("Côte d'Ivoire", "CI"),
            ("Cote d’Ivoire", "CI"),
            ("Republic of China", "TW"),
            ("People's Republic of China", "CN"),
            ("The Netherlands", "NL"),
            ("Kingdom of the Netherlands", "NL"),
            ("Republic of Poland", "PL"),
            ("Democratic Republic of the Congo", "CD"),
            ("Republic of the Congo", "CG"),
            ("Dominican Republic", "DO"),
            ("Commonwealth of Dominica", "DM"),
            ("Iran (Islamic Republic of)", "IR"),
            ("Trinidad & Tobago", "TT"),
            ("UTO", "UTO"),
            ("UNO", "UNO"),
            (" XXA ", "XXA"),
            ("EUE", "EUE"),
            ("Republic", "Republic"),
            ("Korea", "Korea"),
            ("Atlantis", "Atlantis"),
            ("999", "999"),
            ("", ""),
            ("<<<", "<<<"),
            ("国", "国"),
        ] {
            assert_eq!(normalised(text), code, "{text}");
        }
    }

    #[test]
    fn every_country_of_iso_3166_is_known_by_each_of_its_codes_and_its_name() {
        for country in rust_iso3166::ALL {
            for text in [country.alpha2, country.alpha3, &country.numeric_str(), country.name] {
                assert_eq!(normalised(text), country.alpha2, "{text}");
            }
        }
    }
}
