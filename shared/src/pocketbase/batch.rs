//! Writes with files, and several writes as one: all of a batch happens, or none of it.

use futures_util::future::{BoxFuture, try_join_all};
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Method};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Answer, Call, Error, Payload, PocketBase, UploadUse, Writer};
use crate::http::{Content, File};
use crate::types::RecordId;

/// Where a file of a record comes from.
#[derive(Debug, Clone)]
pub enum RecordFile {
    /// From the request.
    Sent(File),
    /// From a profile, where it has this name.
    OfProfile(RecordId, String),
}

/// A write of one record.
pub(super) struct Write<'a> {
    pub(super) method: Method,
    /// Below `/api/collections/`.
    pub(super) path: String,
    pub(super) writer: Writer,
    pub(super) fields: Value,
    pub(super) files: &'a [(&'static str, RecordFile)],
}

impl<'a> Write<'a> {
    /// A new record.
    pub(super) fn create(collection: &str, writer: Writer, fields: &impl Serialize) -> Result<Self, Error> {
        Self::new(Method::POST, format!("{collection}/records"), writer, fields)
    }

    /// A change of a record.
    pub(super) fn update(
        collection: &str,
        id: &RecordId,
        writer: Writer,
        fields: &impl Serialize,
    ) -> Result<Self, Error> {
        Self::new(Method::PATCH, format!("{collection}/records/{id}"), writer, fields)
    }

    /// The end of a record.
    pub(super) fn delete(collection: &str, id: &RecordId) -> Self {
        let path = format!("/api/collections/{collection}/records/{id}");
        Self { method: Method::DELETE, path, writer: Writer::Partner, fields: Value::Null, files: &[] }
    }

    fn new(method: Method, path: String, writer: Writer, fields: &impl Serialize) -> Result<Self, Error> {
        let fields = serde_json::to_value(fields).map_err(|error| Error::BadAnswer(error.to_string()))?;
        Ok(Self { method, path: format!("/api/collections/{path}"), writer, fields, files: &[] })
    }

    pub(super) fn with_files(self, files: &'a [(&'static str, RecordFile)]) -> Self {
        Self { files, ..self }
    }

    fn in_batch(&self) -> Value {
        let by = if self.writer == Writer::Flow { "?by=flow" } else { "" };
        json!({ "method": self.method.as_str(), "url": format!("{}{by}", self.path), "body": self.fields })
    }
}

/// Which write of a batch failed, and how. Nothing of it happened.
#[derive(Debug)]
pub(super) struct Failed {
    /// Its place, from 0; `None` when it was none of them.
    pub(super) place: Option<usize>,
    pub(super) error: Error,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { place: None, error }
    }
}

impl PocketBase {
    /// Writes a record with its files, and marks the uploads that they come from as used, all at once or not at all. Files are
    /// passed through as they arrive, so that this process holds none of them. One call, and for files of a profile a token and
    /// a download each.
    pub(super) async fn write(&self, write: Write<'_>, uses: &[UploadUse]) -> Result<Value, Error> {
        if uses.is_empty() {
            return self.write_one(&write).await;
        }
        let mut writes: Vec<_> = uses.iter().map(UploadUse::write).collect::<Result<_, _>>()?;
        writes.push(write);
        match self.transact(&writes).await {
            Ok(mut written) => written.pop().ok_or_else(|| Error::BadAnswer("an empty batch".to_owned())),
            Err(Failed { place: Some(place), error: Error::Refused }) if place < uses.len() => Err(Error::UploadTaken),
            Err(Failed { error, .. }) => Err(error),
        }
    }

    async fn write_one(&self, write: &Write<'_>) -> Result<Value, Error> {
        self.prepare(std::slice::from_ref(write)).await?;
        let make_form = || -> BoxFuture<'_, Result<Form, Error>> {
            Box::pin(async move {
                let form = Form::new().text("@jsonPayload", write.fields.to_string());
                self.with_parts(form, "", write.files).await
            })
        };
        let call = Call {
            method: write.method.clone(),
            path: write.path.clone(),
            query: write.writer.query(),
            payload: Payload::Form(&make_form),
        };
        self.send(&call).await?.into_success()
    }

    /// Makes several writes in one transaction and gives the records as they are then.
    pub(super) async fn transact(&self, writes: &[Write<'_>]) -> Result<Vec<Value>, Failed> {
        self.prepare(writes).await?;
        let requests: Vec<_> = writes.iter().map(Write::in_batch).collect();
        let requests = json!({ "requests": requests });
        let make_form = || -> BoxFuture<'_, Result<Form, Error>> {
            let mut form = Form::new().text("@jsonPayload", requests.to_string());
            Box::pin(async move {
                for (place, write) in writes.iter().enumerate() {
                    form = self.with_parts(form, &format!("requests.{place}."), write.files).await?;
                }
                Ok(form)
            })
        };
        let has_files = writes.iter().any(|write| !write.files.is_empty());
        let payload = if has_files { Payload::Form(&make_form) } else { Payload::Json(&requests) };
        let call = Call { method: Method::POST, path: "/api/batch".to_owned(), query: &[], payload };
        let answer = self.send(&call).await?;
        if let Some((place, refused)) = answer.refused_in_batch() {
            let error = refused.into_success().err().unwrap_or_else(|| Error::BadAnswer("a batch failed".to_owned()));
            return Err(Failed { place: Some(place), error });
        }
        let Value::Array(answers) = answer.into_success()? else {
            return Err(Error::BadAnswer("a batch that is no list".to_owned()).into());
        };
        let bodies = answers.into_iter().map(|mut answer| answer.get_mut("body").map(Value::take).unwrap_or_default());
        Ok(bodies.collect())
    }

    /// Gets what the downloads that then begin together need, once and not by each of them.
    async fn prepare(&self, writes: &[Write<'_>]) -> Result<(), Error> {
        let mut files = writes.iter().flat_map(|write| write.files);
        if files.any(|(_, file)| matches!(file, RecordFile::OfProfile(..))) {
            self.file_token().await?;
        }
        Ok(())
    }

    async fn with_parts(&self, form: Form, prefix: &str, files: &[(&'static str, RecordFile)]) -> Result<Form, Error> {
        let parts = files.iter().map(async |(field, file)| Ok::<_, Error>((field, self.part(field, file).await?)));
        let parts = try_join_all(parts).await?;
        Ok(parts.into_iter().fold(form, |form, (field, part)| form.part(format!("{prefix}{field}"), part)))
    }

    /// A file as part of a form. Its name is made of the field and the type of its bytes: the name that the caller gave may say
    /// anything, and is dropped.
    async fn part(&self, field: &str, file: &RecordFile) -> Result<Part, Error> {
        match file {
            RecordFile::Sent(file) => {
                let name = format!("{field}.{}", file.extension);
                match &file.content {
                    Content::Inline(bytes) => Ok(bytes_part(bytes, name)),
                    Content::Stored(stored) => {
                        let body = Body::wrap_stream(stored.chunks().await?);
                        Ok(Part::stream_with_length(body, stored.size()).file_name(name))
                    }
                }
            }
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

impl Answer {
    /// The write of a batch that was refused: its place, and what it alone would have been answered.
    pub(super) fn refused_in_batch(&self) -> Option<(usize, Self)> {
        let requests = self.body.as_ref()?.pointer("/data/requests")?.as_object()?;
        let (place, refused) = requests.iter().next()?;
        let response = refused.get("response")?.clone();
        let status = response.get("status")?.as_u64()?;
        let status = u16::try_from(status).ok().and_then(|status| status.try_into().ok())?;
        Some((place.parse().ok()?, Self { status, retry_after: None, body: Some(response) }))
    }
}

/// Bytes as part of a form, without copying them.
pub(super) fn bytes_part(bytes: &bytes::Bytes, file_name: String) -> Part {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    Part::stream_with_length(bytes.clone(), length).file_name(file_name)
}
