//! Common crate of the functions.
//!
//! Layers, from the lowest to the highest: [`types`], [`mod@env`], [`file`], [`cache`], [`upstream`] → [`aws`], [`pocketbase`] → [`auth`] →
//! [`budgets`] → [`profiles`] → [`http`] → [`runtime`]. A module imports only from lower layers, which a test checks. The name `ApiError`,
//! statuses and headers of answers are used in `http` and above. Lower modules have errors of their own.

pub mod auth;
pub mod aws;
pub mod budgets;
pub mod cache;
pub mod env;
pub mod file;
pub mod http;
pub mod pocketbase;
pub mod profiles;
pub mod runtime;
pub mod types;
pub mod upstream;
