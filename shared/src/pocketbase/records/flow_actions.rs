//! `flow_actions`: numbered uses of flow tokens that leave no record of their own.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::pocketbase::client::{Error, PocketBase, Write, Writer};
use crate::types::RecordId;

/// Action of a flow token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowAction {
    /// An analysis of a document.
    Analysis,
    /// A change of the profile.
    Update,
}

#[derive(Deserialize)]
struct Written {
    #[serde(rename = "id")]
    _id: RecordId,
}

/// The write that counts an action. `attempt` is `<UTC day>#<n>`, unique per profile and action.
pub(super) fn write(profile: &RecordId, action: FlowAction, attempt: &str) -> Result<Write<'static>, Error> {
    let fields = json!({ "profile": profile, "kind": action, "flow_attempt": attempt });
    Write::create("flow_actions", Writer::Flow, &fields)
}

impl PocketBase {
    /// Counts an action. One call.
    ///
    /// # Errors
    /// [`Error::NotUnique`] when the attempt is taken, [`Error::Refused`] when the profile is decided or redacted; else when PocketBase
    /// fails.
    pub async fn count_flow_action(&self, profile: &RecordId, action: FlowAction, attempt: &str) -> Result<(), Error> {
        let fields = json!({ "profile": profile, "kind": action, "flow_attempt": attempt });
        self.create::<Written>("flow_actions", Writer::Flow, &fields).await.map(|_| ())
    }
}
