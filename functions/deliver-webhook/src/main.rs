//! Lambda binary of the function.
shared::event_function!(deliver_webhook);
