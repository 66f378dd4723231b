//! Daily budgets of partners: checks, people that links create, and bytes of uploads.

use chrono::Utc;

use crate::auth::Caller;
use crate::cache::Cache;
use crate::pocketbase::records::{Charge, DailyBudgets};
use crate::pocketbase::{Error, PocketBase};
use crate::types::{Budget, Origin, RecordId, Team};

/// Budgets of partners. Built once per execution environment.
#[derive(Default)]
pub struct Budgets {
    cache: Cache<RecordId, DailyBudgets>,
}

impl Budgets {
    /// A charge to the caller's budget of today (UTC). The holder is the caller's partner; without one, its client or its team. Open links,
    /// which anyone can make, have a budget of their own of the same size, so that they use up nothing of the partner's. For a token of a
    /// partner, one call of PocketBase per partner and minute; for all other callers none.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn charge(
        &self,
        pocketbase: &PocketBase,
        caller: &Caller,
        origin: Origin,
        budget: Budget,
        amount: u64,
    ) -> Result<Charge, Error> {
        let budgets = self.of(pocketbase, caller).await?;
        let most = match budget {
            Budget::Checks => budgets.checks,
            Budget::People => budgets.people,
            Budget::UploadBytes => budgets.upload_bytes,
        };
        Ok(Charge { holder: holder(caller, origin), budget, amount, most, now: Utc::now() })
    }

    async fn of(&self, pocketbase: &PocketBase, caller: &Caller) -> Result<DailyBudgets, Error> {
        if let Some(settings) = caller.key_settings() {
            return Ok(settings.budgets);
        }
        // The partner_id of a token is configured freely for its client, and may be no record id.
        let Some(partner) = caller.partner().and_then(|partner| partner.parse::<RecordId>().ok()) else {
            return Ok(DailyBudgets::default());
        };
        if let Some(budgets) = self.cache.get(&partner) {
            return Ok(budgets);
        }
        let settings = pocketbase.partner_settings(&partner).await?;
        let budgets = settings.map(|settings| settings.budgets).unwrap_or_default();
        self.cache.insert(partner, budgets);
        Ok(budgets)
    }
}

/// Name of the holder of a caller's budgets.
fn holder(caller: &Caller, origin: Origin) -> String {
    let holder = match (caller.partner(), caller.client()) {
        (Some(partner), _) => format!("partner {partner}"),
        (None, Some(client)) => format!("client {client}"),
        (None, None) => format!("team {}", caller.own_team().map_or("", Team::as_str)),
    };
    if origin == Origin::Open { format!("{holder}, open links") } else { holder }
}
