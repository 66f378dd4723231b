//! The partner's identifier of a person.

use std::str::FromStr;

use serde::Serialize;
use sha2::{Digest, Sha256};
use unicode_normalization::{UnicodeNormalization, is_nfc};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use unicode_security::confusable_detection::skeleton;

use super::{Invalid, Text, hex};

/// The partner's identifier of a person (`userID`): 1 to 255 characters, kept unchanged.
///
/// Identifiers that differ only in what cannot be seen would look the same and name two persons. Refused and not removed are therefore:
/// control characters, white space at either end, spaces other than U+0020, invisible and bidirectional characters, characters without a
/// meaning in Unicode, and text that is not normalised (NFC).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct UserId(String);

impl UserId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of a stored record, which an earlier version may have accepted; `None` when it is empty.
    pub fn of_record(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// Key that is the same for identifiers that look alike: in another case, with letters of another script, or with digits in the place
    /// of letters (Unicode Technical Standard 39, 4). 64 hexadecimal digits.
    pub fn look_alike_key(&self) -> String {
        // Twice: capitals of other scripts look like Latin capitals, which then become small letters that look like others.
        let once = |text: &str| skeleton(text).collect::<String>().to_lowercase();
        let folded = once(&once(&self.0.nfkc().collect::<String>())).replace('i', "l");
        hex(Sha256::digest(folded.as_bytes()))
    }
}

impl FromStr for UserId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.trim() != text {
            return Err(Invalid::new("must not begin or end with white space"));
        }
        let checked: Text<255> = text.parse()?;
        if checked.is_empty() {
            return Err(Invalid::new("must not be empty"));
        }
        if text.chars().any(is_invisible) {
            return Err(Invalid::new("must not contain invisible, bidirectional or unassigned characters"));
        }
        if !is_nfc(text) {
            return Err(Invalid::new("must be normalised Unicode (NFC)"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Whether a character cannot be seen or has no meaning: format characters (zero-width, bidirectional, the byte order mark, tags), spaces
/// other than U+0020, variation selectors and other default-ignorable characters, private use, and unassigned code points.
fn is_invisible(c: char) -> bool {
    use GeneralCategory::{Format, LineSeparator, ParagraphSeparator, PrivateUse, SpaceSeparator, Unassigned};
    let ignorable = matches!(c, '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}' | '\u{2800}');
    let category = c.general_category();
    ignorable
        || matches!(category, Format | LineSeparator | ParagraphSeparator | PrivateUse | Unassigned)
        || (category == SpaceSeparator && c != ' ')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn identifiers_that_only_look_the_same_are_refused() {
        for bad in [
            "",
            " user",
            "user\u{200b}1",
            "\u{feff}user1",
            "user\u{202e}1",
            "user\u{2066}1",
            "us\u{ad}er1",
            "user\u{a0}1",
            "user\u{2003}1",
            "user1\u{fe0f}",
            "user1\u{3164}",
            "use\u{301}r1",
            "user\u{e000}",
            "user\u{e0041}",
            "us\u{2028}er",
        ] {
            assert!(bad.parse::<UserId>().is_err(), "{bad:?}");
        }
        for good in ["user-12345", "us\u{e9}r", "Anna Maria", "a@example.com", "用户1", "مستخدم", "user|{}'\"\\<>"]
        {
            assert_eq!(good.parse::<UserId>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn look_alikes_share_a_key() {
        let key = |text: &str| text.parse::<UserId>().unwrap().look_alike_key();
        for alike in ["USER1", "uѕer1", "ｕｓｅｒ1", "userl", "User1", "userI", "USΕR1"] {
            assert_eq!(key("user1"), key(alike), "{alike}");
        }
        assert_ne!(key("user1"), key("user2"));
        assert_ne!(key("user1"), key("user-1"));
    }
}
