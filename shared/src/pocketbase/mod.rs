//! PocketBase, the system of record: its client ([`client`]), and the typed records with the calls made on them ([`records`]).

pub mod client;
pub mod records;

pub use client::{Account, Error, PocketBase, RecordFile, Settings, Writer, timestamp};
