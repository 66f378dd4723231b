//! Whole requests through the functions, against a real PocketBase.
//!
//! Most tests run the handlers in this process, behind the same router table that the local gateway uses, with requests in
//! API Gateway's own form. `stack` runs the built binaries in the Lambda emulator, for what only processes can show.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod access;
mod attacks;
mod checks;
mod creating;
mod credentials;
mod devices;
mod documents;
mod files;
mod kills;
mod layers;
mod limits;
mod liveness;
mod media;
mod metrics;
mod migrations;
mod page;
mod partners;
mod redaction;
mod rehearsal;
mod retention;
mod routes;
mod sam;
mod secrets;
mod seeds;
mod stack;
mod standins;
mod support;
mod sweep;
mod token_endpoint;
mod tokens;
mod uploads;
mod upstream;
mod webhooks;
