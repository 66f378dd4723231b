//! Reading of identity documents, and computed checks of what was read.
//!
//! A document is read by a vision model ([`Reader`]), or from the lines of text that an OCR service detected ([`Reading::of_lines`]).
//! [`check`] and [`compare`] judge a reading by computation only.

mod checks;
mod country;
mod declared;
mod fields;
mod lines;
mod mrz;
mod name;
mod prompt;
mod reading;
mod sides;

pub use checks::{Check, Checks, Hints, Outcome, check};
pub use declared::{Agreement, Declared, Matches, compare};
pub use fields::Fields;
pub use reading::Reading;

use bytes::Bytes;
use openai::{OpenAi, Part, Question, Reply};
use serde_json::Value;

/// An image of a document: its media type and its bytes.
pub type Image = (&'static str, Bytes);

/// Reads documents with a vision model. Built once per execution environment.
pub struct Reader {
    schema: Value,
}

impl Default for Reader {
    fn default() -> Self {
        Self { schema: prompt::schema() }
    }
}

impl Reader {
    /// Reads one side of a document. One call of the model. Also returns the model's answer as it is.
    ///
    /// # Errors
    /// When the model gives no usable answer.
    pub async fn read(
        &self,
        model: &OpenAi,
        (media_type, bytes): Image,
        hints: &Hints<'_>,
    ) -> Result<(Reading, Reply), openai::Error> {
        let mut parts: Vec<_> = prompt::hints(hints).into_iter().map(Part::Text).collect();
        parts.push(Part::Image(media_type, bytes));
        let question = Question { instructions: prompt::INSTRUCTIONS, parts, name: prompt::NAME, schema: &self.schema };
        let reply = model.ask(question).await?;
        let reading = serde_json::from_str(&reply.text)
            .map_err(|_| openai::Error::BadAnswer("not JSON of the schema".to_owned()))?;
        Ok((reading, reply))
    }
}
