//! Writes of records: single or several in one transaction, with files.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use reqwest::Method;
use reqwest::multipart::Form;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Call, Error, Payload, PocketBase, Writer};
use crate::file::File;
use crate::types::RecordId;

/// Source of a record's file.
#[derive(Debug, Clone)]
pub enum RecordFile {
    /// The request.
    Sent(File),
    /// A JPEG from Amazon Rekognition.
    Jpeg(Bytes),
    /// A stored file of a profile, by its file name.
    OfProfile(RecordId, String),
}

/// A write of one record.
pub(crate) struct Write<'a> {
    method: Method,
    path: String,
    writer: Writer,
    fields: Value,
    files: &'a [(&'static str, RecordFile)],
}

impl<'a> Write<'a> {
    /// Creates a record.
    pub(crate) fn create(collection: &str, writer: Writer, fields: &impl Serialize) -> Result<Self, Error> {
        Self::new(Method::POST, format!("{collection}/records"), writer, fields)
    }

    /// Changes fields of a record.
    pub(crate) fn update(
        collection: &str,
        id: &RecordId,
        writer: Writer,
        fields: &impl Serialize,
    ) -> Result<Self, Error> {
        Self::new(Method::PATCH, format!("{collection}/records/{id}"), writer, fields)
    }

    /// Creates a record with the id in `fields`, or changes the one that exists. Only within a transaction.
    pub(crate) fn upsert(collection: &str, fields: &impl Serialize) -> Result<Self, Error> {
        Self::new(Method::PUT, format!("{collection}/records"), Writer::Partner, fields)
    }

    /// Deletes a record.
    pub(crate) fn delete(collection: &str, id: &RecordId) -> Self {
        let path = format!("/api/collections/{collection}/records/{id}");
        Self { method: Method::DELETE, path, writer: Writer::Partner, fields: Value::Null, files: &[] }
    }

    fn new(method: Method, path: String, writer: Writer, fields: &impl Serialize) -> Result<Self, Error> {
        let fields = serde_json::to_value(fields).map_err(|error| Error::BadAnswer(error.to_string()))?;
        Ok(Self { method, path: format!("/api/collections/{path}"), writer, fields, files: &[] })
    }

    /// Adds files, by field.
    pub(crate) fn with_files(self, files: &'a [(&'static str, RecordFile)]) -> Self {
        Self { files, ..self }
    }

    fn in_batch(&self) -> Value {
        let by = if self.writer == Writer::Flow { "?by=flow" } else { "" };
        json!({ "method": self.method.as_str(), "url": format!("{}{by}", self.path), "body": self.fields })
    }
}

/// The write of a transaction that failed. Nothing of the transaction was written.
#[derive(Debug)]
pub(crate) struct Failed {
    /// Its position, from 0; `None` when the transaction failed as a whole.
    pub(crate) position: Option<usize>,
    pub(crate) error: Error,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { position: None, error }
    }
}

impl PocketBase {
    /// Writes one record with its files. One call; for files of a profile a token and a download each.
    ///
    /// A change is a transaction. Without one, PocketBase reads the record, checks the rule, and later writes all fields: of two
    /// changes at once both pass the rule, and the second undoes the first.
    pub(crate) async fn write(&self, write: &Write<'_>) -> Result<Value, Error> {
        if write.method == Method::PATCH {
            let written = self.transact(std::slice::from_ref(write)).await.map_err(|failed| failed.error)?;
            return written.into_iter().next().ok_or_else(|| Error::BadAnswer("an empty batch".to_owned()));
        }
        self.prepare(std::slice::from_ref(write)).await?;
        let make_form = || -> BoxFuture<'_, Result<Form, Error>> {
            Box::pin(async move {
                let form = Form::new().text("@jsonPayload", write.fields.to_string());
                self.add_files(form, "", write.files).await
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

    /// Makes several writes in one transaction, and returns the written records. One call; for files of a profile a token and a
    /// download each.
    pub(crate) async fn transact(&self, writes: &[Write<'_>]) -> Result<Vec<Value>, Failed> {
        self.prepare(writes).await?;
        let requests: Vec<_> = writes.iter().map(Write::in_batch).collect();
        let requests = json!({ "requests": requests });
        let make_form = || -> BoxFuture<'_, Result<Form, Error>> {
            let mut form = Form::new().text("@jsonPayload", requests.to_string());
            Box::pin(async move {
                for (position, write) in writes.iter().enumerate() {
                    form = self.add_files(form, &format!("requests.{position}."), write.files).await?;
                }
                Ok(form)
            })
        };
        let has_files = writes.iter().any(|write| !write.files.is_empty());
        let payload = if has_files { Payload::Form(&make_form) } else { Payload::Json(&requests) };
        let call = Call { method: Method::POST, path: "/api/batch".to_owned(), query: &[], payload };
        let answer = self.send(&call).await?;
        if let Some((position, refused)) = answer.refused_in_batch() {
            let error = refused.into_success().err().unwrap_or_else(|| Error::BadAnswer("a batch failed".to_owned()));
            return Err(Failed { position: Some(position), error });
        }
        let Value::Array(answers) = answer.into_success()? else {
            return Err(Error::BadAnswer("a batch that is no list".to_owned()).into());
        };
        let bodies = answers.into_iter().map(|mut answer| answer.get_mut("body").map(Value::take).unwrap_or_default());
        Ok(bodies.collect())
    }

    /// Gets a file token before the downloads start. Concurrent downloads would otherwise each get a token of their own.
    async fn prepare(&self, writes: &[Write<'_>]) -> Result<(), Error> {
        let mut files = writes.iter().flat_map(|write| write.files);
        if files.any(|(_, file)| matches!(file, RecordFile::OfProfile(..))) {
            self.file_token().await?;
        }
        Ok(())
    }
}
