//! Protected files of records: tokens, downloads, and files as parts of forms.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Method, Response};
use serde::Deserialize;

use super::{Broken, Call, Error, Payload, PocketBase, RecordFile, typed};
use crate::file::Content;
use crate::upstream;

/// Path that issues file tokens.
pub(super) const TOKEN_PATH: &str = "/api/files/token";

/// How long a file token is used. PocketBase's own limit is 180 s by default.
const TOKEN_TTL: Duration = Duration::from_secs(90);

impl PocketBase {
    /// A short-lived token that opens protected files. One call every 90 s.
    pub(crate) async fn file_token(&self) -> Result<String, Error> {
        let session = self.session().await?;
        if let Some((token, since)) = &session.file_token
            && since.elapsed() < TOKEN_TTL
        {
            return Ok(token.clone());
        }
        #[derive(Deserialize)]
        struct FileToken {
            token: String,
        }
        let call = Call { method: Method::POST, path: TOKEN_PATH.to_owned(), query: &[], payload: Payload::None };
        let FileToken { token } = typed(self.send(&call).await?.into_success()?)?;
        if let Some(session) = &mut *self.session.lock().await {
            session.file_token = Some((token.clone(), Instant::now()));
        }
        Ok(token)
    }

    /// Content of a stored file, as a stream.
    pub(crate) async fn download(&self, path: &str) -> Result<Response, Error> {
        let response = self.open_file(path).await?;
        // An expired file token gets the same answer as a missing file. The second attempt uses a new token.
        let response = match response.status().as_u16() {
            401 | 403 | 404 => {
                if let Some(session) = &mut *self.session.lock().await {
                    session.file_token = None;
                }
                self.open_file(path).await?
            }
            _ => response,
        };
        match response.status().as_u16() {
            200..=299 => Ok(response),
            404 => Err(Error::FileGone),
            429 | 503 => Err(Error::Busy { retry_after: upstream::retry_after(&response) }),
            status => Err(Error::BadAnswer(format!("status {status} for a stored file"))),
        }
    }

    /// Requests a file, and repeats the request once when the connection failed.
    async fn open_file(&self, path: &str) -> Result<Response, Error> {
        let token = self.file_token().await?;
        let get = || {
            let request = self.http.get(format!("{}{path}", self.settings.url)).query(&[("token", &token)]);
            upstream::send("PocketBase", request)
        };
        match get().await.map_err(Broken::from) {
            Err(Broken { error: Error::Unreachable(_), .. }) => get().await.map_err(|error| Broken::from(error).error),
            outcome => outcome.map_err(|broken| broken.error),
        }
    }

    /// Adds files to a form. Stored files are streamed, so that they need not fit into memory.
    pub(super) async fn add_files(
        &self,
        form: Form,
        prefix: &str,
        files: &[(&'static str, RecordFile)],
    ) -> Result<Form, Error> {
        let parts = files.iter().map(async |(field, file)| Ok::<_, Error>((field, self.part(field, file).await?)));
        let parts = try_join_all(parts).await?;
        Ok(parts.into_iter().fold(form, |form, (field, part)| form.part(format!("{prefix}{field}"), part)))
    }

    /// A file as part of a form. It is named after the field and its detected type. The caller's file name is not used, since it may
    /// contain anything.
    async fn part(&self, field: &str, file: &RecordFile) -> Result<Part, Error> {
        match file {
            RecordFile::Sent(file) => {
                let name = format!("{field}.{}", file.file_type.extension);
                match &file.content {
                    Content::Inline(bytes) => Ok(bytes_part(bytes, name)),
                    Content::Stored(stored) => {
                        let body = Body::wrap_stream(stored.chunks().await?);
                        Ok(Part::stream_with_length(body, stored.size()).file_name(name))
                    }
                }
            }
            RecordFile::Jpeg(bytes) => Ok(bytes_part(bytes, format!("{field}.jpg"))),
            RecordFile::OfProfile(profile, name) => {
                let response = self.download(&format!("/api/files/profiles/{profile}/{name}")).await?;
                let extension = name.rsplit_once('.').map_or("bin", |(_, extension)| extension);
                let part = match response.content_length() {
                    Some(length) => Part::stream_with_length(Body::wrap_stream(response.bytes_stream()), length),
                    None => Part::stream(Body::wrap_stream(response.bytes_stream())),
                };
                Ok(part.file_name(format!("{field}.{extension}")))
            }
        }
    }
}

/// Bytes as part of a form, without copying them.
fn bytes_part(bytes: &bytes::Bytes, file_name: String) -> Part {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    Part::stream_with_length(bytes.clone(), length).file_name(file_name)
}
