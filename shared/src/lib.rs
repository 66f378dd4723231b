//! Common crate of the functions.
//!
//! Modules from the ground up; imports run downwards only, which a test checks:
//! [`types`], [`mod@env`], [`file`], [`upstream`] → [`aws`], [`pocketbase`] → [`auth`] → [`profiles`] → [`http`] → [`runtime`].
//! The name `ApiError`, statuses and headers belong to `http` and what is above it. Lower modules have errors of their own.

pub mod auth;
pub mod aws;
pub mod env;
pub mod file;
pub mod http;
pub mod pocketbase;
pub mod profiles;
pub mod runtime;
pub mod types;
pub mod upstream;
