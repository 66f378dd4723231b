//! Lambda binary of the function.
shared::event_function!(sweep_webhooks);
