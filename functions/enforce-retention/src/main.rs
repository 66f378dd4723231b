//! Lambda binary of the function.
shared::event_function!(enforce_retention);
