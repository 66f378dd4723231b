//! Answers of PocketBase, and their conversion into errors.

use reqwest::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Error;

/// Status and JSON body of a response.
pub(crate) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<u64>,
    pub(super) body: Option<Value>,
}

impl Answer {
    /// Whether an anonymous request would get the same answer: no record, an empty list, or a write refused without naming
    /// a field.
    pub(super) fn is_ambiguous(&self) -> bool {
        if let Some((_, refused)) = self.refused_in_batch() {
            return refused.is_ambiguous();
        }
        let empty = |name: &str, is_empty: fn(&Value) -> bool| {
            self.body.as_ref().and_then(|body| body.get(name)).is_some_and(is_empty)
        };
        match self.status.as_u16() {
            401 | 403 | 404 => true,
            400 => empty("data", |data| data.as_object().is_some_and(Map::is_empty)),
            200 => empty("items", |items| items.as_array().is_some_and(Vec::is_empty)),
            _ => false,
        }
    }

    /// The body of a successful answer.
    ///
    /// # Errors
    /// For any other answer.
    pub(crate) fn into_success(self) -> Result<Value, Error> {
        let status = self.status.as_u16();
        match (status, self.body) {
            (200..=299, Some(body)) => Ok(body),
            (429 | 503, _) => Err(Error::Busy { retry_after: self.retry_after }),
            // Of a proxy before PocketBase.
            (502 | 504, None) => Err(Error::Unreachable(format!("status {status} of a proxy"))),
            (404, Some(_)) => Err(Error::Refused),
            (400, Some(body)) => Err(refusal(&body)),
            (_, Some(_)) => Err(Error::BadAnswer(format!("status {status}"))),
            (_, None) => Err(Error::BadAnswer(format!("status {status} and no JSON"))),
        }
    }

    /// The refused write of a batch: its position, and the answer that it would have got on its own.
    pub(super) fn refused_in_batch(&self) -> Option<(usize, Self)> {
        let requests = self.body.as_ref()?.pointer("/data/requests")?.as_object()?;
        let (position, refused) = requests.iter().next()?;
        let response = refused.get("response")?.clone();
        let status = response.get("status")?.as_u64()?;
        let status = u16::try_from(status).ok().and_then(|status| status.try_into().ok())?;
        Some((position.parse().ok()?, Self { status, retry_after: None, body: Some(response) }))
    }
}

/// Error for a 400, by the names of fields and codes. Values are not used, since they may be personal data.
fn refusal(body: &Value) -> Error {
    let fields = body.get("data").and_then(Value::as_object);
    let codes: Vec<_> = fields
        .into_iter()
        .flatten()
        .filter_map(|(field, problem)| Some((field.as_str(), problem.get("code")?.as_str()?)))
        .collect();
    let is_taken = |(field, code): &&(&str, &str)| {
        *code == "validation_not_unique" || (*field, *code) == ("id", "validation_pk_invalid")
    };
    match codes.iter().find(is_taken) {
        Some((field, _)) => Error::NotUnique((*field).to_owned()),
        None if fields.is_some_and(Map::is_empty) => Error::Refused,
        None => Error::BadAnswer(format!("status 400, {codes:?}")),
    }
}

/// Reads a typed value from an answer.
pub(crate) fn typed<T: DeserializeOwned>(body: Value) -> Result<T, Error> {
    // serde's message can quote the record, so only the category of the error is kept.
    serde_json::from_value(body)
        .map_err(|error| Error::BadAnswer(format!("an unexpected record ({:?})", error.classify())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_proxy_without_pocketbase_is_as_no_connection() {
        let error = |status: u16, body: Option<Value>| {
            Answer { status: status.try_into().unwrap(), retry_after: None, body }.into_success().unwrap_err()
        };
        assert!(matches!(error(502, None), Error::Unreachable(_)));
        assert!(matches!(error(504, None), Error::Unreachable(_)));
        assert!(matches!(error(503, None), Error::Busy { .. }));
        assert!(matches!(error(500, None), Error::BadAnswer(_)));
        assert!(matches!(error(502, Some(Value::Null)), Error::BadAnswer(_)));
    }
}
