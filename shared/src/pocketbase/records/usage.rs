//! `usage`: what partners have used of their daily budgets. An amount is charged in the transaction of the record that it is for, so that
//! concurrent requests cannot exceed a budget, and no further call is needed.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::pocketbase::client::{Error, Failed, PocketBase, Write, Writer, typed};
use crate::types::{Budget, RecordId};

/// An amount to be charged to a budget.
#[derive(Debug, Clone)]
pub struct Charge {
    /// Whose budget it is.
    pub holder: String,
    /// The budget.
    pub budget: Budget,
    /// The amount.
    pub amount: u64,
    /// The most that the holder can use on a UTC day.
    pub most: u64,
    /// Time of the request.
    pub now: DateTime<Utc>,
}

impl Charge {
    fn write(&self) -> Result<Write<'static>, Error> {
        let day = self.now.format("%Y-%m-%d").to_string();
        let fields = json!({
            "id": RecordId::derived(&[&self.holder, self.budget.as_str(), &day]),
            "holder": self.holder,
            "budget": self.budget,
            "day": day,
            "amount+": self.amount,
            "most": self.most,
        });
        Write::upsert("usage", &fields)
    }

    /// Reports that the budget is used up.
    fn used_up(&self) -> Error {
        metrics::counter!("BudgetsUsedUp", "Budget" => self.budget.as_str()).increment(1);
        tracing::error!(
            holder = self.holder,
            budget = self.budget.as_str(),
            most = self.most,
            "a daily budget is used up"
        );
        Error::BudgetUsedUp(self.budget)
    }
}

impl PocketBase {
    /// Creates a record and charges a budget for it, in one transaction. One call.
    ///
    /// # Errors
    /// [`Error::BudgetUsedUp`] when the budget does not allow it; else as for a record without a charge.
    pub(super) async fn create_charged<T: DeserializeOwned>(
        &self,
        collection: &str,
        writer: Writer,
        record: &impl Serialize,
        charge: &Charge,
    ) -> Result<T, Error> {
        let writes = [charge.write()?, Write::create(collection, writer, record)?];
        let written = self.transact(&writes).await.map_err(|failed| match failed {
            Failed { position: Some(0), error: Error::Refused } => charge.used_up(),
            Failed { error, .. } => error,
        })?;
        let record = written.into_iter().next_back().ok_or_else(|| Error::BadAnswer("an empty batch".to_owned()))?;
        typed(record)
    }
}
