//! Numbers: confidences and decimals.

use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Invalid;

/// A confidence from 0 to 100, as Amazon Rekognition states it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Confidence(f64);

impl Confidence {
    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Confidence {
    type Error = Invalid;

    fn try_from(value: f64) -> Result<Self, Invalid> {
        if (0.0..=100.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(Invalid::new("must be a number from 0 to 100"))
        }
    }
}

impl FromStr for Confidence {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        text.trim()
            .parse::<f64>()
            .ok()
            .and_then(|value| Self::try_from(value).ok())
            .ok_or_else(|| Invalid::new("must be a number from 0 to 100"))
    }
}

impl<'de> Deserialize<'de> for Confidence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A number that is written to JSON as an integer when it is one: `96` and not `96.0`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decimal(pub f64);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Every whole number below 2^53 is exact as an f64.
        if self.0.fract() == 0.0 && self.0.abs() < 9e15 {
            #[allow(clippy::cast_possible_truncation)]
            return serializer.serialize_i64(self.0 as i64);
        }
        serializer.serialize_f64(self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_confidence_is_a_finite_percentage() {
        assert!("95.5".parse::<Confidence>().is_ok());
        for bad in ["", "abc", "-0.1", "100.1", "NaN", "inf", "1e400"] {
            assert!(bad.parse::<Confidence>().is_err(), "{bad}");
        }
    }

    #[test]
    fn whole_numbers_are_written_as_integers() {
        let json = |number| serde_json::to_string(&Decimal(number)).unwrap();
        assert_eq!([json(96.0), json(0.0), json(-3.0), json(95.5)], ["96", "0", "-3", "95.5"]);
    }
}
