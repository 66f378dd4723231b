//! Bodies compared field for field with what a document shows, where values that vary are named in angle brackets.

use serde_json::Value;

/// Checks that `actual` has exactly the fields of `expected` and, but for placeholders, its values:
/// `<id>`, `<text>`, `<number>`, `<pocketbase date>`, `<rfc 3339>`, `<token>`, `<memory>`, `<file>`.
#[track_caller]
pub fn assert_shape(actual: &Value, expected: &Value) {
    if let Err(difference) = compare("", actual, expected) {
        panic!("{difference}\nactual:   {actual}\nexpected: {expected}");
    }
}

fn compare(at: &str, actual: &Value, expected: &Value) -> Result<(), String> {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => {
            let names = |fields: &serde_json::Map<String, Value>| {
                let mut names: Vec<_> = fields.keys().cloned().collect();
                names.sort();
                names
            };
            if names(actual) != names(expected) {
                return Err(format!("{at}: fields {:?}, expected {:?}", names(actual), names(expected)));
            }
            expected.iter().try_for_each(|(name, expected)| compare(&format!("{at}/{name}"), &actual[name], expected))
        }
        (Value::Array(actual), Value::Array(expected)) if actual.len() == expected.len() => {
            actual.iter().zip(expected).try_for_each(|(actual, expected)| compare(&format!("{at}[]"), actual, expected))
        }
        (Value::Number(actual), Value::Number(expected)) if actual.as_f64() == expected.as_f64() => Ok(()),
        (actual, Value::String(expected)) if fits(actual, expected) => Ok(()),
        (actual, expected) if actual == expected => Ok(()),
        _ => Err(format!("{at}: {actual}, expected {expected}")),
    }
}

fn fits(actual: &Value, expected: &str) -> bool {
    let text = actual.as_str().unwrap_or_default();
    let is_date = |separator: char| {
        let digits = |range: std::ops::Range<usize>| {
            text.get(range).is_some_and(|part| part.bytes().all(|b| b.is_ascii_digit()))
        };
        text.len() == 24
            && text.ends_with('Z')
            && text.chars().nth(10) == Some(separator)
            && digits(0..4)
            && digits(20..23)
    };
    match expected {
        "<id>" => text.parse::<shared::types::RecordId>().is_ok(),
        "<text>" => !text.is_empty(),
        "<number>" => actual.is_number(),
        "<token>" => text.split('.').count() == 3,
        "<pocketbase date>" => is_date(' '),
        "<rfc 3339>" => is_date('T'),
        "<memory>" => text.strip_suffix(" MB").is_some_and(|megabytes| megabytes.parse::<u32>().is_ok_and(|n| n > 0)),
        "<file>" => text.contains('_') && text.contains('.'),
        _ => {
            // A placeholder inside a text, as in a link.
            let Some((before, rest)) = expected.split_once("<id>") else { return false };
            let Some(rest_actual) = text.strip_prefix(before) else { return false };
            let (id, after) = rest_actual.split_at(rest_actual.len().min(15));
            let after_fits = match rest.strip_suffix("<token>") {
                Some(middle) => after.strip_prefix(middle).is_some_and(|token| token.split('.').count() == 3),
                None => after == rest,
            };
            id.parse::<shared::types::RecordId>().is_ok() && after_fits
        }
    }
}
