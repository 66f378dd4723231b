//! The bucket of S3: what is uploaded past the API, how a request uses it, and the media of checks.
//!
//! A person's objects have keys below `people/<profile>/`, so that all of them are found when the person is to be forgotten:
//! `uploads/<upload id>`, which a presigned POST may write; `taken/<upload id>/…`, copies that nothing outside may write;
//! `checks/<check id>/…`, the media of checks.

mod bucket;
mod post;
mod uploads;

pub use bucket::{Bucket, Object, check_key};
pub use post::{POST_TTL, PresignedPost};
pub use uploads::{Copies, Taken, Uploads};
