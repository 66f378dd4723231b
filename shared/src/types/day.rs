//! Calendar dates.

use std::str::FromStr;

use chrono::NaiveDate;
use serde::Serialize;

use super::Invalid;

/// A calendar date. Parsed from `YYYY-MM-DD`, which a time may follow, and written as `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Day(NaiveDate);

impl FromStr for Day {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let day = text.split(['T', ' ']).next().unwrap_or_default();
        // chrono would also accept a sign and days of one digit.
        let plain = day.len() == 10 && day.starts_with(|first: char| first.is_ascii_digit()) && text.len() <= 40;
        day.parse().ok().filter(|_| plain).map(Self).ok_or_else(|| Invalid::new("must be a date as YYYY-MM-DD"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_calendar_dates_are_accepted() {
        for good in ["1990-01-15", "1990-01-15T00:00:00Z", "1990-01-15 00:00:00.000Z", " 2000-02-29 "] {
            assert!(good.parse::<Day>().is_ok(), "{good}");
        }
        for bad in ["", "1990-1-5", "15/01/1990", "1990-02-30", "1990-13-01", "+1990-01-1", "1990-01-15x"] {
            assert!(bad.parse::<Day>().is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_string(&"1990-01-15T10:00Z".parse::<Day>().unwrap()).unwrap(), "\"1990-01-15\"");
    }
}
