//! Answers of other services, which may be of any size.

use reqwest::Response;

/// Why an answer could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is larger than anything that the service should say.
    #[error("an answer too large to read")]
    TooLarge,
    /// The connection broke, or took too long.
    #[error("{0}")]
    Broken(reqwest::Error),
}

/// A URL may hold what is nobody's business.
impl From<reqwest::Error> for ReadError {
    fn from(error: reqwest::Error) -> Self {
        Self::Broken(error.without_url())
    }
}

/// The body of an answer, of at most `limit` bytes.
///
/// # Errors
/// When it is larger, or does not arrive whole.
pub async fn read(mut response: Response, limit: usize) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Err(ReadError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
