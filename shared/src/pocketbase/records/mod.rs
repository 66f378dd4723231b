//! Typed records of PocketBase's collections and the calls on them, one file per collection; redaction and retention span
//! several collections.

mod checks;
mod evidence;
mod flow_actions;
mod liveness_sessions;
mod partners;
mod profiles;
mod redaction;
mod retention;
mod settings;
mod status_history;
mod uploads;
mod usage;
mod verification_history;
mod webhook_deliveries;

pub use checks::{AttemptUse, CheckOutcome, CheckState, NewCheck, ProcessingCheck};
pub use evidence::{Evidence, EvidenceKind, EvidenceOwner, KnownEvidence};
pub use flow_actions::FlowAction;
pub use liveness_sessions::{
    BoundingBox, LivenessImage, LivenessOutcome, LivenessSession, LivenessStatus, NewLivenessSession,
};
pub use partners::{Branding, DailyBudgets, KeyKind, LinkMode, LinkSecret, Partner, PartnerSettings};
pub use profiles::{
    CreatedProfile, DedupeKey, NewProfile, ProfileChanges, ProfileOverview, ProfileRecord, Standing,
    VerificationSummary,
};
pub use redaction::{PROFILE_COLLECTIONS, RedactionOf};
pub use status_history::{NewStatus, StatusRecord};
pub use uploads::{NewUpload, Upload, UploadUse};
pub use usage::Charge;
pub use verification_history::{NewVerification, VerificationOwner, VerificationRecord};
pub use webhook_deliveries::{
    Attempt, AttemptResult, DeliveryOverview, DeliveryQuery, DeliveryState, LeasedDelivery, NewDelivery,
    QueuedDelivery, SigningSecret, Subscriber, WebhookEvent, WebhookStatistics,
};
